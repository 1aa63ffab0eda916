from typing import Any

from rayflow_dagster.node import RayflowNode


class GetVariableNode(RayflowNode):
    """The present value of the flow's variable named VARIABLE."""

    icon = "fa-box-open"
    category = "variables"
    passes_secrets_on = True
    outputs = {"value": "any"}

    VARIABLE = ""

    def process(self) -> dict[str, Any]:
        return {"value": self.variables.get(self.VARIABLE)}
