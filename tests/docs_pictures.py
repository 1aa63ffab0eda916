"""The pages in; the SVG pictures of the flows that they show, by the files that they stand in, out.

A picture stands in the paragraph behind the block of its flow. ``make pictures`` writes them all.
"""

import json
import re
from pathlib import Path

from docs_blocks import DOCS, all_blocks

from rayflow_dagster.compiler.picture import to_picture
from rayflow_dagster.compiler.svg import to_svg
from rayflow_dagster.compiler.validator import FlowValidator

_PICTURE = re.compile(r"!\[[^\]]*\]\((images/[\w/-]+\.svg)\)")


def pictures(page: Path) -> dict[Path, str]:
    """File -> what stands in it, for every picture of a page."""
    drawn: dict[Path, str] = {}
    for block in all_blocks(page):
        shown = _PICTURE.match(block.after)
        if block.language == "json" and shown:
            flow = FlowValidator().resolve(json.loads(block.text))
            file = DOCS / shown[1]
            drawn[file] = to_svg(to_picture(flow, file.stem))
    return drawn


if __name__ == "__main__":
    for page in DOCS.glob("*.md"):
        for file, text in pictures(page).items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
