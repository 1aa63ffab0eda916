"""Whether a node class can do its work: it defines ``process``, which takes the node's inputs."""

import inspect
from collections.abc import Sequence

from rayflow_dagster.node import RayflowNode


def process_problem(node_class: type[RayflowNode], inputs: Sequence[str]) -> str | None:
    """What is wrong with the class's ``process``; None where nothing is."""
    name = node_class.__name__
    if node_class.process is RayflowNode.process:
        return f"class {name} does not define process(); write one that takes the node's inputs"
    try:
        signature = inspect.signature(node_class.process)
    except (TypeError, ValueError):  # made in a way that cannot be looked into
        return None
    try:
        signature.bind(None, **dict.fromkeys(inputs))
    except TypeError as error:
        taken = ", ".join(inputs) or "none"
        return f"process() of class {name} does not take its inputs ({taken}): {error}"
    return None
