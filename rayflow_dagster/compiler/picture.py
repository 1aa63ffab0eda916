"""A flow in, also one that breaks rules; what there is to draw of it, or of one body, out."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from rayflow_dagster.types import EXEC_OUT, FlowData

from .resolved import Edge, Node, ResolvedFlow
from .spelling import short_name

MAX_LABEL = 60


@dataclass(frozen=True, slots=True)
class Box:
    """A node as drawn. ``kind`` is its shape: where the flow starts or ends, splits, or neither;
    ``missing`` for a node that edges lead to but nobody drew.
    """

    id: str
    label: str
    subtitle: str
    kind: str
    position: tuple[float, float] | None = None
    inside: str | None = None
    """The region in whose body it is."""


@dataclass(frozen=True, slots=True)
class Wire:
    """An edge as drawn."""

    source: str
    target: str
    label: str
    is_exec: bool
    leads_back: bool = False
    """Whether it hands a region what its body has made for the next iteration."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What there is to draw."""

    title: str
    boxes: list[Box]
    wires: list[Wire]

    @property
    def bodies(self) -> dict[str | None, list[Box]]:
        """Region -> the boxes in its body, those of nested ones not among them; None has the rest.
        A region of which another stands in the body comes before that.
        """
        found: dict[str | None, list[Box]] = {None: []}
        for box in self.boxes:
            found.setdefault(box.inside, []).append(box)
        ordered: dict[str | None, list[Box]] = {}
        queue: list[str | None] = [None]
        while queue:
            region = queue.pop(0)
            ordered[region] = found[region]
            queue += [box.id for box in found[region] if box.id in found]
        return ordered


def to_picture(flow: ResolvedFlow, title: str) -> Picture:
    """The boxes and wires of a flow."""
    positions = _positions(flow.data)
    boxes = [
        _box(node, positions.get(node.id), flow.scopes.get(node.id)) for node in flow.nodes.values()
    ]
    ends = dict.fromkeys(end for edge in flow.edges for end in (edge.source, edge.target))
    boxes += [Box(end, end, "missing", "missing") for end in ends if end not in flow.nodes]
    return Picture(title, boxes, [_wire(edge) for edge in flow.edges])


def body_picture(flow: ResolvedFlow, node_id: str) -> Picture:
    """What a node of one level of a flow runs: the body of a region, or the flow that it calls."""
    node, body = flow.nodes[node_id], flow.bodies[node_id]
    start = None if node.calls else node_id
    boxes = [*_boxes(body, start, None)]
    drawn = {box.id for box in boxes}
    edges = (edge for edge in _edges(body) if edge.joins(drawn))
    return Picture(node.label or node_id, boxes, [_wire(edge) for edge in edges])


def _boxes(level: ResolvedFlow, start: str | None, inside: str | None) -> Iterator[Box]:
    for node in level.nodes.values():
        if node.id != start:
            yield _box(node, None, inside)
            if node.region_kind is not None:
                yield from _boxes(level.bodies[node.id], node.id, node.id)


def _edges(level: ResolvedFlow) -> Iterator[Edge]:
    yield from level.edges
    for node_id, body in level.bodies.items():
        if level.nodes[node_id].region_kind is not None:
            yield from _edges(body)


def _box(node: Node, position: tuple[float, float] | None, inside: str | None) -> Box:
    kind = short_name(node.class_path).rpartition(".")[2]
    subtitle = f"{kind} {node.calls}" if node.calls else kind
    name = node.label or (node.metadata["name"] if node.metadata else node.id)
    return Box(node.id, _short(name), _short(subtitle), _kind(node), position, inside)


def _kind(node: Node) -> str:
    if node.is_start or node.is_return:
        return "end"
    return "branch" if len(node.exec_outputs) > 1 else "step"


def _wire(edge: Edge) -> Wire:
    if edge.is_exec:
        label = "" if edge.source_port == EXEC_OUT else edge.source_port
    elif edge.source_port == edge.target_port:
        label = edge.source_port
    else:
        label = f"{edge.source_port} \u2192 {edge.target_port}"
    return Wire(edge.source, edge.target, _short(label), edge.is_exec, edge.leads_back)


def _positions(flow: FlowData) -> dict[str, tuple[float, float]]:
    """Where nodes were drawn; empty when that is not known of every node."""
    found: dict[str, tuple[float, float]] = {}
    for node in flow["nodes"]:
        drawn = node.get("position")
        point = (drawn.get("x"), drawn.get("y")) if isinstance(drawn, dict) else (None, None)
        if not all(isinstance(part, (int, float)) and abs(part) < 1e6 for part in point):
            return {}
        found.setdefault(node["id"], (float(point[0] or 0), float(point[1] or 0)))
    all_at_one_place = len(found) > 1 and len(set(found.values())) == 1
    return {} if all_at_one_place else found


def _short(text: str) -> str:
    line = " ".join(text.split())
    return clean(line if len(line) <= MAX_LABEL else line[: MAX_LABEL - 1] + "\u2026")


def clean(text: str) -> str:
    """``text`` without what no document may hold: controls, lone surrogates, noncharacters."""
    return "".join(_drawable(character) for character in text)


def _drawable(character: str) -> str:
    forbidden = unicodedata.category(character) in ("Cc", "Cs") or character in "\ufffe\uffff"
    return "\ufffd" if forbidden else character
