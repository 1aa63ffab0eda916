"""The outline that every flow must have before anything else can be said about it."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictStr
from pydantic import ValidationError as PydanticError

from rayflow_dagster.errors import FlowFormatError

MAX_FINDINGS = 50


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class NodeOutline(_Open):
    id: StrictStr = Field(min_length=1, max_length=500)
    type: StrictStr = Field(min_length=1, max_length=1000)
    data: dict[str, Any] | None = None


class EdgeOutline(_Open):
    id: StrictStr | None = None
    source: StrictStr
    target: StrictStr
    sourceHandle: StrictStr | None = None  # noqa: N815 - the JSON's spelling
    targetHandle: StrictStr | None = None  # noqa: N815
    type: StrictStr | None = None


class FlowOutline(_Open):
    nodes: list[NodeOutline]
    edges: list[EdgeOutline] | None = None
    name: StrictStr | None = None
    description: StrictStr | None = None
    tags: dict[str, Any] | None = None


def check_outline(flow: Any, max_depth: int) -> None:
    """Check that ``flow`` has nodes and edges of the right outline.

    Raises:
        FlowFormatError: with every problem of the outline.
    """
    if not isinstance(flow, Mapping):
        raise FlowFormatError(f"a flow is a JSON object, not {type(flow).__name__}")
    if _is_deeper(flow, max_depth):
        raise FlowFormatError(f"it is nested deeper than {max_depth} levels")
    inner = flow.get("flow")
    body = inner if "nodes" not in flow and isinstance(inner, Mapping) else flow
    problems = list(_problems(body))
    if problems:
        raise FlowFormatError(problems, _name(flow))
    if not body["nodes"]:
        raise FlowFormatError("it has no nodes; draw at least a START and a RETURN", _name(flow))


def _name(flow: Mapping[str, Any]) -> str | None:
    name = flow.get("name")
    return name if isinstance(name, str) else None


def _problems(body: Mapping[str, Any]) -> Iterator[str]:
    try:
        FlowOutline.model_validate(dict(body))
    except PydanticError as error:
        found = error.errors(include_url=False, include_context=False)
        for item in found[:MAX_FINDINGS]:
            yield f"{_place(body, item['loc'])}: {_text(item)}"
        if len(found) > MAX_FINDINGS:
            yield f"and {len(found) - MAX_FINDINGS} more of this kind"
        return
    yield from _unprintable(body)


def _place(body: Mapping[str, Any], location: tuple[int | str, ...]) -> str:
    """``nodes[3].id`` - and the id of the node or edge where it has a readable one."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    place = text.lstrip(".")
    if len(location) > 2 and isinstance(location[1], int):
        item = body[str(location[0])][location[1]]
        if isinstance(item, Mapping) and isinstance(item.get("id"), str) and location[2] != "id":
            return f"{place} (id '{item['id'][:80]}')"
    return place


def _text(item: Any) -> str:
    shown = repr(item["input"]) if isinstance(item["input"], (int, float, str, bool)) else ""
    got = f", not {shown[:80]}" if shown else f", not {type(item['input']).__name__}"
    match item["type"]:
        case "missing":
            return "is missing"
        case "string_type":
            return "must be text" + got
        case "list_type":
            return "must be a list" + got
        case "string_too_short":
            return "must not be empty"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "must be an object" + got
    return str(item["msg"])


def _unprintable(body: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("nodes", "edges"):
        for item in body.get(kind) or []:
            for key, text in item.items():
                if isinstance(text, str) and not _is_unicode(text):
                    yield f"{kind} '{_safe(str(item.get('id')))}' key '{key}': half a character"
    for key, text in body.items():
        if isinstance(text, str) and not _is_unicode(text):
            yield f"key '{key}': has half a character (a lone surrogate); retype the text"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _safe(text: str) -> str:
    return text.encode(errors="replace").decode()


def _is_deeper(value: Any, limit: int) -> bool:
    """Whether ``value`` is nested deeper than ``limit``, found without recursion."""
    level: list[Any] = [value]
    for _ in range(limit):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(item: Any) -> list[Any]:
    if isinstance(item, Mapping):
        return [value for value in item.values() if isinstance(value, (Mapping, list))]
    if isinstance(item, list):
        return [value for value in item if isinstance(value, (Mapping, list))]
    return []
