from typing import Any

from rayflow_dagster import RayflowNode


class IdentityNode(RayflowNode):
    """Pass a value on."""

    inputs = {"value": "any"}
    outputs = {"value": "any"}

    def process(self, value: Any) -> dict[str, Any]:
        return {"value": value}
