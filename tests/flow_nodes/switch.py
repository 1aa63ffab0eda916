from typing import Any

from rayflow_dagster import RayflowNode


class SwitchNode(RayflowNode):
    """Go on at `low` or at `high`. That only one fires can be read from the source."""

    inputs = {"value": float}
    outputs = {"value": float}
    exec_outputs = ("low", "high")

    LIMIT = 10

    def process(self, value: float) -> dict[str, Any]:
        if value < self.LIMIT:
            return {"value": value, "exec_next": "low"}
        return {"value": value, "exec_next": "high"}
