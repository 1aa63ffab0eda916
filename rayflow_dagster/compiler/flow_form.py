"""The form that every flow must have before anything else can be said about it."""

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr
from pydantic import ValidationError as PydanticError

from rayflow_dagster.errors import FlowFormatError

from .findings import place_of
from .json_values import json_problems

MAX_FINDINGS = 50
MAX_NODES = 5_000
MAX_EDGES = 50_000
VISIBLE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
"""Text on one line of which something can be seen."""
REMEDIES = {
    "nodes": 'list the flow\'s nodes there, each as {"id": ..., "type": ...}',
    "edges": 'list the flow\'s wires there, each as {"source": ..., "target": ...}',
    "id": "give it an id of its own, which is how wires and runs name it",
    "type": 'name its node class there, for example "start" or "math.Add"',
    "source": "name the node that the wire leaves, by its id",
    "target": "name the node that the wire enters, by its id",
    "sourceHandle": "name the port that the wire leaves, or leave the key out",
    "targetHandle": "name the port that the wire enters, or leave the key out",
    "data": "put the node's settings there, or leave the key out",
}
"""What to do about a key of a wrong shape."""
DECORATION = "decoration"
"""The key of a canonical flow that has the boxes which are no nodes."""
_MAX_PLACES = 1_000
"""How many values are looked at for a drawing that stands in the wrong place."""


_WIRES = frozenset({"exec_in", "inputs"})
"""The keys of a node that Rayflow 1.x keeps its wires in."""
_OF_RAYFLOW = frozenset({"outputs", "events"})
"""Keys that Rayflow 1.x always writes beside the nodes."""
_JSON_TYPES: dict[type, str] = {dict: "an object", list: "a list"}


class _Open(BaseModel):
    model_config = ConfigDict(extra="ignore")  # other keys are an editor's; nothing reads these


class NodeForm(_Open):
    """A box of the drawing: a step of the job."""

    id: StrictStr = Field(
        min_length=1,
        max_length=500,
        pattern=VISIBLE,
        description="Its name within the flow, which wires and runs use.",
    )
    type: StrictStr | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="A built-in node's short name (math.add), or the class path of a node of "
        "yours (nodes.text.count_words.CountWordsNode). What is not wired and names no class is "
        "decoration.",
    )
    data: dict[str, Any] | None = Field(default=None, description="Its settings.")
    disabled: StrictBool | None = Field(default=None, description="The same as data.disabled.")


class EdgeForm(_Open):
    """A wire between two nodes."""

    id: StrictStr | None = Field(
        default=None, description="A name of its own; made up where there is none."
    )
    source: StrictStr = Field(description="The id of the node that it leaves.")
    target: StrictStr = Field(description="The id of the node that it enters.")
    sourceHandle: StrictStr | None = Field(  # noqa: N815 - the JSON's spelling
        default=None,
        description="The port that it leaves: exec_out or another exec output, or an output.",
    )
    targetHandle: StrictStr | None = Field(  # noqa: N815
        default=None, description="The port that it enters: exec_in, or an input."
    )
    type: StrictStr | None = Field(
        default=None, description="exec, or the type of the data. What the ports say wins."
    )


class FlowForm(_Open):
    nodes: list[NodeForm] = Field(description="The boxes of the drawing.")
    edges: list[EdgeForm] | None = Field(default=None, description="The wires between them.")


def check_json(flow: Any) -> None:
    """Check that ``flow`` is a JSON object that can be walked, stored and shown.

    Raises:
        FlowFormatError: with what in it is not JSON, and where.
    """
    if not isinstance(flow, Mapping):
        raise FlowFormatError(f"a flow is a JSON object, not {type(flow).__name__}")
    _check_size(flow)
    problems = json_problems(flow)
    if problems:
        raise FlowFormatError(problems)


def _check_size(flow: Mapping[str, Any]) -> None:
    inner = flow.get("flow")  # where an editor's export has its nodes
    for body in (flow, inner if isinstance(inner, Mapping) else {}):
        for kind, limit in (("nodes", MAX_NODES), ("edges", MAX_EDGES)):
            found = body.get(kind)
            if isinstance(found, list) and len(found) > limit:
                reason = f"{kind}: {len(found):,} are more than a flow may have ({limit:,})"
                raise FlowFormatError(f"{reason}; split the flow")


def check_form(flow: Mapping[str, Any]) -> None:
    """Check that ``flow`` has nodes and edges of the right form.

    Raises:
        FlowFormatError: with every problem of the form.
    """
    foreign = _foreign(flow)
    problems = [foreign] if foreign else list(_form_problems(flow)) or list(_untyped(flow))
    if problems:
        raise FlowFormatError(problems, _name(flow))
    if not (flow["nodes"] or flow.get(DECORATION)):
        raise FlowFormatError(
            "nodes: there are none; draw at least a START and a RETURN", _name(flow)
        )


