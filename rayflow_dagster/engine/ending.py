"""Why a flow ended as it did."""

from rayflow_dagster.errors import FlowFailedError
from rayflow_dagster.types import ExecutionGraph, ExecutionState

from .planner import ExecutionPlanner

AFTER_RETURN = "a RETURN was reached first"


def no_return_error(
    graph: ExecutionGraph, planner: ExecutionPlanner, state: ExecutionState
) -> FlowFailedError:
    """Why a flow that ran to its end has no result: which exec output led nowhere."""
    ends = [f"'{output}' of node '{node}'" for node, output in planner.loose_ends(state)]
    silent = [f"'{node}'" for node in planner.silent_nodes(state)]
    names = ", ".join(f"'{node_id}'" for node_id in graph["return_nodes"])
    text = f"the flow ended without reaching a RETURN ({names})"
    if ends:
        text += f"; the exec output {', '.join(ends)} led nowhere; wire it to a RETURN"
    if silent:
        text += f"; node {', '.join(silent)} fired none of its exec outputs"
    return FlowFailedError(text)
