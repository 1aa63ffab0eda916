"""``NodeRunner``: one node of a graph in, what became of it out; a region node runs its body."""

import time
from collections.abc import Coroutine, Mapping
from functools import cached_property, partial
from typing import Any

from rayflow_dagster.errors import NodeExecutionError
from rayflow_dagster.port_check import check_inline
from rayflow_dagster.types import (
    BREAK_CLASS,
    UNHEARD,
    ExecutionGraph,
    ExecutionState,
    NodeResult,
    OnTheWay,
    RegionKind,
    RegionSpec,
    RunDetails,
    open_calls_around,
)
from rayflow_dagster.variables.calls import Call, Calls

from .computing import inputs_of_call
from .deadline import Deadline
from .error_handler import ErrorHandler
from .executor import Dispatcher, NodeExecutor, handled_result, success_result
from .failures import error_of, is_handled
from .gatherer import DataGatherer
from .heard import FIRST_SECONDS, HearNode
from .iteration import AGAIN, NEXT, Iteration, Progress, placed
from .loop import FlowLoop
from .loops import ForEachRegion, WhileRegion
from .machine import FlowMachine
from .planner import ExecutionPlanner, skipped_result
from .region import FlowRegion, GroupRegion, Region
from .tracker import StateTracker

REGIONS: Mapping[RegionKind, type[Region]] = {
    "for_each": ForEachRegion,
    "while": WhileRegion,
    "group": GroupRegion,
    "flow": FlowRegion,
}


