from collections.abc import Iterator, Mapping
from typing import Any

from rayflow_dagster.control_node import Constants, ControlNode, Fault, OwnPorts, Types

MOST = 100


class ParallelNode(ControlNode):
    """Go on at all of `branch_1`, `branch_2`, ... at the same time; BRANCHES says how many."""

    icon = "fa-code-fork"
    category = "control"
    exec_outputs = ("branch_1", "branch_2")
    exec_exclusive = False

    BRANCHES = 2

    @classmethod
    def ports(cls, constants: Constants) -> OwnPorts:
        return OwnPorts(_outputs(constants["BRANCHES"]), "all")

    @classmethod
    def faults(cls, constants: Constants, types: Types) -> Iterator[Fault]:
        count = constants["BRANCHES"]
        if isinstance(count, int) and not 1 <= count <= MOST:
            yield Fault("branches", "BRANCHES", f"is {count}; set it to 1 up to {MOST}")

    @classmethod
    def decide(cls, constants: Constants, types: Types, inputs: Mapping[str, Any]) -> list[str]:
        return list(_outputs(constants["BRANCHES"]))


def _outputs(count: Any) -> tuple[str, ...]:
    known = count if isinstance(count, int) else 0
    return tuple(f"branch_{number}" for number in range(1, min(known, MOST) + 1))
