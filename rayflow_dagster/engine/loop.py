"""``FlowLoop``: a graph and its machine in, its nodes run as the machine says out."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from rayflow_dagster.types import WAIT_CLASS, ExecutionGraph, ExecutionState, NodeResult

from .coroutines import Coroutines
from .deadline import Deadline
from .executor import Dispatcher, error_result
from .iteration import Progress
from .machine import (
    Begun,
    Drop,
    Dropped,
    Due,
    End,
    Event,
    FlowMachine,
    Interrupted,
    Keep,
    Outcome,
    Settled,
    Skip,
    Start,
    Wait,
)
from .readers import Readers
from .tracker import StateTracker


class RunNode(Protocol):
    """Runs one node once: ``NodeRunner.run_node``."""

    def __call__(
        self,
        node_id: str,
        state: ExecutionState,
        *,
        attempt: int,
        start_inputs: Mapping[str, Any] | None,
        progress: Progress | None,
        store_in: str | None,
    ) -> Coroutine[Any, Any, NodeResult]:
        """The coroutine that runs the node."""


@dataclass(slots=True)
class FlowLoop:
    """One run of one graph: a flow, or one iteration of a region's body.

    Args:
        settled: called with every node's result as it settles, with all its outputs.
        folders: node id -> the folder that its large outputs are stored in.
        until: when the run is interrupted.
    """

    graph: ExecutionGraph
    machine: FlowMachine
    tracker: StateTracker
    run_node: RunNode
    actors: Dispatcher
    settled: Callable[[NodeResult], None]
    folders: Mapping[str, str] = field(default_factory=dict)
    until: Deadline | None = None
    _start_inputs: Mapping[str, Any] = field(init=False, default_factory=dict)
    _nodes: Coroutines[str, NodeResult] = field(init=False)
    _readers: Readers = field(init=False)
    _regions: dict[str, Progress] = field(init=False, default_factory=dict)
    _outcome: Outcome = field(init=False, default="interrupted")

    async def run(self, start_inputs: Mapping[str, Any]) -> Outcome:
        """Run the graph to its end; how it ended."""
        self._start_inputs = start_inputs
        self._readers = Readers(self.graph)
        self._nodes = Coroutines(lambda _, result: self._tell(Settled(result)), error_result)
        watch = self.until.watch if self.until is not None else _never
        forget = watch(partial(self._nodes.soon, partial(self._tell, Interrupted())))
        try:
            self._tell(Begun())
            await self._nodes.finish()
        finally:
            forget()
            self._nodes.close()
        return self._outcome

    def _tell(self, event: Event) -> None:
        """Tell the machine of an event, and do what follows."""
        for instruction in self.machine.handle(event):
            match instruction:
                case Start(node_id, attempt):
                    self._start(node_id, attempt)
                case Keep(result) | Skip(result):
                    self._note(result)
                case Wait(node_id, seconds):
                    self._nodes.start_later(node_id, seconds, partial(self._tell, Due(node_id)))
                case Drop(node_id):
                    self._drop(node_id)
                case End(outcome):
                    self._outcome = outcome

    def _start(self, node_id: str, attempt: int) -> None:
        state = self.tracker.get_state()
        progress = None
        if "body" in self.graph["nodes"][node_id]:
            progress = self._regions.setdefault(node_id, Progress())
        run = self.run_node(
            node_id,
            state,
            attempt=attempt,
            start_inputs=self._start_inputs,
            progress=progress,
            store_in=self.folders.get(node_id),
        )
        self._nodes.start(node_id, run)

    def _drop(self, node_id: str) -> None:
        """Give up a node that waits to be tried again; one that waits for a worker, or for what it
        is there to wait for, when what was started beside it has been stepped.
        """

        def drop() -> None:
            waits = self.graph["nodes"][node_id]["class_path"] == WAIT_CLASS
            if (waits or self.actors.needs_worker(node_id)) and self._nodes.drop(node_id):
                self._tell(Dropped(node_id))

        if self._nodes.drop_later(node_id):
            self._tell(Dropped(node_id))
        else:
            self._nodes.after_due(drop)

    def _note(self, result: NodeResult) -> None:
        """Tell of a node that has settled, and let go of what nobody reads any more."""
        self.settled(result)
        self.tracker.release(self._readers.settled(result["node_id"]))


def _never(_: Callable[[], None]) -> Callable[[], None]:
    """Stands for the ``watch`` of a limit where there is none."""
    return lambda: None
