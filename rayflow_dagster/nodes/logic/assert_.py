from collections.abc import Iterator, Mapping
from typing import Any

from rayflow_dagster.control_node import Constants, ControlNode, Fault, Types
from rayflow_dagster.errors import FlowAssertionError
from rayflow_dagster.expressions import expression_problems, holds
from rayflow_dagster.text_template import filled_or_told, template_problems
from rayflow_dagster.types import EXEC_OUT
from rayflow_dagster.values.preview import preview


class AssertNode(ControlNode):
    """Go on where CONDITION holds, an expression over what is wired; else fail with MESSAGE.

    MESSAGE is a template over the same names: "{total} is below zero".
    """

    icon = "fa-circle-check"
    category = "logic"
    takes_wires = True
    runs_anywhere = False

    CONDITION = ""
    MESSAGE = ""

    @classmethod
    def faults(cls, constants: Constants, types: Types) -> Iterator[Fault]:
        for problem in expression_problems(constants["CONDITION"], types):
            yield Fault("expression", "CONDITION", problem)
        for problem in template_problems(constants["MESSAGE"], types):
            yield Fault("template", "MESSAGE", problem)

    @classmethod
    def decide(cls, constants: Constants, types: Types, inputs: Mapping[str, Any]) -> list[str]:
        condition = constants["CONDITION"]
        if holds(condition, types, inputs):
            return [EXEC_OUT]
        message = filled_or_told(constants["MESSAGE"], inputs)
        previews = {name: preview(value) for name, value in inputs.items()}
        raise FlowAssertionError(condition, message, previews)
