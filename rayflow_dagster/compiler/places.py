"""A node of a compiled flow in, where it runs out."""

from typing import Literal

from rayflow_dagster.node import RayflowNode
from rayflow_dagster.nodes.logic.and_ import AndNode
from rayflow_dagster.nodes.logic.branch import BranchNode
from rayflow_dagster.nodes.logic.compare import CompareNode
from rayflow_dagster.nodes.logic.not_ import NotNode
from rayflow_dagster.nodes.logic.or_ import OrNode
from rayflow_dagster.nodes.variables.get_variable import GetVariableNode
from rayflow_dagster.nodes.variables.increment_variable import IncrementVariableNode
from rayflow_dagster.nodes.variables.set_variable import SetVariableNode
from rayflow_dagster.types import RETURN_CLASS, START_CLASS, GraphNode, NodeMetadata

from .loader import NodeLoader
from .registry import BUILTIN_ROOT

RunsOn = Literal["worker", "own", "async", "resident"]
"""Where a node runs: on any worker, on an actor of its own for one execution, on the actor that
all async nodes share, or on its resident actor."""


def _by_path(*classes: type[RayflowNode]) -> dict[str, type[RayflowNode]]:
    return {f"{each.__module__}.{each.__qualname__}": each for each in classes}


LOGIC = _by_path(AndNode, BranchNode, CompareNode, NotNode, OrNode)
VARIABLES = _by_path(GetVariableNode, IncrementVariableNode, SetVariableNode)
CONTROL = LOGIC | VARIABLES
"""Built-in classes that cost nothing, by class path: with small plain values they run in the run's
own process."""


def is_control(class_path: str, loader: NodeLoader) -> bool:
    """Whether the class is one of ``CONTROL``, and not one that a project put in its place."""
    return class_path in CONTROL and loader.registry.root_of(class_path) == BUILTIN_ROOT


def is_of_run(class_path: str, metadata: NodeMetadata) -> bool:
    """Whether the run's own process runs the node, whatever its inputs are."""
    return class_path in (START_CLASS, RETURN_CLASS) or metadata.get("is_control", False)


def runs_on(node: GraphNode) -> RunsOn:
    """Where a node runs that the run's own process does not run."""
    if node.get("resident"):
        return "resident"
    if node.get("ray_options"):
        return "own"
    return "async" if node["metadata"].get("is_async") else "worker"
