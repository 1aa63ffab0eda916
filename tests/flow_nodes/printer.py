import sys
from typing import Any

from rayflow_dagster import RayflowNode


class PrinterNode(RayflowNode):
    """Print a value, log it, and pass it on."""

    inputs = {"value": "any"}
    outputs = {"value": "any"}

    def process(self, value: Any) -> dict[str, Any]:
        print(f"printed: {value}")  # noqa: T201 - what this node is for
        print(f"to stderr: {value}", file=sys.stderr)  # noqa: T201
        self.log.info("logged: %s", value)
        self.log.warning("warned: %s", value)
        return {"value": value}
