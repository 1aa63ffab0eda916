"""A node that fails until a file appears."""

from pathlib import Path
from typing import Any

from rayflow_dagster import RayflowNode


class MendedNode(RayflowNode):
    """Add one to the variable ``counter``, then fail unless FILE is there."""

    inputs = {"value": {"type": "any", "default": None}}
    outputs = {"value": "any"}
    FILE = ""

    def process(self, value: Any) -> dict[str, Any]:
        self.variables.increment("counter")
        if not Path(self.FILE).exists():
            raise FileNotFoundError(f"{self.FILE} is not there")
        return {"value": value}
