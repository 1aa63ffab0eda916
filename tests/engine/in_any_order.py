"""Runs nodes in this process, one at a time, in an order drawn at random."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from random import Random
from typing import Any

from rayflow_dagster.engine.deadline import Deadline
from rayflow_dagster.engine.planner import awaited_sources
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.runner import NodeReply
from rayflow_dagster.testing import InProcessActors
from rayflow_dagster.types import Hear
from rayflow_dagster.variables.calls import Calls


class AnyOrderActors(InProcessActors):
    """Nodes that are started together finish in an order that ``rng`` decides."""

    def __init__(self, orchestrator: FlowOrchestrator, rng: Random) -> None:
        assert orchestrator.graph is not None
        super().__init__(orchestrator, orchestrator.graph)
        self._rng = rng
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.dispatched: list[str] = []
        self._orchestrator = orchestrator

    def dispatch(
        self,
        node_id: str,
        inputs: dict[str, Any],
        store_in: str | None = None,
        calls: Calls = (),
        until: Deadline | None = None,  # noqa: ARG002 - no flow here has a limit
        hear: Hear | None = None,  # noqa: ARG002 - all comes with the reply
    ) -> "Future[NodeReply]":
        assert self._orchestrator.state_tracker is not None
        assert self._orchestrator.graph is not None
        states = self._orchestrator.state_tracker.get_state()["node_states"]
        for source in awaited_sources(self._orchestrator.graph)[node_id]:
            assert states[source]["result"] is not None, f"{node_id} ran before {source}"
        self.dispatched.append(node_id)
        return self._later(lambda: self._run(node_id, inputs, store_in, calls))

    def fetch(self, values: Mapping[str, Any]) -> "Future[dict[str, Any]]":
        return self._later(lambda: dict(values))

    def _later(self, work: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # there is no queue for a worker here
        self._waiting.append((future, work))
        self._after(self._rng.randint(0, 6))
        return future

    def _after(self, turns: int) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(self._after, turns - 1) if turns else loop.call_soon(self._finish_one)

    def _finish_one(self) -> None:
        future, work = self._waiting.pop(self._rng.randrange(len(self._waiting)))
        future.set_result(work())
