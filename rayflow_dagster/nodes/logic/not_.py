from typing import Any

from rayflow_dagster.node import RayflowNode


class NotNode(RayflowNode):
    """The opposite of a truth value."""

    icon = "fa-ban"
    category = "logic"
    inputs = {"value": bool}
    outputs = {"result": bool}

    def process(self, value: bool) -> dict[str, Any]:
        return {"result": not value}