def _foreign(flow: Mapping[str, Any]) -> str | None:
    """What ``flow`` is instead of a flow of nodes and edges, if that can be told."""
    place = _place_of_drawing(flow)
    if place:
        return (
            f"nodes: they stand in '{place}' and not at the top, as where a program has saved its "
            f"own state around the flow; save what '{place}' holds as the flow"
        )
    if _is_wired_in_nodes(flow):
        return (
            "this is the format of Rayflow 1.x, whose wires stand in the nodes (exec_in, and "
            'inputs as "node.pin"); it is not read yet, only exports with nodes and edges are: '
            "draw each wire as one of the edges, see docs/coming-from-rayflow.md"
        )
    return None


def _place_of_drawing(flow: Mapping[str, Any]) -> str | None:
    """Where under other keys nodes stand (``workflow.graph``), the nearest to the top."""
    if "nodes" in flow:
        return None
    places: deque[tuple[str, Any]] = deque([("", flow)])
    for _ in range(_MAX_PLACES):
        if not places:
            break
        place, value = places.popleft()
        if isinstance(value, list):
            places.extend((f"{place}[{at}]", item) for at, item in enumerate(value))
        elif isinstance(value, Mapping):
            if isinstance(value.get("nodes"), list):
                return place
            places.extend((f"{place}.{key}".lstrip("."), item) for key, item in value.items())
    return None


def _is_wired_in_nodes(flow: Mapping[str, Any]) -> bool:
    nodes = flow.get("nodes")
    if flow.get("edges") or not isinstance(nodes, list):
        return False
    keys = [node.keys() for node in nodes if isinstance(node, Mapping)]
    return flow.keys() >= _OF_RAYFLOW or not _WIRES.isdisjoint(chain.from_iterable(keys))


def wired_nodes(flow: Mapping[str, Any]) -> frozenset[str]:
    """The ids of the nodes that an edge of ``flow`` names."""
    edges = flow.get("edges") or []
    return frozenset(edge[end] for edge in edges for end in ("source", "target"))


def _untyped(flow: Mapping[str, Any]) -> Iterator[str]:
    """A wired node of which nothing says what it is."""
    wired = wired_nodes(flow)
    for at, node in enumerate(flow["nodes"]):
        path = (node.get("data") or {}).get("path")
        if node["id"] in wired and not (node.get("type") or path):
            yield f"{_place(flow, ('nodes', at, 'type'))}: is missing; {REMEDIES['type']}"


def _name(flow: Mapping[str, Any]) -> str | None:
    name = flow.get("name")
    return name if isinstance(name, str) else None


def _form_problems(body: Mapping[str, Any]) -> Iterator[str]:
    try:
        FlowForm.model_validate(dict(body))
    except PydanticError as error:
        found = error.errors()
        for item in found[:MAX_FINDINGS]:
            yield f"{_place(body, item['loc'])}: {_text(item)}{_remedy(item['loc'])}"
        if len(found) > MAX_FINDINGS:
            yield f"and {len(found) - MAX_FINDINGS} more of this kind"


def _remedy(location: tuple[int | str, ...]) -> str:
    """``; what to do`` about the key, or about the whole node or edge."""
    key = location[-1]
    if isinstance(key, int):
        key = location[0]
        return f"; {REMEDIES[key]}, or remove it" if key in REMEDIES else ""
    return f"; {REMEDIES[key]}" if key in REMEDIES else ""


def _place(body: Mapping[str, Any], location: tuple[int | str, ...]) -> str:
    """``nodes[3].id`` - and the id of the node or edge where it has a readable one."""
    place = place_of(location)
    if len(location) > 2 and isinstance(location[1], int):
        item = body[str(location[0])][location[1]]
        if isinstance(item, Mapping) and isinstance(item.get("id"), str) and location[2] != "id":
            return f"{place} (id '{item['id'][:80]}')"
    return place


def _text(item: Any) -> str:
    shown = repr(item["input"]) if isinstance(item["input"], (int, float, str, bool)) else ""
    got = ", not " + (shown[:80] or _JSON_TYPES.get(type(item["input"]), "null"))
    match item["type"]:
        case "missing":
            return "is missing"
        case "string_type":
            return "must be text" + got
        case "list_type":
            return "must be a list" + got
        case "string_too_short":
            return "must not be empty"
        case "string_too_long":
            return f"has {len(item['input']):,} characters, which is too long"
        case "string_pattern_mismatch":
            return f"must be visible text on one line, without control characters{got}"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "must be an object" + got
    return str(item["msg"])
