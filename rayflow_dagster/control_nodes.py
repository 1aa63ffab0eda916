"""Which classes are control nodes; a class path, constants and inputs in, what fires out."""

from collections.abc import Mapping
from typing import Any

from .control_node import ControlNode, RegionNode, Wait
from .errors import SecretError
from .nodes.base.flow import CallNode
from .nodes.control.break_ import BreakNode
from .nodes.control.continue_ import ContinueNode
from .nodes.control.fail import FailNode
from .nodes.control.for_each import ForEachNode
from .nodes.control.group import GroupNode
from .nodes.control.parallel import ParallelNode
from .nodes.control.sequence import SequenceNode
from .nodes.control.wait import WaitNode
from .nodes.control.while_ import WhileNode
from .nodes.logic.assert_ import AssertNode
from .nodes.logic.choose import ChooseNode
from .nodes.logic.switch import SwitchNode
from .secrets.references import has_secret
from .types import GraphNode, RegionKind

CONTROL_NODES: Mapping[str, type[ControlNode]] = {
    f"{each.__module__}.{each.__qualname__}": each
    for each in (
        AssertNode, BreakNode, CallNode, ChooseNode, ContinueNode, FailNode, ForEachNode, GroupNode,
        ParallelNode, SequenceNode, SwitchNode, WaitNode, WhileNode,
    )
}  # fmt: skip
"""By class path. A test finds those that were forgotten here."""

REGION_KINDS: Mapping[str, RegionKind] = {
    path: kind.region_kind for path, kind in CONTROL_NODES.items() if issubclass(kind, RegionNode)
}
"""The control nodes that run other nodes, their body."""


def refuse_secrets(inputs: Mapping[str, Any]) -> None:
    """Raises SecretError where an input of a control node has a secret."""
    for name, value in inputs.items():
        if has_secret(value):
            raise SecretError(f"input '{name}' has a secret, and a control node takes none")


def waited_for(node: GraphNode, inputs: Mapping[str, Any]) -> Wait | None:
    """What a control node waits for before it decides, of its inputs as values.

    Raises:
        Exception: the node fails.
    """
    return CONTROL_NODES[node["class_path"]].wait(node["constants"], inputs)


def decided(node: GraphNode, inputs: Mapping[str, Any]) -> list[str]:
    """The exec outputs that a control node fires, of its inputs as values.

    Raises:
        RayflowError: the node fails.
    """
    kind = CONTROL_NODES[node["class_path"]]
    return kind.decide(node["constants"], node["metadata"]["inputs"], inputs)
