from typing import Any

from rayflow_dagster.node import RayflowNode


class BranchNode(RayflowNode):
    """Go on at `true` or at `false`, depending on the condition."""

    icon = "fa-code-branch"
    category = "logic"
    inputs = {"condition": bool}
    exec_outputs = ("true", "false")
    exec_exclusive = True

    def process(self, condition: bool) -> dict[str, Any]:
        return {"exec_next": "true" if condition else "false"}
