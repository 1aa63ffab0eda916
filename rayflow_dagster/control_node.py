"""``ControlNode``: what a built-in node that decides where a flow goes on subclasses."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from .node import RayflowNode
from .types import EXEC_NEXT, EXEC_OUT, ExecFires, RegionKind

Constants = Mapping[str, Any]
Types = Mapping[str, str]
"""The port types of a node's inputs, by name."""


class OwnPorts(NamedTuple):
    """The exec outputs of one drawn node, and which of them fire in a run."""

    exec_outputs: tuple[str, ...]
    exec_fires: ExecFires = "one"


class Fault(NamedTuple):
    """What is wrong with a constant; ``rule`` is the finding's."""

    rule: str
    constant: str
    text: str


VALUE = "value"
"""What the condition of a wait calls the value of the variable."""


class Wait(NamedTuple):
    """What a node waits for: that so many ``seconds`` pass, or that a condition holds for the value
    of a ``variable``.
    """

    seconds: float = 0.0
    variable: str = ""
    condition: str = ""


class ControlNode(RayflowNode):
    """A node whose exec outputs may follow from its constants, and that has no other outputs.

    What it decides follows from its inputs and constants alone, so it runs in the run's process and
    takes no worker. Only classes in ``control_nodes.CONTROL_NODES`` do, which are built in: their
    code runs while a flow is loaded.
    """

    takes_wires: ClassVar[bool] = False
    """Whether its inputs are whatever is wired into it."""
    runs_anywhere: ClassVar[bool] = True
    """Whether a worker can run it, as part of a body: what is not installed there, none can."""

    @classmethod
    def ports(cls, constants: Constants) -> OwnPorts | None:
        """The exec outputs of a node with these constants; None for those of the class. A constant
        may be of any type here.
        """
        return None

    @classmethod
    def faults(cls, constants: Constants, types: Types) -> Iterator[Fault]:
        """What is wrong with the constants of a node whose inputs have these types."""
        yield from ()

    @classmethod
    def wait(cls, constants: Constants, inputs: Mapping[str, Any]) -> Wait | None:
        """What the node waits for before it decides; ``inputs`` are values."""
        return None

    @classmethod
    def decide(cls, constants: Constants, types: Types, inputs: Mapping[str, Any]) -> list[str]:
        """The exec outputs that fire; ``inputs`` are values."""
        raise NotImplementedError(f"{cls.__name__} does not define decide()")

    def process(self, /, **inputs: Any) -> dict[str, Any]:
        constants = {name: getattr(self, name) for name in dir(self) if name.isupper()}
        fired = self.decide(constants, dict.fromkeys(inputs, "any"), inputs)
        return {} if fired == [EXEC_OUT] else {EXEC_NEXT: fired}


class RegionNode(ControlNode):
    """A node that runs other nodes, its body: those that only its exec output ``body`` leads to.

    The engine runs it (``engine/region.py``); it decides nothing by itself.
    """

    region_kind: ClassVar[RegionKind]
