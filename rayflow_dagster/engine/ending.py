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
    names = ", ".join(f"'{node_id}'" for node_id in graph["return_nodes"])
    where = f"; the exec output {', '.join(ends)} led nowhere" if ends else ""
    return FlowFailedError(
        f"the flow ended without reaching a RETURN ({names}){where}; wire it to a RETURN"
    )
