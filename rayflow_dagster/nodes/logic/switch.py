import numbers
from collections.abc import Iterator, Mapping
from typing import Any

from rayflow_dagster.control_node import Constants, ControlNode, Fault, OwnPorts, Types

from .cases import DEFAULT, case_problems

_CHOOSE = "where others are to be told apart, draw a 'logic.choose'"
_NO_CASE = f"is no case; a case is a text or a whole number from 0 on, and {_CHOOSE}"
_ONE_OUTPUT = f"of these digits would have one exec output; delete one of them, and {_CHOOSE}"


class SwitchNode(ControlNode):
    """Go on where the value says: CASES ["new", "paid", 404] has an exec output for each.

    A case is a text or a whole number from 0 on, and its exec output is called as it is written;
    `default` fires for any other value.
    """

    icon = "fa-code-branch"
    category = "logic"
    inputs = {"value": "any"}
    exec_outputs = ("default",)

    CASES: list[Any] = []

    @classmethod
    def ports(cls, constants: Constants) -> OwnPorts:
        return OwnPorts(tuple(dict.fromkeys([*map(str, _cases(constants)), DEFAULT])))

    @classmethod
    def faults(cls, constants: Constants, types: Types) -> Iterator[Fault]:
        cases = _cases(constants)
        for case in cases:
            if not _is_case(case):
                yield Fault("cases", "CASES", f"{case!r:.80} {_NO_CASE}")
        outputs: dict[str, Any] = {}
        for case in filter(_is_case, cases):
            name = str(case)
            if name not in outputs:
                outputs[name] = case
            elif _is_same(outputs[name], case):
                yield Fault(
                    "cases", "CASES", f"{case!r:.80} stands there twice; delete one of them"
                )
            else:
                yield Fault("cases", "CASES", f"the text '{name}' and the number {_ONE_OUTPUT}")
        for problem in case_problems([*outputs]) if outputs or not cases else ():
            yield Fault("cases", "CASES", problem)

    @classmethod
    def decide(cls, constants: Constants, types: Types, inputs: Mapping[str, Any]) -> list[str]:
        value = inputs["value"]
        return [next((str(c) for c in _cases(constants) if _is_same(c, value)), DEFAULT)]


def _cases(constants: Constants) -> list[Any]:
    cases = constants["CASES"]
    return cases if isinstance(cases, list) else []


def _is_case(case: Any) -> bool:
    is_number = isinstance(case, int) and not isinstance(case, bool) and case >= 0
    return isinstance(case, str) or is_number


def _is_same(case: Any, value: Any) -> bool:
    """Whether a value is the case; a text is no number, and true no 1."""
    kind = str if isinstance(case, str) else numbers.Real
    return isinstance(value, kind) and not isinstance(value, bool) and bool(value == case)
