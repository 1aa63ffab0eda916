"""``rayflow-dagster graph``: a flow as a picture, also one that breaks rules."""

from dataclasses import dataclass

from rayflow_dagster.compiler.resolved import Edge, Node, ResolvedFlow
from rayflow_dagster.compiler.spelling import short_name
from rayflow_dagster.types import EXEC_OUT, FlowData

from .flows import open_flow, validator_of
from .mermaid import to_mermaid
from .svg import to_svg

MAX_LABEL = 60


@dataclass(frozen=True, slots=True)
class Box:
    """A node as drawn. ``kind`` is its shape: where the flow starts or ends, splits, or neither.
    ``kind`` is ``missing`` for a node that edges lead to but nobody drew."""

    id: str
    label: str
    subtitle: str
    kind: str
    position: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Wire:
    """An edge as drawn."""

    source: str
    target: str
    label: str
    is_exec: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """What there is to draw."""

    title: str
    boxes: list[Box]
    wires: list[Wire]


def draw_flow(named: str, *, as_svg: bool) -> str:
    """The named flow as Mermaid text or as an SVG document.

    Raises:
        FlowFormatError: the file is not a flow at all.
    """
    flow = open_flow(named)
    resolved = validator_of(flow.project).resolve(flow.raw)
    title = flow.raw.get("name")
    picture = to_picture(resolved, title if isinstance(title, str) else flow.path.stem)
    return to_svg(picture) if as_svg else to_mermaid(picture)


def to_picture(flow: ResolvedFlow, title: str) -> Picture:
    """The boxes and wires of a flow."""
    positions = _positions(flow.data)
    boxes = [_box(node, positions.get(node.id)) for node in flow.nodes.values()]
    ends = dict.fromkeys(end for edge in flow.edges for end in (edge.source, edge.target))
    boxes += [Box(end, end, "missing", "missing") for end in ends if end not in flow.nodes]
    return Picture(title, boxes, [_wire(edge) for edge in flow.edges])


def _box(node: Node, position: tuple[float, float] | None) -> Box:
    subtitle = short_name(node.class_path).rpartition(".")[2]
    name = node.label or (node.metadata["name"] if node.metadata else node.id)
    return Box(node.id, _short(name), _short(subtitle), _kind(node), position)


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
    return Wire(edge.source, edge.target, _short(label), edge.is_exec)


def _positions(flow: FlowData) -> dict[str, tuple[float, float]]:
    """Where nodes were drawn; empty when that is not known of every node."""
    found = {}
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
    return line if len(line) <= MAX_LABEL else line[: MAX_LABEL - 1] + "\u2026"
