from collections.abc import Mapping
from typing import Any

from rayflow_dagster.control_node import Constants, ControlNode, Types


class ContinueNode(ControlNode):
    """End this iteration of the loop around it, which goes on with the next."""

    icon = "fa-forward"
    category = "control"
    exec_output = False

    @classmethod
    def decide(cls, constants: Constants, types: Types, inputs: Mapping[str, Any]) -> list[str]:
        return []
