from typing import Any

from rayflow_dagster.node import RayflowNode


class SetVariableNode(RayflowNode):
    """Replace the value of the flow's variable named VARIABLE, and pass the value on."""

    icon = "fa-box"
    category = "variables"
    passes_secrets_on = True
    inputs = {"value": "any"}
    outputs = {"value": "any"}

    VARIABLE = ""

    def process(self, value: Any) -> dict[str, Any]:
        self.variables.set(self.VARIABLE, value)
        return {"value": value}
