"""``StateTracker``: what became of each node so far."""

from collections.abc import Iterable
from typing import Any

from rayflow_dagster.errors import RayflowError
from rayflow_dagster.types import (
    ExecutionGraph,
    ExecutionState,
    NodeResult,
    NodeState,
    NodeStatus,
    ResultStatus,
)
from rayflow_dagster.values.stored import is_inline

from .readers import RELEASED, Output

LEGAL_TRANSITIONS: dict[NodeStatus, frozenset[NodeStatus]] = {
    "pending": frozenset({"ready", "running", "completed", "failed"}),
    "ready": frozenset({"running", "completed", "failed", "pending"}),
    # A node that fails and may try again waits as 'pending'.
    "running": frozenset({"completed", "failed", "pending"}),
    "completed": frozenset(),
    "failed": frozenset(),
}
"""Status -> the statuses that may follow. Settled nodes stay settled."""

SETTLED: dict[ResultStatus, NodeStatus] = {
    "success": "completed",
    "skipped": "completed",
    "error": "failed",
}


class StateTracker:
    """Tracks the execution state of one run of a flow."""

    def __init__(self, execution_graph: ExecutionGraph) -> None:
        self._returns = frozenset(execution_graph["return_nodes"])
        self._graph = execution_graph
        self._state: ExecutionState = self._initialize_state()
        self._first_return: str | None = None

    def get_state(self) -> ExecutionState:
        """The current state: the live object, not a copy."""
        return self._state

    def update_node_status(self, node_id: str, status: NodeStatus) -> None:
        """Set a node's status.

        Raises:
            RayflowError: the node is unknown, or may not go from its status to this one.
        """
        node = self._node(node_id)
        if status != node["status"]:
            if status not in LEGAL_TRANSITIONS.get(node["status"], frozenset()):
                raise RayflowError(f"node '{node_id}' cannot go from {node['status']} to {status}")
            node["status"] = status
        if status == "running":
            self._state["active_path"] = node_id

    def store_node_result(self, node_id: str, result: NodeResult) -> None:
        """Settle a node: keep its result and cache its outputs.

        Raises:
            RayflowError: the node is unknown or settled already.
        """
        node = self._node(node_id)
        if node["result"] is not None:
            raise RayflowError(f"node '{node_id}' has settled already")
        self.update_node_status(node_id, SETTLED[result["status"]])
        # A copy: whoever else was given the result keeps it whole when outputs are released here.
        node["result"] = {**result, "outputs": dict(result["outputs"])}
        if result["status"] == "success" and node_id in self._returns:
            self._first_return = self._first_return or node_id
        for name, value in result["outputs"].items():
            self.cache_output(node_id, name, value)

    def recall(self, result: NodeResult) -> None:
        """Note what a run before this one made of a node, which does not run again. A RETURN that
        was reached then does not end this run.
        """
        node = self._node(result["node_id"])
        node["status"], node["result"] = SETTLED[result["status"]], result

    def cache_output(self, node_id: str, output_name: str, value: Any) -> None:
        """Keep an output value, or an object ref to it."""
        self._state["data_cache"][node_id, output_name] = value

    def get_cached_output(self, node_id: str, output_name: str) -> Any:
        """The value kept for an output.

        Raises:
            KeyError: none is kept; says whether there was one.
        """
        try:
            return self._state["data_cache"][node_id, output_name]
        except KeyError:
            raise KeyError(self._why_not_kept(node_id, output_name)) from None

    def release(self, outputs: Iterable[Output]) -> None:
        """Let go of output values, but for small plain ones, which cost nothing. That they came can
        still be seen in their nodes' results.
        """
        cache = self._state["data_cache"]
        for output in outputs:
            if is_inline(cache.get(output)):
                continue
            if cache.pop(output, RELEASED) is not RELEASED:
                node_id, name = output
                result = self._node(node_id)["result"]
                if result is not None:
                    result["outputs"][name] = RELEASED

    def is_complete(self) -> bool:
        """Whether a RETURN node has been reached."""
        return self.reached_return() is not None

    def reached_return(self) -> str | None:
        """The RETURN node that ended the flow, if one has: the first that was reached."""
        return self._first_return

    def count_run(self) -> int:
        """How many nodes ran, START and RETURN included; skipped ones did not."""
        results = [node["result"] for node in self._state["node_states"].values()]
        return sum(result is not None and result["status"] != "skipped" for result in results)

    def _initialize_state(self) -> ExecutionState:
        """Every node pending, nothing cached."""
        return {
            "node_states": {
                node_id: {"status": "pending", "result": None} for node_id in self._graph["nodes"]
            },
            "data_cache": {},
            "active_path": "",
        }

    def _why_not_kept(self, node_id: str, output_name: str) -> str:
        node = self._state["node_states"].get(node_id)
        if node is None:
            return f"there is no node '{node_id}' in this flow"
        output = f"output '{output_name}' of node '{node_id}'"
        if node["result"] is None:
            return f"{output} is not there: the node has not settled"
        if node["result"]["outputs"].get(output_name) is RELEASED:
            return f"{output} was released: every node that reads it has run"
        return f"{output} is not there: the node gave none"

    def _node(self, node_id: str) -> NodeState:
        try:
            return self._state["node_states"][node_id]
        except KeyError:
            raise RayflowError(f"there is no node '{node_id}' in this flow") from None
