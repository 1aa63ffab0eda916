from typing import Any

from rayflow_dagster.node import RayflowNode


class SubtractNode(RayflowNode):
    """The difference of two numbers, x - y. Whole numbers stay whole."""

    icon = "fa-minus"
    category = "math"
    inputs = {"x": float, "y": float}
    outputs = {"result": "any"}

    def process(self, x: float, y: float) -> dict[str, Any]:
        return {"result": x - y}
