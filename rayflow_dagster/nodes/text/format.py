from typing import Any

from rayflow_dagster.node import RayflowNode
from rayflow_dagster.text_template import filled


class FormatNode(RayflowNode):
    """Fill values into a template: "{count} words" with {"count": 3} gives "3 words".

    Number formats work as in Python ("{price:.2f}"), with widths up to 1,000; write {{ and }} for
    literal braces.
    """

    icon = "fa-quote-right"
    category = "text"
    inputs = {"template": str, "values": dict}
    outputs = {"result": str}

    def process(self, template: str, values: dict[str, Any]) -> dict[str, Any]:
        return {"result": filled(template, values)}
