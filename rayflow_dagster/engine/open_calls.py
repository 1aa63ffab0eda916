"""A flow with open calls in; what its run does next, over its own nodes and those of the flows that
it calls, out.

The nodes of an open call are started and settle one by one, as those around the call do. Each flow
has a ``FlowMachine``. That of the caller knows a call as one node, which begins with the START of
the called flow; once that flow has returned, the node itself is started, to hand on what came.
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

from rayflow_dagster.errors import FlowFailedError
from rayflow_dagster.types import (
    ExecutionGraph,
    ExecutionState,
    NodeResult,
    is_open,
    open_calls_around,
)

from .error_handler import ErrorHandler
from .executor import error_result
from .iteration import place_of, placed
from .machine import (
    Begun,
    Drop,
    End,
    Event,
    FlowMachine,
    Instruction,
    Interrupted,
    Settled,
    Skip,
    Start,
)
from .planner import ExecutionPlanner, skipped_result
from .tracker import StateTracker


class RunMachine:
    """Decides one run of a flow, and of the flows that it calls openly.

    Args:
        graph: the flow; the ids of a called flow's nodes are no others'.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        planner: ExecutionPlanner,
        tracker: StateTracker,
        error_handler: ErrorHandler,
    ) -> None:
        self._graph = graph
        self._tracker = tracker
        self._errors = error_handler
        self._own = FlowMachine(graph, planner, tracker, error_handler)
        self._calls = {
            node_id: _machine_of(node["body"])
            for node_id, node in graph["nodes"].items()
            if is_open(node)
        }
        self._call_of = open_calls_around(graph)
        self._begun: set[str] = set()
        """The calls whose flows have begun."""
        self._ended: set[str] = set()
        """The calls whose flows have ended."""
        self._recalled: dict[str, NodeResult] = {}
        """What a run before this one made of calls: their own last steps do not run again."""

    def recall(self, result: NodeResult) -> None:
        """Take note of what a run before this one made of a node, before this one begins."""
        node_id = result["node_id"]
        call = self._call_of.get(node_id)
        if call is not None:
            self._calls[call].recall(result)
        elif node_id in self._calls:
            self._recalled[node_id] = result
        else:
            self._tracker.recall(result)

    def state_around(self, node_id: str) -> ExecutionState:
        """The state of the flow that a node is in."""
        call = self._call_of.get(node_id)
        return (
            self._tracker.get_state() if call is None else self._calls[call].state_around(node_id)
        )

    def handle(self, event: Event) -> list[Instruction]:
        """What follows from an event, in the order in which it is to be done."""
        if isinstance(event, Interrupted):
            inner = [(call, self._calls[call].handle(event)) for call in self._begun - self._ended]
            passed = [each for _, told in inner for each in told if not isinstance(each, End)]
            return [*passed, *self._expanded(self._own.handle(event))]
        if isinstance(event, Begun):
            self._recall_calls()
            return [*self._expanded(self._own.handle(event))]
        call = self._call_of.get(_node_of(event))
        if call is None:
            return [*self._expanded(self._own.handle(event))]
        return [*self._passed_on(call, self._calls[call].handle(event))]

    def _recall_calls(self) -> None:
        """Settle the calls of which nothing runs again. Any other is one that has ended only when
        the nodes that run again have.
        """
        for call, result in self._recalled.items():
            if self._calls[call].is_recalled():
                self._tracker.recall(result)

    def is_recalled(self) -> bool:
        """Whether nothing of this flow runs again."""
        states = self._tracker.get_state()["node_states"]
        return all(
            self._calls[node_id].is_recalled() and node_id in self._recalled
            if node_id in self._calls
            else state["result"] is not None
            for node_id, state in states.items()
        )

    def _expanded(self, instructions: Iterable[Instruction]) -> Iterator[Instruction]:
        """What the machine of this flow says, with each call as the nodes of the flow it calls."""
        for each in instructions:
            match each:
                case Start(call, _) if call in self._calls and call not in self._begun:
                    self._begun.add(call)
                    yield from self._passed_on(call, self._calls[call].handle(Begun()))
                case Skip(result) if result["node_id"] in self._calls:
                    yield from self._calls[result["node_id"]].skipped(str(result["error"]))
                    if result["node_id"] not in self._recalled:
                        yield each
                case Drop(call) if call in self._calls:
                    pass  # what has begun goes on to its end
                case _:
                    yield each

    def _passed_on(self, call: str, instructions: Iterable[Instruction]) -> Iterator[Instruction]:
        """What the machine of a called flow says, and what follows here from its end."""
        for each in instructions:
            if not isinstance(each, End):
                yield each
                continue
            self._ended.add(call)
            if each.outcome == "failed":
                first = self._calls[call].first_error()
                place = place_of(self._graph["nodes"][call]["region"], 0)
                error = placed(place, first["node_id"], first["error"], {})
                failed = error_result(call, error)
                yield from self._expanded(self._own.handle(Settled(failed, again=False)))
            elif each.outcome == "interrupted":
                continue
            elif call in self._recalled:
                yield from self._expanded(self._own.handle(Settled(self._recalled[call])))
            else:
                yield Start(call, 0)

    def first_error(self) -> Any:
        """The first failure in this flow, as ``ErrorHandler`` tells of it."""
        return self._errors.get_error_report()["errors"][0]

    def no_return_error(self, call: str | None = None) -> FlowFailedError:
        """Why the flow has no result though it ran to its end, or the flow that a node calls."""
        if call is None:
            return self._own.no_return_error()
        outer = self._call_of.get(call)
        if outer is not None:
            return self._calls[outer].no_return_error(call)
        return self._calls[call].no_return_error()

    def skipped(self, reason: str) -> Iterator[Instruction]:
        """What to say of the nodes of this flow when it is not run at all."""
        for node_id in self._graph["execution_order"]:
            if self._tracker.get_state()["node_states"][node_id]["result"] is not None:
                continue
            if node_id in self._calls:
                yield from self._calls[node_id].skipped(reason)
            if node_id not in self._recalled:
                yield Skip(skipped_result(node_id, reason))


def _machine_of(graph: ExecutionGraph) -> RunMachine:
    planner, tracker = ExecutionPlanner(graph), StateTracker(graph)
    return RunMachine(graph, planner, tracker, ErrorHandler(graph.get("on_error", "stop")))


def _node_of(event: Event) -> str:
    return event.result["node_id"] if isinstance(event, Settled) else cast(str, event.node_id)  # type: ignore[union-attr]
