"""The loop of a direct run: plan on every completion, until nothing runs and nothing can."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from rayflow_dagster.types import ExecutionGraph, ExecutionState, NodeResult

from .ending import AFTER_RETURN, no_return_error
from .error_handler import ErrorHandler
from .executor import Dispatcher
from .failures import error_of, is_tried_again, retry_delay
from .planner import ExecutionPlanner, ends_at_return, skipped_result
from .readers import Readers
from .tracker import StateTracker
from .turns import NodeRun, Turns


class RunNode(Protocol):
    """Runs one node once: ``FlowOrchestrator.run_node``."""

    def __call__(
        self,
        node_id: str,
        state: ExecutionState,
        *,
        attempt: int,
        start_inputs: Mapping[str, Any] | None,
    ) -> NodeRun:
        """The coroutine that runs the node."""


@dataclass(slots=True)
class FlowLoop:
    """One run of one flow.

    Args:
        settled: called with every node's result as it settles, with all its outputs.
    """

    graph: ExecutionGraph
    planner: ExecutionPlanner
    tracker: StateTracker
    error_handler: ErrorHandler
    run_node: RunNode
    actors: Dispatcher
    settled: Callable[[NodeResult], None]
    errors: list[str] = field(init=False, default_factory=list)
    _is_over: bool = field(init=False, default=False)
    """True when nothing new may start."""
    _returns: deque[str] = field(init=False, default_factory=deque)
    """RETURNs that are ready. The first of them runs, and no other overtakes it."""
    _attempts: dict[str, int] = field(init=False, default_factory=dict)
    """How often a node that is tried again has failed."""
    _start_inputs: Mapping[str, Any] = field(init=False, default_factory=dict)
    _turns: Turns = field(init=False)
    _readers: Readers = field(init=False)

    async def run(self, start_inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run the flow to its end: ``{"result": dict, "error": str | None}``."""
        self._start_inputs = start_inputs
        self._readers = Readers(self.graph)
        self._turns = Turns(self._ended)
        try:
            self._begin_all(self.planner.get_next_nodes(self.tracker.get_state(), None))
            await self._turns.finish()
        finally:
            self._turns.close()
        return self._outcome()

    def _begin_all(self, node_ids: Iterable[str]) -> None:
        for node_id in node_ids:
            if node_id not in self.planner.returns:
                self._begin(node_id)
                continue
            self._returns.append(node_id)
            if self._returns[0] == node_id:
                self._begin(node_id)

    def _begin(self, node_id: str) -> None:
        self.tracker.update_node_status(node_id, "running")
        run = self.run_node(
            node_id,
            self.tracker.get_state(),
            attempt=self._attempts.get(node_id, 0),
            start_inputs=self._start_inputs,
        )
        self._turns.start(node_id, run)

    def _ended(self, node_id: str, result: NodeResult) -> None:
        """A node has run: try it again, or settle it and go on."""
        if result["status"] == "error" and self._tries_again(node_id, error_of(result)):
            return
        self._settle(result)
        if self._ends():
            self._turns.drop_waiting()
            self._turns.after_due(self._drop_queued)
            return
        if node_id in self.planner.returns and result["status"] != "success":
            self._returns.popleft()  # it was none after all: the next one's turn
            if self._returns:
                self._begin(self._returns[0])
        plan = self.planner.plan_after(self.tracker.get_state(), result)
        for skipped in plan.skipped:
            self._store(skipped_result(skipped, "no exec edge into it fired"))
        self._begin_all(plan.ready)

    def _drop_queued(self) -> None:
        """Give up the nodes that still wait for a worker, as if they had not started."""
        for node_id in self._turns.running:
            if self.actors.needs_worker(node_id) and self._turns.drop(node_id):
                self.tracker.update_node_status(node_id, "pending")

    def _tries_again(self, node_id: str, error: BaseException) -> bool:
        """Whether a failed node has attempts left. Once the flow is over, it is then as if it had
        never run.
        """
        node, attempt = self.graph["nodes"][node_id], self._attempts.get(node_id, 0)
        if not is_tried_again(node, error, attempt):
            return False
        self._attempts[node_id] = attempt + 1
        self.tracker.update_node_status(node_id, "pending")
        if not self._is_over:
            delay = retry_delay(node["retry"], attempt + 1)
            self._turns.start_later(node_id, delay, partial(self._begin, node_id))
        return True

    def _settle(self, result: NodeResult) -> None:
        """Store a result; note the message of a failure."""
        self._store(result)
        if result["status"] == "error":
            info = self.error_handler.handle_node_error(
                result["node_id"], error_of(result), self.tracker.get_state()
            )
            self.errors.append(self.error_handler.format_error_message(info))

    def _store(self, result: NodeResult) -> None:
        node_id = result["node_id"]
        self.tracker.store_node_result(node_id, result)
        self.settled(result)
        self.tracker.release(self._readers.settled(node_id))

    def _ends(self) -> bool:
        """Whether nothing new may start any more."""
        stops = bool(self.errors) and self.error_handler.on_error == "stop"
        self._is_over = stops or (self.tracker.is_complete() and ends_at_return(self.graph))
        return self._is_over

    def _outcome(self) -> dict[str, Any]:
        state = self.tracker.get_state()
        reached = self.tracker.reached_return()
        if reached is not None:
            if not self.errors:
                for node_id in self.planner.leftovers(state):
                    self._store(skipped_result(node_id, AFTER_RETURN))
            result = self.tracker.get_cached_output(reached, "result")
            return {"result": result, "error": "; ".join(self.errors) or None}
        errors = self.errors or [str(no_return_error(self.graph, self.planner, state))]
        return {"result": {}, "error": "; ".join(errors)}
