from typing import Any

from rayflow_dagster import RayflowNode


class ChooseNode(RayflowNode):
    """Fire the exec outputs that the input names: one, or a list of them."""

    inputs = {"which": "any"}
    exec_outputs = ("a", "b")

    def process(self, which: Any) -> dict[str, Any]:
        return {"exec_next": which}
