"""``rayflow-dagster graph``: a flow as Mermaid text or as an SVG document."""

from .flows import open_flow
from .mermaid import to_mermaid
from .picture import to_picture
from .svg import to_svg


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
