"""The OpenAPI document of the endpoint: one path for each flow, typed by its START."""

from collections.abc import Iterable, Mapping
from typing import Any

from rayflow_dagster.port_types import PortType, parse_type
from rayflow_dagster.secrets.references import has_secret, secrets_in

from .flows import InboxFlow

_WORDS = {"int": "integer", "float": "number", "str": "string", "bool": "boolean", "None": "null"}


def json_schema(kind: PortType) -> dict[str, Any]:
    """The JSON Schema of the values that a port type takes."""
    match kind:
        case PortType("int"):
            # 3.0 is an integer for JSON Schema, and no int for a flow: nothing here can say that.
            return {"type": "integer"}
        case PortType("float" | "str" | "bool" | "None" as word):
            return {"type": _WORDS[word]}
        case PortType("list", items):
            return {"type": "array", **({"items": json_schema(items[0])} if items else {})}
        case PortType("dict", args):
            values = {"additionalProperties": json_schema(args[1])} if args else {}
            return {"type": "object", **values}
        case PortType("union", members):
            return {"anyOf": [json_schema(member) for member in members]}
        case PortType("any"):
            return {}
    # Python objects cannot be written in JSON.
    return {"not": {}, "description": f"a Python {kind}, which a request cannot give"}


def inputs_schema(flow: InboxFlow) -> dict[str, Any]:
    """The JSON Schema of a request's body."""
    if flow.inputs.body is not None:
        return {**_input_schema(flow, flow.inputs.body), "type": "object"}
    properties = {name: _input_schema(flow, name) for name in flow.inputs.open}
    required = [name for name in properties if name not in flow.inputs.defaults]
    return {
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _input_schema(flow: InboxFlow, name: str) -> dict[str, Any]:
    schema = json_schema(parse_type(flow.inputs.types[name]))
    if name in flow.inputs.descriptions:
        schema["description"] = flow.inputs.descriptions[name]
    default = flow.inputs.defaults.get(name)
    if name in flow.inputs.defaults and not has_secret(secrets_in(default)):
        schema["default"] = default
    return schema


def openapi(flows: Iterable[InboxFlow]) -> dict[str, Any]:
    """The document (OpenAPI 3.1) for these flows."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flows that take requests",
            "version": "1",
            "description": "Starts flows. A request is kept until its run has started.",
        },
        "security": [{"secret": []}],
        "paths": {
            **{f"/flows/{flow.name}": {"post": _post(flow)} for flow in flows},
            "/flows": {"get": _get("list_flows", "The flows that take requests.", _LIST)},
            "/requests/{id}": {
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "get": {
                    **_get("get_request", "What became of a request.", _STATUS),
                },
            },
        },
        "components": {
            "securitySchemes": {
                "secret": {"type": "http", "scheme": "bearer"},
                "signature": {"type": "apiKey", "in": "header", "name": "X-Hub-Signature-256"},
            },
            "schemas": {"Problem": _PROBLEM, "Accepted": _ACCEPTED, "Request": _REQUEST},
        },
    }


def _get(name: str, text: str, answers: Mapping[str, Any]) -> dict[str, Any]:
    return {"operationId": name, "summary": text, "responses": {**answers, **_UNABLE}}


def _post(flow: InboxFlow) -> dict[str, Any]:
    return {
        "operationId": f"start_{flow.name}",
        "summary": f"Start {flow.name}.",
        "description": flow.description,
        "security": [{"secret": []}, {"signature": []}],
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same key and body are the same request.",
                "schema": {"type": "string", "maxLength": 255},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": inputs_schema(flow)}},
        },
        "responses": {
            "202": _answer("It is stored, and starts a run.", "Accepted"),
            "200": _answer("It was stored before, under the same key.", "Accepted"),
            **_refusals("400", "401", "404", "408", "409", "413", "415", "422", "429", "503"),
        },
    }


def _answer(text: str, schema: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": text, "content": {"application/json": {"schema": reference}}}


def _refusals(*codes: str) -> dict[str, Any]:
    return {code: _answer(_REFUSALS[code], "Problem") for code in codes}


_REFUSALS = {
    "400": "The body is not JSON.",
    "401": "The secret, or the signature made with it, is missing or wrong.",
    "404": "There is no such flow, or it takes no requests.",
    "408": "The body was not there in time.",
    "409": "The Idempotency-Key was used with another body.",
    "413": "The body is too large.",
    "415": "The body is not declared as JSON.",
    "422": "The inputs do not fit what START declares.",
    "429": "Too many requests; Retry-After says when to try again.",
    "503": "It cannot be taken at the moment; Retry-After says when to try again.",
}
_UNABLE = _refusals("401", "429", "503")
_PROBLEM = {
    "type": "object",
    "properties": {
        "error": {"type": "string"},
        "problems": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["error"],
}
_ACCEPTED = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "status_url": {"type": "string"}},
    "required": ["id", "status_url"],
}
_REQUEST = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "flow": {"type": "string"},
        "created": {"type": "string", "format": "date-time"},
        "status": {"enum": ["waiting", "started", "success", "failure", "canceled"]},
        "run_id": {"type": ["string", "null"]},
        "result": {"description": "What RETURN gave; null unless the status is success."},
        "error": {"type": ["string", "null"]},
    },
    "required": ["id", "flow", "created", "status", "run_id", "result", "error"],
}
_STATUS = {
    "200": _answer("What is known of it.", "Request"),
    **_refusals("404"),
    "410": _answer("Its run was deleted.", "Problem"),
}
_LIST = {
    "200": {
        "description": "Their names, and where to send requests.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
