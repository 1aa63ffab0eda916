import time
from typing import Any

from rayflow_dagster import RayflowNode


class SleepNode(RayflowNode):
    """Pass a value on after SECONDS."""

    inputs = {"value": {"type": "any", "default": None}}
    outputs = {"value": "any"}

    SECONDS = 0.05

    def process(self, value: Any) -> dict[str, Any]:
        time.sleep(self.SECONDS)
        return {"value": value}
