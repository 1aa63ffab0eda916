"""The OpenAPI document says what the endpoint does."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from inbox.inbox_flows import INBOX, Caller, flow_of, write_flow
from rayflow_dagster.defs.jobs import job_name
from rayflow_dagster.inbox.flows import InboxFlows
from rayflow_dagster.inbox.openapi import inputs_schema, json_schema, openapi
from rayflow_dagster.port_types import accepts, parse_type

TYPES = [
    "int", "float", "str", "bool", "None", "any", "list", "dict", "list[int]", "list[list[str]]",
    "dict[str, float]", "int | None", "list[int | str]", "optional[dict[str, bool]]",
    "pathlib.Path", "list[pathlib.Path]",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, 1, 1.5, "a", "", [], {}, [1], ["a"], [["a"]], [[1]], {"a": 1}, {"a": 1.5},
    {"a": True}, {"a": "b"}, [1, "a"], [None], {"a": None},
]  # fmt: skip


@pytest.mark.parametrize("word", TYPES)
def test_a_schema_takes_what_the_port_type_takes(word: str) -> None:
    kind = parse_type(word)
    schema = json_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)

    disagreed = [value for value in VALUES if validator.is_valid(value) != accepts(kind, value)]
    assert disagreed == []


def test_every_flow_has_a_path_with_its_inputs(caller: Caller) -> None:
    document = caller.get("/openapi.json").body

    assert document["openapi"].startswith("3.1")
    assert [path for path in document["paths"] if path.startswith("/flows/")] == ["/flows/order"]
    post = document["paths"]["/flows/order"]["post"]
    assert post["description"] == "Takes an order."
    assert post["requestBody"]["content"]["application/json"]["schema"] == {
        "type": "object",
        "properties": {
            "customer": {"type": "string", "description": "Who buys."},
            "amounts": {"type": "array", "items": {"type": "number"}, "default": [1.5]},
            "express": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": None},
        },
        "required": ["customer"],
        "additionalProperties": False,
    }


def test_every_reference_in_the_document_leads_somewhere(caller: Caller) -> None:
    document = caller.get("/openapi.json").body
    schemas = document["components"]["schemas"]
    text = json.dumps(document)

    assert text.count('"$ref"') > 3
    for name in {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        jsonschema.Draft202012Validator.check_schema(schemas[name])


def test_every_answer_is_as_the_document_says(caller: Caller) -> None:
    document = caller.get("/openapi.json").body
    schemas = document["components"]["schemas"]
    accepted = caller.post("order", {"customer": "Ada"})
    refused = caller.post("order", {})

    jsonschema.validate(accepted.body, schemas["Accepted"])
    jsonschema.validate(caller.about(accepted.body["id"]), schemas["Request"])
    jsonschema.validate(refused.body, schemas["Problem"])
    assert str(refused.status) in document["paths"]["/flows/order"]["post"]["responses"]


def test_what_the_sensor_sets_and_secret_defaults_are_not_shown(tmp_path: Path) -> None:
    inputs = {"key": "str", "token": {"type": "str", "default": {"$env": "SHOP_TOKEN"}}}
    flow = flow_of(inputs, {**INBOX, "inputs": {"key": {"$env": "SHOP_KEY"}}})
    write_flow(tmp_path, "f", flow)
    (read,) = InboxFlows(tmp_path, job_name).current().takes.values()

    assert inputs_schema(read)["properties"] == {"token": {"type": "string"}}
    assert "SHOP" not in json.dumps(openapi([read]))
