from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from rayflow_dagster.control_node import Constants, ControlNode, Fault, OwnPorts, Types
from rayflow_dagster.expressions import expression_problems, holds

from .cases import DEFAULT, MOST, case_problems

MATCHES = ("first", "all")


class ChooseNode(ControlNode):
    """Go on where an expression over what is wired holds: {"big": "total > 100.0"} fires `big`.

    CASES has an expression for each exec output. MATCH "first" fires the first that holds, "all"
    each that does; `default` fires where none holds.
    """

    icon = "fa-code-branch"
    category = "logic"
    exec_outputs = ("default",)
    takes_wires = True
    runs_anywhere = False

    CASES: dict[str, Any] = {}
    MATCH = "first"

    @classmethod
    def ports(cls, constants: Constants) -> OwnPorts:
        outputs = tuple(dict.fromkeys([*_cases(constants), DEFAULT]))
        return OwnPorts(outputs, "some_or_last" if constants["MATCH"] == "all" else "one")

    @classmethod
    def faults(cls, constants: Constants, types: Types) -> Iterator[Fault]:
        cases = _cases(constants)
        for problem in case_problems(list(cases)):
            yield Fault("cases", "CASES", problem)
        for name, expression in islice(cases.items(), MOST):
            for problem in expression_problems(expression, types):
                yield Fault("expression", "CASES", f"case '{name}': {problem}")
        if constants["MATCH"] not in MATCHES:
            yield Fault("cases", "MATCH", f"is {constants['MATCH']!r:.80}; set it to first or all")

    @classmethod
    def decide(cls, constants: Constants, types: Types, inputs: Mapping[str, Any]) -> list[str]:
        fired: list[str] = []
        for name, expression in _cases(constants).items():
            if holds(expression, types, inputs):
                fired.append(name)
                if constants["MATCH"] == "first":
                    break
        return fired or [DEFAULT]


def _cases(constants: Constants) -> dict[str, Any]:
    cases = constants["CASES"]
    return cases if isinstance(cases, dict) else {}
