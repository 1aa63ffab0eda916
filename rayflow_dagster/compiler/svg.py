"""A flow as an SVG document, at the positions where its author drew the nodes.

Where positions are missing, nodes stand in columns: each to the right of everything that leads to
it, and of the bodies of regions that lead to it; nodes of one cycle share a column. For a narrow
place a flow is drawn downwards, in rows instead. A body has a frame around it.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape as escape_xml

from .picture import Box, Picture, Wire, clean
from .resolved import topological_order

HEIGHT = 48.0
MARGIN = 24.0
COLUMN, ROW = 240.0, 96.0
GAP = 20.0
"""Between boxes of one row."""
CHARACTER = 7.5
"""Width of one Latin letter in the drawing's font."""

Position = tuple[float, float, float]
"""Left, top and width of a box."""
Frame = tuple[float, float, float, float]
"""Left, top, width and height."""
_END = "end of the body of "

_COLOURS = {"end": "#d7f0dd", "branch": "#fdeec9", "step": "#e3ecfb", "missing": "#fbe0e0"}
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1c2430}"
    ".body{fill:#8a94a6;fill-opacity:.08;stroke:#8a94a6}"
    ".small{font-size:10px;fill:#667085}"
    ".exec{fill:none;stroke:#1c2430;stroke-width:1.6}"
    ".data{fill:none;stroke:#7a869a;stroke-width:1.2;stroke-dasharray:3 4}"
)
_ARROW = (
    '<marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" fill="#1c2430"/></marker>'
)


def to_svg(picture: Picture, *, downwards: bool = False) -> str:
    """The picture as an SVG document; ``downwards``, wherever its author drew the nodes."""
    positions = _in_rows(picture) if downwards else _positions(picture)
    frames = _body_frames(picture, positions)
    left, top, width, height = _frame([*positions.values()], [*frames.values()])
    labels = {box.id: box.label for box in picture.boxes}
    body = [_body_frame(labels[region], frame) for region, frame in frames.items()]
    path = _path_down if downwards else _path
    body += [_wire(wire, *path(wire, positions)) for wire in picture.wires]
    body += [_box(box, positions[box.id]) for box in picture.boxes]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
            f'viewBox="{left:g} {top:g} {width:g} {height:g}">',
            f"<title>{_text(picture.title)}</title>",
            f"<style>{_STYLE}</style>",
            f"<defs>{_ARROW}</defs>",
            f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" fill="#fff"/>',
            *body,
            "</svg>",
        ]
    )


def ranks(picture: Picture) -> dict[str, int]:
    """Box -> its column: one more than the last of those that lead to it."""
    leading = _leading(picture)
    order = topological_order(leading)
    if len(order) < len(leading):
        return _ranks_of_cyclic(picture, leading)
    columns: dict[str, int] = {}
    for box in order:
        columns[box] = max((columns[before] for before in leading[box]), default=-1) + 1
    return {box.id: columns[box.id] for box in picture.boxes}


def _leading(picture: Picture) -> dict[str, list[str]]:
    """Box, or end of a body -> what leads to it."""
    inside = {box.id: box.inside for box in picture.boxes}
    regions = [region for region in dict.fromkeys(inside.values()) if region is not None]
    leading: dict[str, list[str]] = {box: [] for box in inside}
    leading |= {_END + region: [] for region in regions}
    for box, around in inside.items():
        if around is not None:
            leading[_END + around].append(box)
    for wire in picture.wires:
        if not wire.leads_back:
            leading[wire.target].append(wire.source)
            is_beside = inside[wire.source] == inside[wire.target]
            if is_beside and wire.source in regions:
                leading[wire.target].append(_END + wire.source)
    for region in regions:
        around = inside[region]
        if around is not None:
            leading[_END + around].append(_END + region)
    return leading


def _ranks_of_cyclic(picture: Picture, leading: Mapping[str, list[str]]) -> dict[str, int]:
    """As ``ranks``, where the nodes of a cycle share a column."""
    import networkx as nx  # local: no flow that can run needs it

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(leading)
    graph.add_edges_from((before, box) for box, them in leading.items() for before in them)
    condensed = nx.condensation(graph)
    columns: dict[int, int] = {}
    for component in nx.topological_sort(condensed):
        before = [columns[source] for source in condensed.predecessors(component)]
        columns[component] = max(before, default=-1) + 1
    members = {
        box: columns[component]
        for component, data in condensed.nodes(data=True)
        for box in data["members"]
    }
    return {box.id: members[box.id] for box in picture.boxes}


def _positions(picture: Picture) -> dict[str, Position]:
    drawn = {box.id: box.position for box in picture.boxes if box.position is not None}
    if not drawn:
        return _in_columns(picture)
    positions = {box.id: (*drawn[box.id], _width(box)) for box in picture.boxes if box.id in drawn}
    below = max(top for _, top, _ in positions.values()) + ROW
    strangers = [box for box in picture.boxes if box.id not in drawn]
    for index, box in enumerate(strangers):
        positions[box.id] = (index * COLUMN, below, _width(box))
    return positions


def _ranked(picture: Picture) -> list[list[Box]]:
    """The boxes that share a column, column by column."""
    columns: defaultdict[int, list[Box]] = defaultdict(list)
    rank = ranks(picture)
    for box in picture.boxes:
        columns[rank[box.id]].append(box)
    return [boxes for _, boxes in sorted(columns.items())]


