"""Half a word at a prompt in, what it can become out: flows, nodes, inputs and paths.

The shell asks at every Tab: nothing here imports ray or dagster, and what cannot be read completes
to nothing.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import BashComplete, CompletionItem, ZshComplete, add_completion_class

if TYPE_CHECKING:
    from rayflow_dagster.types import FlowNode

Completions = list[CompletionItem[str]]

_NO_QUOTES = re.compile(r"[\w@%+=:,./][\w@%+=:,./-]*")
"""What a shell takes as it stands: completion writes no quotes, and no text may do more."""


def flow(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Completions:
    """The flows of the project by name; a path where none begins so."""
    from .flows import project_flows

    names = (file.stem for file in project_flows())
    return _beginning(incomplete, names) or [CompletionItem(incomplete, type="file")]


def run_input(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Completions:
    """``name=`` of each input of the flow that is not given yet; of a truth both its values."""
    name, equals, _value = incomplete.partition("=")
    already = {typed.partition("=")[0] for typed in ctx.params.get("typed") or ()}
    # Behind an option that has no value yet, click leaves arguments unread.
    declared = _declared(ctx.params.get("flow") or next(iter(ctx.args), None))
    if equals:
        values = ("true", "false") if declared.get(name) == "bool" else ()
        return _beginning(incomplete, (f"{name}={value}" for value in values))
    return _beginning(incomplete, (f"{name}=" for name in declared if name not in already))


def node(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Completions:
    """The nodes of the flow that was typed, by id."""
    return _beginning(incomplete, (node["id"] for node in _nodes(ctx.params.get("flow"))))


def path(_ctx: click.Context, param: click.Parameter, incomplete: str) -> Completions:
    """What is on the disk."""
    return [CompletionItem(incomplete, type="dir" if param.metavar == "DIR" else "file")]


def _declared(named: str | None) -> dict[str, str]:
    """The inputs that START of the named flow declares, with their types."""
    from rayflow_dagster.compiler.ports import declared_types
    from rayflow_dagster.types import START_CLASS

    starts = [node for node in _nodes(named) if node["type"] == START_CLASS]
    return dict(declared_types(starts[0].get("data", {}).get("inputs"))[0]) if starts else {}


def _nodes(named: str | None) -> "list[FlowNode]":
    """The nodes of the named flow; none where it cannot be read."""
    from rayflow_dagster.compiler.flow import canonicalize, read_flow
    from rayflow_dagster.errors import RayflowError

    from .flows import find_flow
    from .group import Refused

    if not named:
        return []
    try:
        return canonicalize(read_flow(find_flow(named)))["nodes"]
    except (RayflowError, Refused, OSError):
        return []


def _beginning(incomplete: str, words: Iterable[str]) -> Completions:
    return [
        CompletionItem(word)
        for word in words
        if word.startswith(incomplete) and _NO_QUOTES.fullmatch(word)
    ]


class _Bash(BashComplete):
    """Writes no space behind ``name=``."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)",
        "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace",
    )


class _Zsh(ZshComplete):
    """Writes no space behind ``name=``."""

    source_template = ZshComplete.source_template.replace(
        "compadd -U",
        'local -a suffix\n        [[ "${completions[1]}" == *= ]] && suffix=(-S "")\n'
        '        compadd "${suffix[@]}" -U',
    )


add_completion_class(_Bash)
add_completion_class(_Zsh)
