from typing import Any

from rayflow_dagster import RayflowNode


class ConstantNode(RayflowNode):
    """Give VALUE."""

    outputs = {"value": "any"}

    VALUE = None

    def process(self) -> dict[str, Any]:
        return {"value": self.VALUE}
