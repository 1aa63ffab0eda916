from typing import Any

from rayflow_dagster.node import RayflowNode


class StartNode(RayflowNode):
    """Begin the flow. Its outputs are the inputs that the flow declares."""

    icon = "fa-play"
    category = "base"
    exec_input = False

    def process(self, **inputs: Any) -> dict[str, Any]:
        return inputs
