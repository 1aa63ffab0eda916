"""For tests: run nodes without Ray.

``run_node_locally`` runs one node class as an actor would; ``InProcessActors`` stands in for
``ActorManager``, so that whole flows run in this process in milliseconds::

    outputs = run_node_locally(WordCountNode, text="a b c")
    orchestrator = FlowOrchestrator(connect=in_process)

Values cross as they would to an actor: a node gets copies, with read-only arrays, and what cannot
be pickled is no output.
"""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .compiler.places import is_of_run
from .engine.deadline import Deadline
from .engine.fused import Here
from .engine.iteration import Iteration, SomeIterations
from .errors import NodeExecutionError
from .metadata import inspect_class
from .node import RayflowNode
from .orchestrator import FlowOrchestrator
from .runner import NodeCall, NodeReply, opened_here, run_apart, run_node_class
from .timing import leaving
from .types import EXEC_NEXT, EXEC_OUT, ExecutionGraph, Hear, every_node, variables_of_calls
from .values.crossing import Sent, crossed
from .variables.calls import Call, Calls, seen_by
from .variables.store import GlobalVariableStore, WriteTracking


def run_node_locally(
    node_class: type[RayflowNode],
    /,
    *,
    constants: Mapping[str, Any] | None = None,
    variables: Mapping[str, Any] | GlobalVariableStore | None = None,
    **inputs: Any,
) -> dict[str, Any]:
    """Run a node class once in this process and return its outputs.

    Args:
        node_class: the class, by itself.
        constants: overrides of the class's constants.
        variables: declarations or plain values of the flow's variables, or a store to share.
        inputs: the node's inputs; declared defaults stand in for those left out.

    Returns:
        The outputs by name, and ``exec_next`` for a node that names its exec outputs.

    Raises:
        TypeError: an input is unknown, missing or mistyped.
        Exception: whatever ``process`` raises; ``OutputError`` if what it returned does not fit,
            ``RuntimeError`` if it cannot be sent to another process.
    """
    metadata = inspect_class(node_class)
    given = {**metadata.get("defaults", {}), **inputs}
    wrong = sorted(set(given) ^ set(metadata["inputs"]))
    if wrong and "**" not in _signature(node_class):
        names = ", ".join(wrong)
        raise TypeError(f"{node_class.__name__}: unknown or missing inputs: {names}")
    store = variables if isinstance(variables, GlobalVariableStore) else None
    store = store or GlobalVariableStore(variables if isinstance(variables, Mapping) else {})
    declared = {name: spec["value"] for name, spec in metadata["constants"].items()}
    call = NodeCall("local", metadata["path"], declared | dict(constants or {}))
    written = WriteTracking(store)
    reply = run_apart(
        call, given, lambda own: run_node_class(node_class, metadata, call, own, written)
    )
    if reply.exception is not None:
        error = reply.exception
        is_plain = isinstance(error, NodeExecutionError) and type(error) is NodeExecutionError
        raise error.original_error if is_plain else error  # type: ignore[attr-defined]
    outputs = {name: opened_here(value) for name, value in reply.outputs.items()}
    if metadata.get("exec_outputs") not in ((), (EXEC_OUT,)):
        fired = reply.exec_fired
        outputs[EXEC_NEXT] = fired[0] if len(fired) == 1 else list(fired)
    return outputs


def _signature(node_class: type[RayflowNode]) -> str:
    import inspect

    return str(inspect.signature(node_class.process))


