from typing import Any

from rayflow_dagster.node import RayflowNode


class OrNode(RayflowNode):
    """Whether at least one of the values is true."""

    icon = "fa-circle-plus"
    category = "logic"
    inputs = {"a": bool, "b": bool}
    outputs = {"result": bool}

    def process(self, a: bool, b: bool) -> dict[str, Any]:
        return {"result": a or b}
