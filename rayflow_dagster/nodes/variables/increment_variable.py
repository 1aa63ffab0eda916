from typing import Any

from rayflow_dagster.node import RayflowNode


class IncrementVariableNode(RayflowNode):
    """Add BY to the flow's variable named VARIABLE. The output is the new value.

    Use this rather than get, add and set: between those, a parallel branch may write too.
    """

    icon = "fa-arrow-up-1-9"
    category = "variables"
    passes_secrets_on = True
    outputs = {"value": "any"}

    VARIABLE = ""
    BY = 1

    def process(self) -> dict[str, Any]:
        return {"value": self.variables.increment(self.VARIABLE, self.BY)}
