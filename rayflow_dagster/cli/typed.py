"""The words of a command in, its parameters out; or one clear error about what was misspelled or
left empty.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import click

from rayflow_dagster.suggest import closest, did_you_mean

AS_JSON = "rayflow_dagster.as_json"
"""Key of ``ctx.meta``: whether the command that was typed is to print one JSON document."""
_OPTION = re.compile(r"--?[A-Za-z][^=]*")
_NEARLY_OURS = 80
"""How like an own option (0 to 100) one must be that another program would be handed."""


class Typed(click.Command):
    """A command or group that suggests what was meant, and takes no empty name or path."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words, as click does."""
        words = list(args)
        if ctx.resilient_parsing:  # for completion: whatever is wrong, go on
            return super().parse_args(ctx, args)
        ctx.meta[AS_JSON] = self._asks_for_json(words)
        if words[-1:] == ["-h"] and "-h" not in ctx.help_option_names:
            args = ["--help"]  # where -h takes a value, and has none
        try:
            self._refuse_misspelled(ctx, words)
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = _as_typed(error.option_name, words)
            raise _no_such("option", name, self._options(ctx), ctx) from None
        ctx.meta[AS_JSON] = ctx.params.get("as_json", False)
        self._refuse_empty(ctx)
        return rest

    def get_short_help_str(self, limit: int = 45) -> str:
        """The whole first sentence: lists of commands wrap it."""
        return super().get_short_help_str(max(limit, 1000))

    def _asks_for_json(self, words: Iterable[str]) -> bool:
        return any(param.name == "as_json" for param in self.params) and "--json" in _before_dashes(
            words
        )

    def _options(self, ctx: click.Context) -> list[str]:
        return [name for param in self.get_params(ctx) for name in param.opts if name[0] == "-"]

    def _refuse_misspelled(self, ctx: click.Context, words: Iterable[str]) -> None:
        """Do so where click takes what looks like an option and is unknown for an argument."""
        if not ctx.ignore_unknown_options:
            return
        known = self._options(ctx)
        handed_on = any(
            param.type is click.UNPROCESSED and param.nargs < 0 for param in self.params
        )
        for word in _before_dashes(words):
            found = _OPTION.match(word)
            if found is None or found[0] in known or word[:2] in known:
                continue
            if not handed_on or closest(
                found[0], dict(zip(known, known, strict=True)), _NEARLY_OURS
            ):
                raise click.NoSuchOption(found[0], ctx=ctx)

    def _refuse_empty(self, ctx: click.Context) -> None:
        for param in self.params:
            value = ctx.params.get(param.name or "")
            values = value if isinstance(value, tuple) else (value,)
            if param.type is click.STRING and any(_is_empty(each) for each in values):
                raise click.BadParameter(
                    "it is empty; is a variable of the shell not set?", ctx, param
                )


class Choice(click.Choice[str]):
    """One of some words, with the one that was meant where another was typed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word, if it is one of them."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            near = did_you_mean(value, self.choices)
            raise click.BadParameter(f"{error.message.rstrip('.')}{near}", ctx, param) from None


def no_such_command(name: str, known: Iterable[str], ctx: click.Context) -> click.UsageError:
    """The error about a command that is not there."""
    return _no_such("command", name, known, ctx)


def _no_such(what: str, name: str, known: Iterable[str], ctx: click.Context) -> click.UsageError:
    near = did_you_mean(f"-{name}" if re.match(r"-\w\w", name) else name, known)
    return click.UsageError(f"No such {what} '{name}'{near or '.'}", ctx)


def _before_dashes(words: Iterable[str]) -> Iterator[str]:
    """The words that may be options: what comes after ``--`` is none."""
    for word in words:
        if word == "--":
            return
        yield word


def _as_typed(name: str, words: Iterable[str]) -> str:
    """``-json`` where click, which takes that for ``-j -s -o -n``, speaks of ``-j``."""
    if name.startswith("--"):
        return name
    whole = (word.partition("=")[0] for word in words if re.match(r"-[^-]", word))
    return next((word for word in whole if name[1] in word), name)


def _is_empty(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()
