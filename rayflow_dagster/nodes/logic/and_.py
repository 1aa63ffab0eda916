from typing import Any

from rayflow_dagster.node import RayflowNode


class AndNode(RayflowNode):
    """Whether both values are true."""

    icon = "fa-circle-half-stroke"
    category = "logic"
    inputs = {"a": bool, "b": bool}
    outputs = {"result": bool}

    def process(self, a: bool, b: bool) -> dict[str, Any]:
        return {"result": a and b}
