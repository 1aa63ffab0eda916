from typing import Any

from rayflow_dagster import RayflowNode


class BoomNode(RayflowNode):
    """Fail."""

    inputs = {"value": {"type": "any", "default": None}}
    outputs = {"value": "any"}

    MESSAGE = "bang"

    def process(self, value: Any) -> dict[str, Any]:  # noqa: ARG002 - it is not used, on purpose
        raise ValueError(f"boom: {self.MESSAGE}")
