from typing import Any

from rayflow_dagster import RayflowNode


class CountUpNode(RayflowNode):
    """Add BY to the variable NAME."""

    outputs = {"value": int}

    NAME = "counter"
    BY = 1

    def process(self) -> dict[str, Any]:
        return {"value": self.variables.increment(self.NAME, self.BY)}
