"""Which classes are control nodes; a class path, constants and inputs in, what fires out."""

from collections.abc import Mapping
from typing import Any

from .control_node import ControlNode
from .errors import SecretError
from .nodes.control.fail import FailNode
from .nodes.control.parallel import ParallelNode
from .nodes.logic.assert_ import AssertNode
from .nodes.logic.choose import ChooseNode
from .nodes.logic.switch import SwitchNode
from .secrets.references import has_secret
from .types import GraphNode

CONTROL_NODES: Mapping[str, type[ControlNode]] = {
    f"{each.__module__}.{each.__qualname__}": each
    for each in (AssertNode, ChooseNode, FailNode, ParallelNode, SwitchNode)
}
"""By class path. A test finds those that were forgotten here."""


def decided(node: GraphNode, inputs: Mapping[str, Any]) -> list[str]:
    """The exec outputs that a control node fires, of its inputs as values.

    Raises:
        RayflowError: the node fails.
    """
    for name, value in inputs.items():
        if has_secret(value):
            raise SecretError(f"input '{name}' has a secret, and a control node takes none")
    kind = CONTROL_NODES[node["class_path"]]
    return kind.decide(node["constants"], node["metadata"]["inputs"], inputs)
