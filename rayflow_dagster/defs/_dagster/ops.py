"""Op definitions that share their ports."""

import copy

from dagster import OpDefinition
from dagster._core.definitions.utils import check_valid_name


def op_like(op: OpDefinition, name: str, description: str) -> OpDefinition:
    """``op`` under another name and description.

    Made anew, an op has each of its ports checked and converted again, which is most of the time
    that a code location takes to load. ``op`` itself must not stand in a graph.

    Raises:
        DagsterInvalidDefinitionError: the name is not a legal one.
    """
    twin = copy.copy(op)
    twin._name = check_valid_name(name)
    twin._description = description
    return twin
