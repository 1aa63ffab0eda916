"""Why a flow ended as it did."""

from rayflow_dagster.errors import FlowFailedError, describe, original_of
from rayflow_dagster.types import ExecutionGraph, ExecutionState

from .planner import ExecutionPlanner

AFTER_RETURN = "a RETURN was reached first"


def no_return_error(
    graph: ExecutionGraph, planner: ExecutionPlanner, state: ExecutionState
) -> FlowFailedError:
    """Why a flow that ran to its end has no result: what failed on the way and was handled, and
    which exec output led nowhere.
    """
    ends = [f"'{output}' of node '{node}'" for node, output in planner.loose_ends(state)]
    silent = [f"'{node}'" for node in planner.silent_nodes(state)]
    names = ", ".join(f"'{node_id}'" for node_id in graph["return_nodes"])
    results = ((node_id, state["node_states"][node_id]["result"]) for node_id in graph["nodes"])
    text = "".join(
        f"node '{node_id}' failed and its 'error' output handled that: "
        f"{describe(original_of(result['handled']))}; "
        for node_id, result in results
        if result is not None and "handled" in result
    )
    text += f"the flow ended without reaching a RETURN ({names})"
    if ends:
        text += f"; the exec output {', '.join(ends)} led nowhere; wire it to a RETURN"
    if silent:
        text += f"; node {', '.join(silent)} fired none of its exec outputs"
    return FlowFailedError(text)
