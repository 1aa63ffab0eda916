from typing import Any

from rayflow_dagster import RayflowNode


class OwnErrorNode(RayflowNode):
    """An output of its own that is named `error`; fails if told to."""

    inputs = {"fail": bool}
    outputs = {"error": str}

    def process(self, fail: bool) -> dict[str, Any]:
        if fail:
            raise ValueError("told to fail")
        return {"error": "none found"}
