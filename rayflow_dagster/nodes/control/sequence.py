from collections.abc import Iterator, Mapping
from typing import Any

from rayflow_dagster.control_node import Constants, ControlNode, Fault, OwnPorts, Types

from .numbered import count_problem, numbered


class SequenceNode(ControlNode):
    """Go on at `then_1`, `then_2`, ... one after another: each when all that the one before it
    started has settled. THEN says how many.
    """

    icon = "fa-list-ol"
    category = "control"
    exec_outputs = ("then_1", "then_2")
    exec_exclusive = False

    THEN = 2

    @classmethod
    def ports(cls, constants: Constants) -> OwnPorts:
        return OwnPorts(numbered("then", constants["THEN"]), "all")

    @classmethod
    def faults(cls, constants: Constants, types: Types) -> Iterator[Fault]:
        problem = count_problem(constants["THEN"])
        if problem is not None:
            yield Fault("then", "THEN", problem)

    @classmethod
    def decide(cls, constants: Constants, types: Types, inputs: Mapping[str, Any]) -> list[str]:
        # All at once: the compiler has what hangs on one wait for what hangs on those before it.
        return list(numbered("then", constants["THEN"]))
