from typing import Any

from rayflow_dagster.node import RayflowNode


class ConcatNode(RayflowNode):
    """Join two texts, with SEPARATOR between them."""

    icon = "fa-link"
    category = "text"
    inputs = {"a": str, "b": str}
    outputs = {"result": str}

    SEPARATOR = ""

    def process(self, a: str, b: str) -> dict[str, Any]:
        return {"result": f"{a}{self.SEPARATOR}{b}"}
