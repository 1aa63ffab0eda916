"""``NodeRunner``: one node of a graph in, what became of it out; a region node runs its body."""

from collections.abc import Callable, Mapping
from typing import Any

from rayflow_dagster.types import ExecutionGraph, ExecutionState, NodeResult

from .executor import Dispatcher, NodeExecutor, handled_result, success_result
from .failures import error_of, is_handled
from .gatherer import DataGatherer
from .planner import ExecutionPlanner, skipped_result
from .region import REGIONS, Tell


class NodeRunner:
    """Runs the nodes of one graph, any of them any number of times at once.

    Args:
        planner: the graph's; the graph's bodies get their own.
        settled: called with the result of every node of a body as it settles.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        planner: ExecutionPlanner,
        executor: NodeExecutor,
        settled: Callable[[NodeResult], None] = lambda _: None,
    ) -> None:
        self.graph = graph
        self.planner = planner
        self.settled = settled
        self._executor = executor
        self._bodies: dict[str, NodeRunner] = {}

    @property
    def actors(self) -> Dispatcher:
        """Where the nodes run."""
        return self._executor.actors

    def _body(self, node_id: str) -> "NodeRunner":
        """Runs the nodes of a region's body."""
        if node_id not in self._bodies:
            graph = self.graph["nodes"][node_id]["body"]
            executor = NodeExecutor(self.actors, DataGatherer(graph))
            planner = ExecutionPlanner(graph)
            self._bodies[node_id] = NodeRunner(graph, planner, executor, self.settled)
        return self._bodies[node_id]

    async def run_node(
        self,
        node_id: str,
        state: ExecutionState,
        *,
        attempt: int = 0,
        start_inputs: Mapping[str, Any] | None = None,
        store_in: str | None = None,
        tell: Tell | None = None,
    ) -> NodeResult:
        """Run one node once; the arguments are those of ``FlowOrchestrator.run_node``."""
        node = self.graph["nodes"][node_id]
        if node_id == self.graph["start_node"]:
            fired = list(node["metadata"].get("exec_outputs", ())[:1])
            return success_result(node_id, dict(start_inputs or {}), fired)
        if self.planner.lacks_data(node_id, state):
            return skipped_result(node_id, "a value that it needs did not come")
        if "body" in node:
            kind, gatherer = REGIONS[node["region"]["kind"]], self._executor.gatherer
            region = kind(
                node, self._body(node_id), gatherer, self.actors, store_in=store_in, tell=tell
            )
            result = await region.run(state)
        else:
            result = await self._executor.execute_node(node_id, state, store_in)
        result.setdefault("details", {})["attempts"] = attempt + 1
        if result["status"] != "error":
            return result
        error = error_of(result)
        if not is_handled(node, error, attempt):
            return result
        return handled_result(result, error, node["metadata"]["outputs"])
