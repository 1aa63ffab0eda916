from typing import Any

from rayflow_dagster import RayflowNode


class FragileNode(RayflowNode):
    """Pass a value on, or fail if told to."""

    inputs = {"value": "any", "fail": {"type": bool, "default": False}}
    outputs = {"value": "any"}

    def process(self, value: Any, fail: bool) -> dict[str, Any]:
        if fail:
            raise ValueError("told to fail")
        return {"value": value}
