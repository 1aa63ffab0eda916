"""The JSON Schema of flow files, held to the validator, and the page that is made from it."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from shapes import FIXTURES

from rayflow_dagster import FlowValidator
from rayflow_dagster.cli import main
from rayflow_dagster.compiler.flow_form import EdgeForm, FlowForm, NodeForm
from rayflow_dagster.compiler.rules.options import FLOW_KEYS, NODE_KEYS, FlowOptions, NodeOptions
from rayflow_dagster.compiler.schema import ADDITIONS, flow_schema
from rayflow_dagster.compiler.starts.triggers import Trigger, Triggers

ROOT = Path(__file__).parents[2]
FLOWS = sorted((ROOT / "flows").glob("*.json"))
SCHEMA = flow_schema()
EDITOR = Draft202012Validator(SCHEMA)

FLOW = {
    "nodes": [
        {"id": "start", "type": "start", "data": {"inputs": {"a": "int", "b": {"default": 2}}}},
        {"id": "end", "type": "return", "data": {}},
    ],
    "edges": [
        {"source": "start", "target": "end", "sourceHandle": "exec_out", "targetHandle": "exec_in"},
        {"source": "start", "target": "end", "sourceHandle": "a", "targetHandle": "a"},
    ],
}


def changed(place: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """``FLOW`` with ``value`` at ``place``; ``...`` takes out what stands there."""
    flow: Any = copy.deepcopy(FLOW)
    inner = flow
    for part in place[:-1]:
        inner = inner[part]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return dict(flow)


def written(*more: str) -> str:
    result = CliRunner().invoke(main, ["schema", *more])
    assert result.exit_code == 0
    return result.output


def properties(schema: Any, place: str = "flow") -> Iterator[tuple[str, Any]]:
    """(place, its schema) of every key."""
    if isinstance(schema, list):
        for item in schema:
            yield from properties(item, place)
    elif isinstance(schema, dict):
        for key, spec in schema.get("properties", {}).items():
            yield f"{place}.{key}", spec
        for key, spec in schema.items():
            yield from properties(spec, f"{place}.{key}")


def test_the_file_is_what_the_command_writes():
    assert (ROOT / "schemas/flow.schema.json").read_text() == written(), "run: make schema"


def test_the_page_is_what_the_command_writes():
    assert (ROOT / "docs/flow-file.md").read_text() == written("--markdown"), "run: make schema"


def test_it_is_a_json_schema():
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("file", FLOWS, ids=lambda file: file.stem)
def test_the_example_flows_are_valid(file: Path):
    assert list(EDITOR.iter_errors(json.loads(file.read_text()))) == []


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("*.json")), ids=lambda file: file.stem)
def test_flows_of_every_shape_and_editor_are_valid(file: Path):
    assert list(EDITOR.iter_errors(json.loads(file.read_text()))) == []


SCHEDULE = {"cron": "0 6 * * *", "inputs": {"a": 1}}

GOOD = [
    (("$schema",), "../schemas/flow.schema.json"),
    (("name",), None),
    (("an editor's own",), {"zoom": 2}),
    (("nodes", 0, "position"), {"x": 1, "y": 2}),
    (("nodes", 1, "data"), None),
    (("nodes", 1, "data"), {"retry": {"max": 2, "delay": 1, "backoff": "linear"}, "inputs": None}),
    (("nodes", 1, "data"), {"inputs": {"a": None}, "constantValues": {"b": [1]}}),
    (("nodes", 1, "data"), {"ray": {"num_cpus": 1}, "asset": {"key": ["a", "b"]}}),
    (("edges", 0, "type"), None),
    (("settings",), {"durable": False, "retry": {"max": 1}, "storage": "s3://bucket/folder"}),
    (("variables",), None),
    (("variables",), []),
    (("variables",), {"n": {}, "m": {"type": "int", "default": 0, "scope": "flow"}}),
    (("variables",), [{"name": "n", "type": "int", "defaultValue": 0, "isReadonly": True}]),
    (("schedules",), None),
    (("schedules",), [{**SCHEDULE, "timezone": "Europe/Madrid", "running": True}]),
    (("sensors",), None),
    (("sensors",), [{"type": "file", "path": "inbox/*.csv", "inputs": {"a": 1}, "settle": 1}]),
    (("sensors",), [{"type": "flow", "flow": "other", "on": "either", "inputs": {"a": 1}}]),
    (("sensors",), [{"type": "poll", "check": "nodes.shop.NewOrders"}, {"type": "inbox"}]),
]

BAD = [
    (("nodes",), ...),
    (("nodes",), []),
    (("nodes",), {"start": {}}),
    (("nodes", 0, "id"), ...),
    (("nodes", 0, "id"), 3),
    (("nodes", 0, "id"), "two\nlines"),
    (("nodes", 0, "type"), ""),
    (("nodes", 0, "data"), []),
    (("nodes", 0, "data", "inputs"), ["a"]),
    (("nodes", 0, "data", "inputs", "a"), 5),
    (("nodes", 0, "data", "inputs", "b", "type"), 5),
    (("nodes", 1, "data", "retry"), 2),
    (("nodes", 1, "data", "retry"), {"max": -1}),
    (("nodes", 1, "data", "retry"), {"delay": 1}),
    (("nodes", 1, "data", "retry"), {"max": 2, "backof": "linear"}),
    (("nodes", 1, "data", "ray"), {"num_cpu": 1}),
    (("nodes", 1, "data", "pool"), "two words"),
    (("nodes", 1, "data", "priority"), "high"),
    (("nodes", 1, "data", "resident_ttl"), 0),
    (("nodes", 1, "data", "asset"), {"group": "a"}),
    (("nodes", 1, "data", "asset"), {"key": 1}),
    (("nodes", 1, "data", "constantValues"), [1]),
    (("edges",), {}),
    (("edges", 0, "source"), ...),
    (("edges", 0, "sourceHandle"), 1),
    (("name",), 1),
    (("on_error",), "ignore"),
    (("settings",), {"durable": "no"}),
    (("settings",), {"ray": {"cpus": 1}}),
    (("tags",), ["a"]),
    (("variables",), {"n": 0}),
    (("variables",), {"n": {"scope": "world"}}),
    (("variables",), {"n": {"readonly": "yes"}}),
    (("variables",), [{"type": "int"}]),
    (("schedules",), SCHEDULE),
    (("schedules",), [{**SCHEDULE, "timzone": "UTC"}]),
    (("schedules",), [{**SCHEDULE, "overlap": "wait"}]),
    (("sensors",), [{"path": "inbox/*.csv", "inputs": {"a": 1}}]),
    (("sensors",), [{"type": "mail"}]),
    (("sensors",), [{"type": "file", "inputs": {"a": 1}}]),
    (("sensors",), [{"type": "flow", "flow": "other", "on": "always", "inputs": {"a": 1}}]),
    (("sensors",), [{"type": "inbox", "path": "x"}]),
]


def named(case: Any) -> str:
    return ".".join(str(part) for part in case) if isinstance(case, tuple) else ""


@pytest.mark.parametrize(("place", "value"), GOOD, ids=named)
def test_what_the_validator_takes_is_valid(place: tuple[str | int, ...], value: Any):
    flow = changed(place, value)

    assert FlowValidator(storages=["s3://bucket"]).validate(flow) == (True, [])
    assert list(EDITOR.iter_errors(flow)) == []


@pytest.mark.parametrize(("place", "value"), BAD, ids=named)
def test_a_wrong_form_is_refused_as_by_the_validator(place: tuple[str | int, ...], value: Any):
    flow = changed(place, value)

    assert not FlowValidator().validate(flow)[0]
    assert list(EDITOR.iter_errors(flow)) != []


def test_an_export_of_the_editor_is_checked_where_it_keeps_its_nodes():
    export = json.loads((FIXTURES / "editor_export.json").read_text())
    del export["flow"]["nodes"][0]["id"]

    assert [list(error.path) for error in EDITOR.iter_errors(export)] == [["flow", "nodes", 0]]


def test_the_place_of_its_own_schema_is_no_finding():
    validator = FlowValidator()

    assert validator.validate({"$schema": "../schemas/flow.schema.json", **FLOW}) == (True, [])
    assert validator.warnings == []


def test_every_key_has_a_description():
    assert [place for place, spec in properties(SCHEMA) if not spec.get("description")] == []


def test_every_object_has_a_description():
    assert [name for name, spec in SCHEMA["$defs"].items() if not spec.get("description")] == []


def test_every_key_that_the_rules_know_is_in_it():
    top, definitions = SCHEMA["properties"], SCHEMA["$defs"]

    known = {*FLOW_KEYS, *FlowOptions.model_fields, *FlowForm.model_fields}
    assert known | set(Triggers.model_fields) <= set(top)
    assert set(NodeForm.model_fields) <= set(definitions["Node"]["properties"])
    assert set(EdgeForm.model_fields) == set(definitions["Edge"]["properties"])
    assert {*NODE_KEYS, *NodeOptions.model_fields} <= set(definitions["NodeData"]["properties"])


def test_no_description_of_a_model_is_overridden():
    models = {model.__name__: model for model in [Triggers, *_subclasses(Trigger)]}

    for name, texts in ADDITIONS.items():
        fields = models[name].model_fields
        assert [key for key in texts if fields[key].description] == []


def _subclasses(model: type) -> Iterator[Any]:
    for inner in model.__subclasses__():
        yield inner
        yield from _subclasses(inner)


def test_the_page_lists_every_key():
    page = written("--markdown")
    listed = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}

    assert {place.rpartition(".")[2] for place, _ in properties(SCHEMA)} == listed | {"flow"}
    assert [name for name in SCHEMA["$defs"] if f"## {_spaced(name)}\n" not in page] == []


def _spaced(name: str) -> str:
    words = "".join(f" {letter}" if letter.isupper() else letter for letter in name).split()
    return " ".join(words).capitalize()
