import numbers
from collections.abc import Iterator, Mapping
from typing import Any

from rayflow_dagster.control_node import Constants, ControlNode, Fault, OwnPorts, Types

from .cases import DEFAULT, case_problems


class SwitchNode(ControlNode):
    """Go on where the value says: CASES ["new", "paid", 404] has an exec output for each.

    A case is a text or a whole number, and its exec output is called as it is written; `default`
    fires for any other value.
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
                text = f"{case!r:.80} is no case; a case is a text or a whole number"
                yield Fault("cases", "CASES", text)
        for problem in case_problems([str(case) for case in cases if _is_case(case)]):
            yield Fault("cases", "CASES", problem)

    @classmethod
    def decide(cls, constants: Constants, types: Types, inputs: Mapping[str, Any]) -> list[str]:
        value = inputs["value"]
        return [next((str(c) for c in _cases(constants) if _is_same(c, value)), DEFAULT)]


def _cases(constants: Constants) -> list[Any]:
    cases = constants["CASES"]
    return cases if isinstance(cases, list) else []


def _is_case(case: Any) -> bool:
    return isinstance(case, str | int) and not isinstance(case, bool)


def _is_same(case: Any, value: Any) -> bool:
    """Whether a value is the case; a text is no number, and true no 1."""
    kind = str if isinstance(case, str) else numbers.Real
    return isinstance(value, kind) and not isinstance(value, bool) and bool(value == case)
