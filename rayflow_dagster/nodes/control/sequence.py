from collections.abc import Iterator, Mapping
from typing import Any

from rayflow_dagster.control_node import Constants, ControlNode, Fault, OwnPorts, Types

MOST = 100


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
        return OwnPorts(_outputs(constants["THEN"]), "all")

    @classmethod
    def faults(cls, constants: Constants, types: Types) -> Iterator[Fault]:
        count = constants["THEN"]
        if isinstance(count, int) and not 1 <= count <= MOST:
            yield Fault("then", "THEN", f"is {count}; set it to 1 up to {MOST}")

    @classmethod
    def decide(cls, constants: Constants, types: Types, inputs: Mapping[str, Any]) -> list[str]:
        # All at once: the compiler has what hangs on one wait for what hangs on those before it.
        return list(_outputs(constants["THEN"]))


def _outputs(count: Any) -> tuple[str, ...]:
    known = count if isinstance(count, int) else 0
    return tuple(f"then_{number}" for number in range(1, min(known, MOST) + 1))
