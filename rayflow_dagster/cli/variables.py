"""``rayflow-dagster variables``: see and set what a flow keeps between its runs."""

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
from rich.cells import cell_len, set_cell_size

from rayflow_dagster.port_types import accepts, parse_type
from rayflow_dagster.secrets.references import secrets_in, spelled
from rayflow_dagster.suggest import did_you_mean
from rayflow_dagster.values.preview import preview
from rayflow_dagster.values.stored import numbers_problem
from rayflow_dagster.variables.kept import Kept, KeptVariables
from rayflow_dagster.variables.store import kept_declarations

from .flows import FlowFile, open_flow
from .group import Refused
from .recordings import stored_for
from .terminal import one_line, open_console, print_document, value_text

MAX_SHOWN = 60
"""Characters of a value in the table; ``--json`` has all of it."""

Declared = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done: nothing (None), ``set`` or ``reset``, and to which variable."""

    action: str | None = None
    name: str | None = None
    value: str | None = None


def show_variables(named: str, order: Order, *, as_json: bool) -> None:
    """Do what was ordered, then print the variables that the flow keeps.

    Raises:
        ValidationError: the flow has errors.
        Refused: it keeps no such variable, or the value does not fit it.
        UsageError: a name or value is missing, or is too much.
    """
    _check_order(order)
    flow = open_flow(named)
    declared = declared_by(flow)
    with stored_for(flow) as kept:
        _do(order, kept, declared)
        found = kept.read()
    rows = {name: found.get(name, Kept()) for name in declared}
    if as_json:
        print_document(_document(kept.flow, declared, rows))
    else:
        _print(kept.flow, declared, rows)


def declared_by(flow: FlowFile) -> Declared:
    """The declarations of the variables that a flow keeps.

    Raises:
        ValidationError: the flow has errors.
    """
    resolved = flow.project.validator().require_valid(flow.raw)  # type: ignore[arg-type]
    return kept_declarations(resolved.variables)


def _check_order(order: Order) -> None:
    if order.action == "set" and order.value is None:
        raise click.UsageError("set takes a variable's name and a JSON value")
    if order.action == "reset" and order.value is not None:
        raise click.UsageError("reset takes the name of one variable, or none for all")


def _do(order: Order, kept: KeptVariables, declared: Declared) -> None:
    if order.action is None:
        return
    if order.name is not None and order.name not in declared:
        known = ", ".join(declared) or "none"
        raise Refused(
            f"flow '{kept.flow}' keeps no variable '{order.name}' between runs (kept: {known}); "
            'such a variable is declared with "scope": "flow"'
            f"{did_you_mean(order.name, declared)}"
        )
    if order.action == "reset":
        kept.reset(order.name)
    elif order.name is not None and order.value is not None:
        kind = str(declared[order.name].get("type", "any"))
        kept.set(order.name, _typed(order.name, order.value, kind))


def _typed(name: str, text: str, kind: str) -> Any:
    try:
        value = secrets_in(json.loads(text))
    except ValueError:
        raise Refused(
            f"variable '{name}': {preview(text, 80)} is not JSON; a text has quotes of its own: "
            f"'{json.dumps(text[:40])}'"
        ) from None
    if not accepts(parse_type(kind), value):
        raise Refused(f"variable '{name}' takes {kind}, not {preview(value, 80)}")
    problem = numbers_problem(value)
    if problem:
        raise Refused(f"variable '{name}' ({kind}) takes no value that {problem}")
    return value


def _document(flow: str, declared: Declared, rows: Mapping[str, Kept]) -> dict[str, Any]:
    return {
        "flow": flow,
        "variables": [
            {
                "name": name,
                "type": str(declared[name].get("type", "any")),
                "value": _value(declared, name, kept),
                "is_default": not kept.has_value,
                "version": kept.version,
                "changed": _when(kept),
                "changed_by": kept.changed_by or None,
            }
            for name, kept in rows.items()
        ],
    }


def _print(flow: str, declared: Declared, rows: Mapping[str, Kept]) -> None:
    console = open_console()
    if not rows:
        console.print(
            f"flow '{flow}' keeps no variables between runs; such a variable is "
            'declared with "scope": "flow"'
        )
        return
    lines: list[tuple[str, ...]] = [("name", "type", "value", "version", "changed", "by")]
    lines += [_line(declared, name, kept) for name, kept in rows.items()]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (set_cell_size(cell, width) for cell, width in zip(line, widths, strict=True))
        console.print("  ".join(cells).rstrip())


def _line(declared: Declared, name: str, kept: Kept) -> tuple[str, ...]:
    value = one_line(value_text(_value(declared, name, kept)))
    shown = value if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]}..."
    return (
        one_line(name),
        str(declared[name].get("type", "any")),
        shown if kept.has_value else f"{shown} (default)",
        str(kept.version),
        _when(kept) or "never",
        kept.changed_by,
    )


def _value(declared: Declared, name: str, kept: Kept) -> Any:
    return spelled(kept.value) if kept.has_value else declared[name].get("default")


def _when(kept: Kept) -> str | None:
    """The local time of the last write, with its distance from UTC."""
    if not kept.version:
        return None
    changed = datetime.datetime.fromtimestamp(kept.changed, datetime.UTC).astimezone()
    return changed.isoformat(" ", "seconds")
