from typing import Any

from rayflow_dagster.node import RayflowNode


class ReturnNode(RayflowNode):
    """End the flow. Whatever is wired to it is the flow's result."""

    icon = "fa-flag-checkered"
    category = "base"
    outputs = {"result": dict}
    exec_output = False

    def process(self, **inputs: Any) -> dict[str, Any]:
        return {"result": inputs}
