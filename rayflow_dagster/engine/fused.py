"""Fused bodies: some iterations in, what they came to out, all run in one place by one call.

What a worker does of a region: the same loop over the same graph, whose nodes run right there, one
after another, instead of each on a worker of its own.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from rayflow_dagster.runner import NodeReply, opened_here
from rayflow_dagster.types import ExecutionGraph, GraphNode, Hear, every_node
from rayflow_dagster.variables.calls import Call, Calls

from .deadline import Deadline
from .iteration import AGAIN, Iteration, SomeIterations, ends_loop, given_to, place_of
from .node_runner import NodeRunner
from .stepping import steps

T = TypeVar("T")
RunHere = Callable[[GraphNode, dict[str, Any], str | None, Calls], NodeReply]
"""Runs one node once, of its inputs; stores its large outputs in a folder, if one is named. The
calls of flows say whose variables it sees.
"""


class Here:
    """A ``Dispatcher`` that runs nodes where it is asked to."""

    width = 1

    def __init__(self, graph: ExecutionGraph, run: RunHere) -> None:
        self._nodes = every_node(graph)
        self._run = run
        self._runners: dict[str, NodeRunner] = {}
        self.places: list[str] = []
        """What the iterations are called that run now, each in the one before."""

    def needs_worker(self, node_id: str) -> bool:  # noqa: ARG002 - the protocol's
        return False

    def reserve(self, node_id: str) -> "Future[Any]":  # noqa: ARG002 - the protocol's
        return _done(None)

    def asks_for(self, node_id: str) -> str:  # noqa: ARG002 - the protocol's
        return ""

    def give_back(self, node_id: str) -> None:
        """None was got."""

    def wait_until_up(self, seconds: float) -> None:
        """It is."""

    def dispatch(
        self,
        node_id: str,
        inputs: dict[str, Any],
        store_in: str | None = None,
        calls: Calls = (),
        until: Deadline | None = None,  # noqa: ARG002 - what runs here has none of its own
        hear: Hear | None = None,  # noqa: ARG002 - what runs here is over soon
    ) -> "Future[NodeReply]":
        return _done(self._run(self._nodes[node_id], inputs, store_in, calls))

    def read_variable(self, name: str, calls: Calls) -> "Future[Any]":
        """A body that waits for a variable is not fused."""
        raise NotImplementedError(name)

    def end_call(self, call: Call) -> None:
        """A call with variables of its own is not fused."""

    def fetch(self, values: Mapping[str, Any]) -> "Future[dict[str, Any]]":
        return _done(dict(values))

    def keep(self, value: Any) -> Any:
        return value

    def run_body(
        self,
        node_id: str,
        asked: SomeIterations,
        until: Deadline | None = None,  # noqa: ARG002 - as of `dispatch`
        hear: Hear | None = None,  # noqa: ARG002 - as of `dispatch`
    ) -> "Future[list[Iteration]]":
        """A region within the body."""
        return _done(self.iterations(self._nodes[node_id], asked))

    def iterations(self, region: GraphNode, asked: SomeIterations) -> list[Iteration]:
        """Run iterations of a region one after another, until one ends the loop or time is up."""
        body, spec = self._runner(region).within(asked.calls, None), region["region"]
        until = time.monotonic() + asked.seconds
        carried, found = dict(asked.carried), list[Iteration]()
        while True:
            index = asked.first + len(found)
            item = None if asked.items is None else asked.items[len(found)]
            given = given_to(spec, {**asked.seen, **carried}, index, item)
            folders = None if asked.store_in is None else f"{asked.store_in}.{index}"
            self.places.append(place_of(spec, index))
            iteration = _driven(body.iterate(spec, given, self.places[-1], folders))
            self.places.pop()
            if AGAIN in iteration.inner:
                iteration.inner[AGAIN] = bool(opened_here(iteration.inner[AGAIN]))
            found.append(iteration)
            carried |= iteration.handed_on
            is_last = asked.items is not None and len(found) == len(asked.items)
            if is_last or ends_loop(spec, index, iteration) or time.monotonic() >= until:
                return found

    def _runner(self, region: GraphNode) -> NodeRunner:
        if region["id"] not in self._runners:
            self._runners[region["id"]] = NodeRunner.of_body(region["body"], self)
        return self._runners[region["id"]]


def _driven(coroutine: Any) -> Any:
    """What a coroutine comes to, on this thread alone."""
    stepping = steps(coroutine)
    while True:
        try:
            future = next(stepping)
        except StopIteration as ended:
            return ended.value
        future.exception()  # waits; the coroutine hears of a failure itself


def _done(value: T) -> "Future[T]":
    future: Future[T] = Future()
    future.set_result(value)
    return future