def _in_rows(picture: Picture) -> dict[str, Position]:
    positions: dict[str, Position] = {}
    for row, boxes in enumerate(_ranked(picture)):
        widths = [_width(box) for box in boxes]
        left = -(sum(widths) + GAP * (len(boxes) - 1)) / 2
        for box, width in zip(boxes, widths, strict=True):
            positions[box.id] = left, row * ROW, width
            left += width + GAP
    return positions


def _in_columns(picture: Picture) -> dict[str, Position]:
    positions: dict[str, Position] = {}
    left = 0.0
    for boxes in _ranked(picture):
        for row, box in enumerate(boxes):
            positions[box.id] = (left, (row - (len(boxes) - 1) / 2) * ROW, _width(box))
        left += max(COLUMN, max(_width(box) for box in boxes) + 80)
    return positions


def _frame(positions: Sequence[Position], frames: Sequence[Frame]) -> Frame:
    """What is around boxes and frames, with a margin."""
    all_ = [*((left, top, width, HEIGHT) for left, top, width in positions), *frames]
    left = min(left for left, _, _, _ in all_) - MARGIN
    top = min(top for _, top, _, _ in all_) - MARGIN
    right = max(left + width for left, _, width, _ in all_) + MARGIN
    bottom = max(top + height for _, top, _, height in all_) + MARGIN
    return left, top, right - left, bottom - top


def _body_frames(picture: Picture, positions: dict[str, Position]) -> dict[str, Frame]:
    """Region -> the frame of its body, those of outer ones first."""
    found: dict[str, Frame] = {}
    for region, boxes in reversed(picture.bodies.items()):
        if region is not None:
            inner = [found[box.id] for box in boxes if box.id in found]
            found[region] = _frame([positions[box.id] for box in boxes], inner)
    return dict(reversed(found.items()))


def _width(box: Box) -> float:
    return max(110.0, _letters(box.label) * CHARACTER + 24, _letters(box.subtitle) * 6 + 24)


def _letters(text: str) -> int:
    """Length in Latin letters: characters of East Asian scripts take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _body_frame(label: str, frame: Frame) -> str:
    left, top, width, height = frame
    return (
        f'<rect class="body" x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" '
        f'rx="10"/><text class="small" x="{left + 10:g}" y="{top + 14:g}">{_text(label)}: body'
        "</text>"
    )


def _box(box: Box, position: Position) -> str:
    left, top, width = position
    middle = left + width / 2
    round_ = HEIGHT / 2 if box.kind == "end" else 6
    dashes = ' stroke-dasharray="4"' if box.kind == "missing" else ""
    return (
        f'<g><title>{_text(box.id)}</title><rect x="{left:g}" y="{top:g}" width="{width:g}" '
        f'height="{HEIGHT:g}" rx="{round_:g}" fill="{_COLOURS[box.kind]}" '
        f'stroke="#8a94a6"{dashes}/>'
        f'<text x="{middle:g}" y="{top + 21:g}" text-anchor="middle">{_text(box.label)}</text>'
        f'<text class="small" x="{middle:g}" y="{top + 37:g}" text-anchor="middle">'
        f"{_text(box.subtitle)}</text></g>"
    )


def _path(wire: Wire, positions: dict[str, Position]) -> tuple[str, float, float]:
    """The path of a wire from the right of a box to the left of another, and its middle."""
    source, target = positions[wire.source], positions[wire.target]
    offset = -8 if wire.is_exec else 8
    x1, y1 = source[0] + source[2], source[1] + HEIGHT / 2 + offset
    x2, y2 = target[0], target[1] + HEIGHT / 2 + offset
    bend = max(40.0, abs(x2 - x1) / 2)
    path = f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
    return path, (x1 + x2) / 2, (y1 + y2) / 2 - 5


def _path_down(wire: Wire, positions: dict[str, Position]) -> tuple[str, float, float]:
    """The same from below a box to the top of another."""
    source, target = positions[wire.source], positions[wire.target]
    offset = -8 if wire.is_exec else 8
    x1, y1 = source[0] + source[2] / 2 + offset, source[1] + HEIGHT
    x2, y2 = target[0] + target[2] / 2 + offset, target[1]
    bend = max(20.0, abs(y2 - y1) / 2)
    path = f"M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}"
    return path, (x1 + x2) / 2, (y1 + y2) / 2


def _wire(wire: Wire, path: str, x: float, y: float) -> str:
    """A wire along a path with this middle."""
    kind = "exec" if wire.is_exec else "data"
    arrow = ' marker-end="url(#arrow)"' if wire.is_exec else ""
    line = f'<path class="{kind}" d="{path}"{arrow}/>'
    # A data edge tells its ports when pointed at; the name of a branch is always shown.
    about = f"<title>{_text(wire.label)}</title>" if wire.label else ""
    named = _wire_name(wire.label, x, y) if wire.is_exec else ""
    return f"<g>{about}{line}{named}</g>"


def _wire_name(name: str, x: float, y: float) -> str:
    text = _text(name)
    return f'<text class="small" x="{x:g}" y="{y:g}" text-anchor="middle">{text}</text>'


def _text(text: str) -> str:
    return escape_xml(clean(text), {'"': "&quot;"})
