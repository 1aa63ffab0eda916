"""``rayflow-dagster schema``: the form of a flow file, for editors or as a page."""

import json
import re
from collections.abc import Iterator
from typing import Any

import click

from rayflow_dagster.compiler.schema import REFERENCE, Schema, flow_schema

_HEADER = """\
# The flow file: every key

A flow is a JSON object. This page lists every key that is read; [the flow language](flows.md) says
what a flow means. Keys that are not listed are the editor's own: they are kept and ignored, except
where a table says that no other key is allowed. An export of the Rayflow editor has its nodes
and edges in `flow`. `make schema` writes this page.

## Completion and checking in an editor

`schemas/flow.schema.json` is a JSON Schema (draft 2020-12) of this page. `rayflow-dagster schema`
prints it, so a project can have its own copy:

```sh
rayflow-dagster schema > flow.schema.json
```

VS Code uses it for every flow with this in `.vscode/settings.json`:

<!-- not run: these are settings of VS Code -->
```json
{"json.schemas": [{"fileMatch": ["/flows/*.json"], "url": "./flow.schema.json"}]}
```

Other editors (and VS Code, too) follow a key in the flow itself, which is ignored when the flow
runs: `"$schema": "../flow.schema.json"`.

The schema knows the form of a flow. Whether its wires, types, names and times make sense is told by
`rayflow-dagster validate FLOW`.
"""
_FLOW = "A flow"


def print_schema(*, as_markdown: bool) -> None:
    """Print the JSON Schema of flow files, or the page that lists their keys."""
    click.echo(flow_page() if as_markdown else schema_text(), nl=False)


def schema_text() -> str:
    """The JSON Schema as the text of a file."""
    return json.dumps(flow_schema(), indent=2, ensure_ascii=False) + "\n"


def flow_page() -> str:
    """The page that lists every key of a flow file, in Markdown."""
    schema = flow_schema()
    sections = [_section(_FLOW, schema)]
    sections += [_section(_title(name), schema["$defs"][name]) for name in _in_order(schema)]
    return "\n".join([_HEADER, *sections])


def _in_order(schema: Schema) -> list[str]:
    """The names of the definitions, each behind the one that first refers to it."""
    found: list[str] = []
    pending = _referred(schema["properties"])
    while pending:
        name = pending.pop(0)
        if name not in found:
            found.append(name)
            pending = [*_referred(schema["$defs"][name]), *pending]
    return found


def _referred(value: Any) -> list[str]:
    text = json.dumps(value)
    return list(dict.fromkeys(re.findall(rf'"{re.escape(REFERENCE)}(\w+)"', text)))


def _title(name: str) -> str:
    """``File sensor`` of ``FileSensor``."""
    return re.sub(r"(?<=[a-z])([A-Z])", lambda found: f" {found[1].lower()}", name)


def _section(title: str, schema: Schema) -> str:
    lines = [f"## {title}", "", schema.get("description", ""), ""]
    if schema.get("additionalProperties") is False:
        lines += ["No other key is allowed here.", ""]
    lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
    required = schema.get("required", [])
    if title == _FLOW:
        required = ["nodes"]
    for key, spec in schema["properties"].items():
        default = "required" if key in required else _default(spec)
        lines.append(f"| `{key}` | {_kind(spec)} | {default} | {_cell(spec['description'])} |")
    return "\n".join([*lines, ""])


def _default(spec: Schema) -> str:
    return _code(spec["default"]) if "default" in spec else ""


def _code(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _kind(spec: Schema) -> str:
    """What a value may be, in words."""
    forms = spec.get("anyOf") or spec.get("oneOf")
    if forms:
        kinds = [_kind(form) for form in forms if form != {"type": "null"}]
        if "text" in kinds and any("enum" in form for form in forms):
            return "text"  # what the enum lists is for completion
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in spec:
        title = _title(spec["$ref"].removeprefix(REFERENCE))
        return f"[{title.lower()}](#{title.lower().replace(' ', '-')})"
    if "const" in spec:
        return _code(spec["const"])
    if "enum" in spec:
        return " or ".join(_code(value) for value in spec["enum"])
    return _plain_kind(spec)


def _plain_kind(spec: Schema) -> str:
    match spec.get("type"):
        case [kind, "null"]:
            return _plain_kind({**spec, "type": kind})
        case "array":
            return f"list: {_kind(spec.get('items', {}))}"
        case "object":
            inner = spec.get("additionalProperties")
            return f"by name: {_kind(inner)}" if isinstance(inner, dict) else "object"
        case "string":
            return "text"
        case "boolean":
            return "true or false"
        case "integer":
            return ", ".join(["whole number", *_bounds(spec)])
        case "number":
            return ", ".join(["number", *_bounds(spec)])
    return "any JSON"


def _bounds(spec: Schema) -> Iterator[str]:
    for key, text in (
        ("minimum", "at least"),
        ("exclusiveMinimum", "more than"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "less than"),
    ):
        if key in spec:
            yield f"{text} {spec[key]}"