class NodeRunner:
    """Runs the nodes of one graph, any of them any number of times at once.

    Args:
        planner: the graph's; the graph's bodies get their own.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        planner: ExecutionPlanner,
        executor: NodeExecutor,
    ) -> None:
        self.graph = graph
        self.planner = planner
        self._executor = executor
        self._bodies: dict[str, NodeRunner] = {}

    @classmethod
    def of_body(
        cls,
        graph: ExecutionGraph,
        actors: Dispatcher,
        calls: Calls = (),
        until: Deadline | None = None,
    ) -> "NodeRunner":
        """Runs the nodes of a body on these actors."""
        executor = NodeExecutor(actors, DataGatherer(graph), calls, until)
        return cls(graph, ExecutionPlanner(graph), executor)

    def within(self, calls: Calls, until: Deadline | None) -> "NodeRunner":
        """The same, in these calls of flows, and with this limit."""
        if calls == self.calls and until is self.until:
            return self
        executor = NodeExecutor(self.actors, self._executor.gatherer, calls, until)
        return NodeRunner(self.graph, self.planner, executor)

    @property
    def calls(self) -> Calls:
        """The calls of flows that the nodes are in."""
        return self._executor.calls

    @property
    def until(self) -> Deadline | None:
        """The first limit that holds for all of the nodes."""
        return self._executor.until

    @property
    def actors(self) -> Dispatcher:
        """Where the nodes run."""
        return self._executor.actors

    def _body(self, node_id: str) -> "NodeRunner":
        """Runs the nodes of a region's body."""
        if node_id not in self._bodies:
            graph = self.graph["nodes"][node_id]["body"]
            self._bodies[node_id] = NodeRunner.of_body(graph, self.actors, self.calls, self.until)
        return self._bodies[node_id]

    def of(self, node_id: str) -> "NodeRunner":
        """What runs a node of the graph, or of a flow that is called openly from it."""
        call_id = self._open_calls.get(node_id)
        return self if call_id is None else self._opened(call_id).of(node_id)

    @cached_property
    def _open_calls(self) -> dict[str, str]:
        return open_calls_around(self.graph)

    def _opened(self, call_id: str) -> "NodeRunner":
        """Runs the nodes of a flow that is called openly: once in a run, so that the call is called
        as the node is.
        """
        if call_id not in self._bodies:
            spec = self.graph["nodes"][call_id]["region"]["call"]
            call = Call(call_id, call_id, tuple(spec["own"]), spec["shares"])
            graph = self.graph["nodes"][call_id]["body"]
            calls = (*self.calls, call)
            self._bodies[call_id] = NodeRunner.of_body(graph, self.actors, calls, self.until)
        return self._bodies[call_id]

    async def inputs_of(self, call_id: str, state: ExecutionState) -> dict[str, Any]:
        """What a node that calls a flow hands to its START.

        Raises:
            DataNotAvailableError: a required input has no value.
            ExpressionError: an expression has no value.
            TypeError: a value is not of the type that START declares.
        """
        return await inputs_of_call(self._executor.gatherer, self.actors.fetch, call_id, state)

    async def run_node(
        self,
        node_id: str,
        state: ExecutionState,
        *,
        attempt: int = 0,
        start_inputs: Mapping[str, Any] | None = None,
        store_in: str | None = None,
        on_the_way: OnTheWay = UNHEARD,
        progress: Progress | None = None,
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
            so_far = progress if progress is not None else Progress()
            body = self._body(node_id)
            region = kind(node, body, gatherer, so_far, store_in=store_in, on_the_way=on_the_way)
            result = await region.run(state)
        else:
            result = await self._executor.execute_node(node_id, state, store_in, on_the_way.hear)
        result.setdefault("details", {})["attempts"] = attempt + 1
        if result["status"] != "error":
            return result
        error = error_of(result)
        if not is_handled(node, error, attempt):
            return result
        return handled_result(result, error, node["metadata"]["outputs"])

    async def iterate(
        self,
        spec: RegionSpec,
        given: Mapping[str, Any],
        place: str,
        store_in: str | None = None,
        hear: HearNode | None = None,
    ) -> Iteration:
        """Run the whole graph once, as the body of a region: by the loop and the machine that run a
        flow. A ``control.break`` or ``control.continue`` ends it as a RETURN ends a flow.

        Args:
            spec: how the region runs it.
            given: what its START gives.
            place: what the iteration is called in the texts of errors.
            store_in: what the folders begin with that large values are stored in which are read
                when it has ended.
            hear: is told what its nodes say, where it runs for a while; what it has not been told
                is in the iteration.
        """
        began = time.monotonic()
        iteration = Iteration()
        tracker = StateTracker(self.graph)
        errors = ErrorHandler(self.graph.get("on_error", "stop"))
        machine = FlowMachine(self.graph, self.planner, tracker, errors)
        folders = self._folders(store_in) if store_in is not None else {}
        left_by = ""
        previews: dict[tuple[str, str], str] = {}

        def note(result: NodeResult) -> None:
            nonlocal left_by
            iteration.note(result)
            _pass_on(iteration, began, hear)
            for output, text in result.get("details", {}).get("previews", {}).items():
                previews[result["node_id"], output] = text
            node = self.graph["nodes"][result["node_id"]]
            is_group = "region" in node and node["region"]["kind"] == "group"
            if is_group and not tracker.is_complete():
                ends = {"break", "continue"}.intersection(result.get("exec_fired", ()))
                left_by = left_by or next(iter(ends), "")

        run_node = self.run_node if hear is None else partial(self._run_heard, hear)
        loop = FlowLoop(
            self.graph, machine, tracker, run_node, self.actors, note, folders, self.until
        )
        outcome = await loop.run(given)
        iteration.nodes.pop(self.graph["start_node"], None)
        reached = tracker.reached_return()
        whose = self.calls[-1].node_id if "call" in spec else self.graph["start_node"]
        if outcome in ("failed", "interrupted"):
            iteration.error = self._first_failure(place, errors, tracker)
        if outcome == "interrupted" and self.until is not None and iteration.error is None:
            iteration.error = NodeExecutionError(whose, self.until.cut_off())
            iteration.error.where = place
        elif reached is None and "call" in spec and iteration.error is None:
            iteration.error = NodeExecutionError(whose, machine.no_return_error())
            iteration.error.where = place
        state = tracker.get_state()
        state["data_cache"] |= iteration.stored
        _take_values(iteration, spec, state["data_cache"], previews)
        if iteration.inner and iteration.error is None:
            iteration.error = self._mistyped(place, iteration)
        if reached is not None and "call" in spec:
            iteration.ended_by = spec["call"]["exits"][reached]
            self._take_returned(reached, iteration, state, previews)
        elif reached is not None:
            breaks = self.graph["nodes"][reached]["class_path"] == BREAK_CLASS
            # A group that was left has said so before what hangs on its `always` came to an end.
            iteration.ended_by = left_by or ("break" if breaks else "continue")
        iteration.seconds = time.monotonic() - began
        return iteration

    def _run_heard(
        self, hear: HearNode, node_id: str, state: ExecutionState, **given: Any
    ) -> Coroutine[Any, Any, NodeResult]:
        """``run_node``, and tell what the node says while it runs."""
        on_the_way = OnTheWay(hear=partial(hear, node_id))
        return self.run_node(node_id, state, on_the_way=on_the_way, **given)

    @staticmethod
    def _first_failure(
        place: str, errors: ErrorHandler, tracker: StateTracker
    ) -> NodeExecutionError | None:
        """The error of the node of an iteration that has failed first; None where none has."""
        failures = errors.get_error_report()["errors"]
        if not failures:
            return None
        first = failures[0]
        failed = tracker.get_state()["node_states"][first["node_id"]]["result"]
        details = failed.get("details", RunDetails()) if failed is not None else RunDetails()
        previews = details.get("input_previews", {})
        return placed(place, first["node_id"], first["error"], previews)

    def _mistyped(self, place: str, iteration: Iteration) -> NodeExecutionError | None:
        """What is wrong with a value that was wired into an inner input of the loop, as far as that
        is seen without opening it.
        """
        loop = self.graph["start_node"]
        carried = self.graph["nodes"][loop]["metadata"]["outputs"]
        kinds = {AGAIN: "bool", **{f"{NEXT}{name}": kind for name, kind in carried.items()}}
        try:
            check_inline(loop, kinds, iteration.inner)
        except TypeError as error:
            return placed(place, loop, error, {})
        return None

    def _take_returned(
        self,
        reached: str,
        iteration: Iteration,
        state: ExecutionState,
        previews: Mapping[tuple[str, str], str],
    ) -> None:
        """Take what a RETURN was given, as it is stored where it is."""
        result = state["node_states"][reached]["result"]
        iteration.brought = dict(result["outputs"]) if result is not None else {}
        for edge in self.graph["edges"].values():
            source, port = (edge["source"], edge["source_handle"]), edge["target_handle"]
            if edge["target"] != reached or port not in iteration.brought:
                continue
            if source in iteration.stored:
                iteration.brought[port] = iteration.stored[source]
            if source in previews:
                iteration.previews[port] = previews[source]

    def _folders(self, store_in: str) -> dict[str, str]:
        """The folder of each node with a value that is read when an iteration has ended."""
        return {node_id: f"{store_in}.{position}" for node_id, position in self._read_after.items()}

    @cached_property
    def _read_after(self) -> dict[str, int]:
        """The nodes with a value that is read when an iteration has ended, with their positions."""
        read = {node_id for node_id, _ in self.graph["kept"]} - {self.graph["start_node"]}
        numbered = enumerate(self.graph["nodes"])
        return {node_id: position for position, node_id in numbered if node_id in read}


def _pass_on(iteration: Iteration, began: float, hear: HearNode | None) -> None:
    """Tell what the nodes of an iteration have said that takes a while."""
    if hear is not None and time.monotonic() - began >= FIRST_SECONDS:
        for node_id, details in iteration.told:
            hear(node_id, details)
        iteration.told.clear()


def _take_values(
    iteration: Iteration,
    spec: RegionSpec,
    cache: Mapping[tuple[str, str], Any],
    previews: Mapping[tuple[str, str], str],
) -> None:
    """Take what an iteration has wired into the inner inputs of its region, and what leaves it."""
    for name, sources in spec["inner"].items():
        for source in sources:
            if source in cache:
                iteration.inner[name] = cache[source]
    for name, left in spec["leaves"].items():
        if left in cache:
            iteration.brought[name] = cache[left]
        if spec["kind"] == "group" and left in previews:
            iteration.previews[name] = previews[left]
