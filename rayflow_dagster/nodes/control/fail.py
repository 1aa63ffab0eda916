from collections.abc import Iterator, Mapping
from typing import Any

from rayflow_dagster.control_node import Constants, ControlNode, Fault, Types
from rayflow_dagster.errors import FlowRaisedError
from rayflow_dagster.text_template import filled_or_told, template_problems


class FailNode(ControlNode):
    """Fail the flow with MESSAGE, a template over what is wired: "{count} orders are missing"."""

    icon = "fa-circle-xmark"
    category = "control"
    exec_output = False
    takes_wires = True

    MESSAGE = ""

    @classmethod
    def faults(cls, constants: Constants, types: Types) -> Iterator[Fault]:
        for problem in template_problems(constants["MESSAGE"], types):
            yield Fault("template", "MESSAGE", problem)

    @classmethod
    def decide(cls, constants: Constants, types: Types, inputs: Mapping[str, Any]) -> list[str]:
        message = filled_or_told(constants["MESSAGE"], inputs)
        raise FlowRaisedError(message or "the flow has failed here, and says no more")