class InProcessActors:
    """Runs nodes on threads of this process: the fake of the one seam, ``ActorManager``.

    ``workers``: how many nodes run at the same time.
    """

    def __init__(
        self, orchestrator: FlowOrchestrator, graph: ExecutionGraph, workers: int = 4
    ) -> None:
        self._loader = orchestrator.node_loader
        self._nodes = every_node(graph)
        self.store = GlobalVariableStore(
            graph.get("variables", {}), orchestrator.variables_snapshot, variables_of_calls(graph)
        )
        self._free = self.width = workers
        self._closed = False
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, int, Future[Any]]] = []
        """(minus the node's priority, which in a row, what is done when a thread is free)."""
        self._numbers = itertools.count()
        self._reserved: dict[str, Future[Any]] = {}
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="rayflow-node")

    def wait_until_up(self, seconds: float) -> None:
        """Nothing has to come up."""

    def needs_worker(self, node_id: str) -> bool:
        """Every node needs one of the threads, but for START, RETURN and control nodes."""
        node = self._nodes[node_id]
        return not is_of_run(node["class_path"], node["metadata"])

    def reserve(self, node_id: str) -> "Future[Any]":
        """One of the threads, for the next ``dispatch`` of the node."""
        self._reserved[node_id] = self._wait_for_one(node_id)
        return self._reserved[node_id]

    def _wait_for_one(self, node_id: str) -> "Future[Any]":
        waiting: Future[Any] = Future()
        priority = self._nodes[node_id].get("priority", 0)
        with self._lock:
            heapq.heappush(self._waiting, (-priority, next(self._numbers), waiting))
        self._hand_out()
        return waiting

    def asks_for(self, node_id: str) -> str:  # noqa: ARG002 - the seam's
        """One of the threads."""
        return f"one of {self.width} threads"

    def give_back(self, node_id: str) -> None:
        """The thread is not needed after all."""
        reserved = self._reserved.pop(node_id, None)
        if reserved is not None and not reserved.cancel():
            self._freed()

    def dispatch(
        self,
        node_id: str,
        inputs: dict[str, Any],
        store_in: str | None = None,
        calls: Calls = (),
        until: Deadline | None = None,
        hear: Hear | None = None,  # noqa: ARG002 - all comes with the reply
    ) -> "Future[NodeReply]":
        """A thread cannot be ended: at a limit the call fails, and its thread goes on unheard."""
        if self._closed:
            raise RuntimeError("cannot run a node after shutdown")
        waiting = self._reserved.pop(node_id, None) or self._wait_for_one(node_id)
        running = _Running(node_id, self._freed, until)
        given = node_id, inputs, store_in, calls
        seconds = self._nodes[node_id].get("timeout")
        waiting.add_done_callback(lambda _: running.begin(self._threads, seconds, self._run, given))
        return running.future

    def _freed(self) -> None:
        with self._lock:
            self._free += 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Give free threads to those that wait for one."""
        while True:
            with self._lock:
                if not (self._free and self._waiting):
                    return
                *_, reserved = heapq.heappop(self._waiting)
                if not reserved.set_running_or_notify_cancel():
                    continue
                self._free -= 1
            reserved.set_result(None)

    def run_body(
        self,
        node_id: str,
        asked: SomeIterations,
        until: Deadline | None = None,
        hear: Hear | None = None,  # noqa: ARG002 - as of `dispatch`
    ) -> "Future[list[Iteration]]":
        """Run iterations on one of the threads."""
        running = _Running(node_id, self._freed, until)
        given = node_id, asked
        self._wait_for_one(node_id).add_done_callback(
            lambda _: running.begin(self._threads, None, self._run_body, given)
        )
        return running.future

    def _run_body(self, node_id: str, asked: SomeIterations) -> list[Iteration]:
        region = self._nodes[node_id]
        here = Here(region["body"], lambda node, *given: self._run(node["id"], *given))
        seen = {name: opened_here(value) for name, value in asked.seen.items()}
        return here.iterations(region, asked._replace(seen=seen))

    def fetch(self, values: Mapping[str, Any]) -> "Future[dict[str, Any]]":
        return self._threads.submit(lambda: {k: opened_here(value) for k, value in values.items()})

    def read_variable(self, name: str, calls: Calls) -> "Future[Any]":
        found: Future[Any] = Future()
        try:
            found.set_result(crossed(seen_by(calls, self.store).get(name)))
        except Exception as error:  # there is none
            found.set_exception(error)
        return found

    def end_call(self, call: Call) -> None:
        self.store.end_call(call.key)

    def keep(self, value: Any) -> Any:
        """The value as one that nodes get copies of."""
        return Sent.of(value)

    def cleanup_actors(self) -> None:
        """End the threads; running nodes finish first, and none that waits starts."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _run(
        self, node_id: str, inputs: dict[str, Any], store_in: str | None, calls: Calls
    ) -> NodeReply:
        arrived = time.monotonic()
        node = self._nodes[node_id]
        call = NodeCall(node_id, node["class_path"], node["constants"])
        node_class = self._loader.load_node_class(node["class_path"])
        metadata = self._loader.get_node_metadata(node["class_path"])
        variables = WriteTracking(seen_by(calls, self.store))
        reply = run_apart(
            call,
            inputs,
            lambda own: run_node_class(node_class, metadata, call, own, variables),
            store_in,
        )
        leaving(reply.details, arrived, free=arrived)
        return reply


class _Running:
    """One execution on a thread. ``freed`` is called once when its place is free again."""

    def __init__(self, node_id: str, freed: Callable[[], None], until: Deadline | None) -> None:
        self.future: Future[Any] = Future()
        self._node_id = node_id
        self._freed = freed
        self._lock = threading.Lock()
        self._is_over = self._has_begun = self._is_limited = False
        if until is not None:
            self._cut(until, until.cut_off)

    def begin(
        self,
        threads: ThreadPoolExecutor,
        seconds: float | None,
        work: Callable[..., Any],
        given: tuple[Any, ...],
    ) -> None:
        """Begin the work, which may take so long. What can be cut off has a thread of its own,
        which nobody waits for.
        """
        with self._lock:
            self._is_over = self._is_over or not self.future.set_running_or_notify_cancel()
            self._has_begun = not self._is_over
        if not self._has_begun:
            self._freed()
            return
        limit = Deadline.of_node(self._node_id, seconds)
        if limit is not None:
            self._cut(limit, limit.exceeded)
            self.future.add_done_callback(lambda _: limit.close())
        if self._is_limited:
            threading.Thread(target=self._do, args=(work, given), daemon=True).start()
        else:
            threads.submit(self._do, work, given)

    def _do(self, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
        try:
            result = work(*given)
        except BaseException as error:
            failed: BaseException = error
            self._settle(lambda: self.future.set_exception(failed))
        else:
            self._settle(lambda: self.future.set_result(result))

    def _cut(self, limit: Deadline, why: Callable[[], BaseException]) -> None:
        def cut() -> None:
            error = NodeExecutionError(self._node_id, why())
            self._settle(lambda: self.future.set_exception(error))

        self._is_limited = True
        limit.hold(self.future, cut)

    def _settle(self, settle: Callable[[], None]) -> None:
        """Settle the future, unless it is: its place is free first."""
        with self._lock:
            if self._is_over or self.future.cancelled():
                return
            self._is_over = True
        if self._has_begun:
            self._freed()
        settle()


def in_process(orchestrator: FlowOrchestrator) -> InProcessActors:
    """For ``FlowOrchestrator(connect=in_process)``."""
    if orchestrator.graph is None:
        raise ValueError("load a flow before connecting")
    return InProcessActors(orchestrator, orchestrator.graph)
