from typing import Any

from rayflow_dagster.node import RayflowNode


class SplitNode(RayflowNode):
    """Split a text at every SEPARATOR. With an empty SEPARATOR, split at any white space."""

    icon = "fa-scissors"
    category = "text"
    inputs = {"text": str}
    outputs = {"parts": list[str]}

    SEPARATOR = " "

    def process(self, text: str) -> dict[str, Any]:
        return {"parts": text.split(self.SEPARATOR or None)}
