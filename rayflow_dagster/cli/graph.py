"""``rayflow-dagster graph``: a flow as Mermaid text, exec edges solid, data edges dotted and bodies
as subgraphs, or as an SVG document.
"""

import re

from rayflow_dagster.compiler.picture import Box, Picture, Wire, to_picture
from rayflow_dagster.compiler.svg import to_svg

from .flows import open_flow

_SHAPES = {"end": ("([", "])"), "branch": ("{", "}"), "step": ("[", "]"), "missing": ("[", "]")}
# What Mermaid or the HTML that it makes would take for syntax, written as character codes.
_UNSAFE = frozenset('"#&<>`\\{}[]()|;%')
# At the start of a label Mermaid takes these for a list.
_LIST = re.compile(r"(\d{0,9})([-+*.)])")


def draw_flow(named: str, *, as_svg: bool) -> str:
    """The named flow as Mermaid text or as an SVG document.

    Raises:
        FlowFormatError: the file is not a flow at all.
    """
    flow = open_flow(named)
    resolved = flow.project.validator().resolve(flow.raw)
    title = flow.raw.get("name")
    picture = to_picture(resolved, title if isinstance(title, str) else flow.path.stem)
    return to_svg(picture) if as_svg else to_mermaid(picture)


def to_mermaid(picture: Picture) -> str:
    """The picture as a Mermaid flowchart."""
    names = {box.id: f"n{index}" for index, box in enumerate(picture.boxes)}
    lines = ["flowchart LR"]
    lines += _boxes(picture, names)
    lines += [f"    {_wire(names, wire)}" for wire in picture.wires]
    missing = [names[box.id] for box in picture.boxes if box.kind == "missing"]
    if missing:
        lines.append("    classDef missing stroke:#c00,stroke-dasharray: 4")
        lines.append(f"    class {','.join(missing)} missing")
    return "\n".join(lines)


def escape(text: str) -> str:
    """``text`` for a quoted Mermaid label: whatever it holds, it is shown and nothing else."""
    mark = _LIST.match(text)
    escaped = mark.end() - 1 if mark else -1
    return "".join(
        f"#{ord(character)};" if character in _UNSAFE or index == escaped else character
        for index, character in enumerate(text)
    )


def _boxes(picture: Picture, names: dict[str, str]) -> list[str]:
    """A line for each box, those of a body in a subgraph of the region's name."""
    bodies = picture.bodies
    lines: list[str] = []
    opened: list[Box | int] = [*reversed(bodies[None])]
    depth = 1
    while opened:
        box = opened.pop()
        if isinstance(box, int):  # the end of a body
            depth = box
            lines.append(f"{'    ' * depth}end")
            continue
        lines.append(f"{'    ' * depth}{_box(names[box.id], box)}")
        if box.id in bodies:
            title = f'{names[box.id]}_body["{escape(box.label)}: body"]'
            lines.append(f"{'    ' * depth}subgraph {title}")
            opened += [depth, *reversed(bodies[box.id])]
            depth += 1
    return lines


def _box(name: str, box: Box) -> str:
    opening, closing = _SHAPES[box.kind]
    subtitle = f"<br/><small>{escape(box.subtitle)}</small>" if box.subtitle else ""
    return f'{name}{opening}"{escape(box.label)}{subtitle}"{closing}'


def _wire(names: dict[str, str], wire: Wire) -> str:
    arrow = "-->" if wire.is_exec else "-.->"
    label = f'|"{escape(wire.label)}"|' if wire.label else ""
    return f"{names[wire.source]} {arrow}{label} {names[wire.target]}"
