from typing import Any

from rayflow_dagster.node import RayflowNode


class DivideNode(RayflowNode):
    """The quotient of two numbers, x / y. Fails when y is zero."""

    icon = "fa-divide"
    category = "math"
    inputs = {"x": float, "y": float}
    outputs = {"result": float}

    def process(self, x: float, y: float) -> dict[str, Any]:
        return {"result": x / y}
