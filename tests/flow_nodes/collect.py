from typing import Any

from rayflow_dagster import RayflowNode


class CollectNode(RayflowNode):
    """A list of the values that came."""

    inputs = {
        "a": {"type": "any", "default": None},
        "b": {"type": "any", "default": None},
        "c": {"type": "any", "default": None},
    }
    outputs = {"values": list}

    def process(self, a: Any, b: Any, c: Any) -> dict[str, Any]:
        return {"values": [value for value in (a, b, c) if value is not None]}
