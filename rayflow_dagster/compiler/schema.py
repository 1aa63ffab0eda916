"""The JSON Schema of a flow file: for completion and checking in editors, and for the pages.

It is put together from the models that the validator itself uses. What the validator checks by
rules of its own (variables, START's inputs) has a model here, which the tests hold to those rules.
The schema says what form a flow has; the validator says whether it makes sense.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from .flow_form import FlowForm
from .rules.kept import SCOPES
from .rules.options import CallOptions, FlowOptions, ForEachOptions, NodeOptions, WhileOptions
from .spelling import short_names
from .starts.triggers import Triggers

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE = "#/$defs/"

Schema = dict[str, Any]


class _Documented(BaseModel):
    model_config = ConfigDict(strict=True)


class Port(_Documented):
    """An input of the flow, which START declares, or a part of its result, at RETURN."""

    type: str | None = Field(
        default="any", description="Its type: int, float, str, bool, list[int], str | None, ..."
    )
    default: Any = Field(
        default=None, description="The value where none is given; an input without it is required."
    )
    description: Any = Field(default=None, description="Shown in the launchpad.")


class NodeValues(_Documented):
    """What a node is given in the flow."""

    constantValues: dict[str, Any] | None = Field(  # noqa: N815 - the JSON's spelling
        default=None,
        description="Values for its constants, and for inputs that are not wired. That of an input "
        'may be what an expression gives: {"$expr": "total * 1.2"}.',
    )
    inputs: dict[str, str | Port | None] | None = Field(
        default=None,
        description="Of START: the flow's inputs. Of RETURN: the types of its result. By name, "
        "each as a type or as a port.",
    )


class NodePosition(_Documented):
    position: Any = Field(default=None, description="Where the editor draws it.")
    parentId: Any = Field(  # noqa: N815 - React Flow's
        default=None,
        description="The box that the editor draws it in. Where that is a region, exactly the "
        "nodes of its body are.",
    )


class Variable(_Documented):
    """A value that the nodes of a run share."""

    type: str = Field(default="any", description="Its type, as that of an input.")
    default: Any = Field(default=None, description="What it holds at first.")
    readonly: bool = Field(default=False, description="Whether nodes can only read it.")
    scope: str = Field(
        default="run",
        json_schema_extra={"enum": list(SCOPES)},
        description="Whether it lives for one run, or the flow keeps it between its runs.",
    )


class NamedVariable(Variable):
    """A variable in a list of them, as the Rayflow editor writes it."""

    name: str = Field(min_length=1, description="Its name.")


class Variables(_Documented):
    variables: dict[str, Variable] | list[NamedVariable] | None = Field(
        default=None, description="Values that the nodes of a run share, by name."
    )


class OwnSchema(_Documented):
    schema_: str | None = Field(
        default=None, alias="$schema", description="Where this schema is, for editors."
    )


FLOW_PARTS = (OwnSchema, FlowOptions, FlowForm, Variables, Triggers)
"""The models whose keys stand at the top of a flow."""

NODE_PARTS = (NodeOptions, NodeValues, CallOptions, ForEachOptions, WhileOptions)
"""The models whose keys stand in a node's ``data``."""

ADDITIONS = {
    "Triggers": {
        "schedules": "Times at which the flow starts by itself.",
        "sensors": "What the flow waits for, to start by itself.",
    },
}
"""Descriptions of keys whose models have none, by model."""


class _Generator(GenerateJsonSchema):
    """Without titles, which repeat the names of keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def flow_schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a flow file, in any of its spellings."""
    definitions = _definitions()
    parts = [definitions.pop(model.__name__) for model in FLOW_PARTS]
    node_parts = [definitions.pop(model.__name__) for model in NODE_PARTS]
    definitions["NodeData"] = _merged(node_parts)
    definitions["Node"] = _node(definitions)
    definitions["Edge"] = definitions.pop("EdgeForm")
    flow = _merged(parts)
    flow["properties"]["nodes"]["minItems"] = 1
    for key in Triggers.model_fields:
        flow["properties"][key] = _or_null(flow["properties"][key])
    drawing = {key: flow["properties"][key] for key in FlowForm.model_fields}
    exported = {
        "description": "Where an export of the Rayflow editor keeps nodes and edges.",
        "type": "object",
        "properties": drawing,
        "required": ["nodes"],
    }
    drawn = {"required": ["nodes"]}
    body = {
        "type": "object",
        "properties": flow["properties"],
        "if": {"required": ["flow"], "not": drawn},  # an export of the Rayflow editor
        "then": {"properties": {"flow": exported}},
        "else": drawn,
        "$defs": dict(sorted(definitions.items())),
    }
    renamed: Schema = _renamed(_cleaned(body), {"NodeForm": "Node", "EdgeForm": "Edge"})
    about = "Nodes, joined by edges, and what surrounds them."
    return {"$schema": DIALECT, "title": "Flow", "description": about, **renamed}


def _definitions() -> dict[str, Schema]:
    """The schema of every model, by its name, with a description of every key."""
    models: list[type[BaseModel]] = [*FLOW_PARTS, *NODE_PARTS, NodePosition]
    _, found = models_json_schema(
        [(model, "validation") for model in models], schema_generator=_Generator
    )
    definitions: dict[str, Schema] = found["$defs"]
    for model, texts in ADDITIONS.items():
        for key, text in texts.items():
            definitions[model]["properties"][key]["description"] = text
    return definitions


def _node(definitions: dict[str, Schema]) -> Schema:
    node = _merged([definitions.pop("NodeForm"), definitions.pop("NodePosition")])
    properties = node["properties"]
    # Short names are completed, not demanded.
    properties["type"]["anyOf"].insert(0, {"enum": short_names()})
    properties["data"]["anyOf"] = [{"$ref": f"{REFERENCE}NodeData"}, {"type": "null"}]
    return node


def _merged(parts: list[Schema]) -> Schema:
    """One object with the keys of all ``parts``, and what the first one says of itself."""
    merged = {**parts[0], "properties": {}}
    required: list[str] = []
    for part in parts:
        merged["properties"] |= part["properties"]
        required += part.get("required", [])
    return {**merged, "required": required} if required else merged


def _or_null(schema: Schema) -> Schema:
    """``null`` stands for none at all."""
    null = {"type": "null"}
    form = {key: value for key, value in schema.items() if key not in ("description", "default")}
    about = {"description": schema.get("description", "")}
    if "type" in form:  # said so, an editor points at the key that is wrong, and not at the whole
        return {**form, "type": [form["type"], "null"], **about}
    forms = form.get("anyOf", [form])
    return {"anyOf": forms if null in forms else [*forms, null], **about}


def _cleaned(value: Any) -> Any:
    """``value`` without what tells an editor nothing."""
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if not isinstance(value, dict):
        return value
    dropped = {"discriminator"} if "oneOf" in value else set()  # OpenAPI's
    if "default" in value and value["default"] in (None, {}, []):
        dropped.add("default")
    if isinstance(value.get("title"), str):  # a model's class
        dropped.add("title")
    return {key: _cleaned(item) for key, item in value.items() if key not in dropped}


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """``value`` with references to the definitions' new names."""
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {key: _renamed(item, names) for key, item in value.items()}
    reference = renamed.get("$ref")
    if isinstance(reference, str):
        name = reference.removeprefix(REFERENCE)
        renamed["$ref"] = REFERENCE + names.get(name, name)
    return renamed
