from collections.abc import Mapping
from typing import Any

from rayflow_dagster.control_node import Constants, ControlNode, Types


class BreakNode(ControlNode):
    """End the loop around it: what has begun goes on to its end, and nothing more begins."""

    icon = "fa-circle-stop"
    category = "control"
    exec_output = False

    @classmethod
    def decide(cls, constants: Constants, types: Types, inputs: Mapping[str, Any]) -> list[str]:
        return []
