from collections.abc import Iterator, Mapping
from typing import Any

from rayflow_dagster.control_node import Constants, ControlNode, Fault, OwnPorts, Types

from .numbered import count_problem, numbered


class ParallelNode(ControlNode):
    """Go on at all of `branch_1`, `branch_2`, ... at the same time; BRANCHES says how many."""

    icon = "fa-code-fork"
    category = "control"
    exec_outputs = ("branch_1", "branch_2")
    exec_exclusive = False

    BRANCHES = 2

    @classmethod
    def ports(cls, constants: Constants) -> OwnPorts:
        return OwnPorts(numbered("branch", constants["BRANCHES"]), "all")

    @classmethod
    def faults(cls, constants: Constants, types: Types) -> Iterator[Fault]:
        problem = count_problem(constants["BRANCHES"])
        if problem is not None:
            yield Fault("branches", "BRANCHES", problem)

    @classmethod
    def decide(cls, constants: Constants, types: Types, inputs: Mapping[str, Any]) -> list[str]:
        return list(numbered("branch", constants["BRANCHES"]))
