from typing import Any

from rayflow_dagster import RayflowNode


class AddNode(RayflowNode):
    """The sum of two values."""

    inputs = {"x": "any", "y": "any"}
    outputs = {"result": "any"}

    def process(self, x: Any, y: Any) -> dict[str, Any]:
        return {"result": x + y}
