"""``ActorManager``: runs nodes on worker actors, and keeps an actor for whoever asks for one.

A node that asks for nothing special runs on a worker that it leases for one execution; workers
start as the queue needs them, two at a time at most (starting many at once delays the first), and
never more than the cluster has CPU slots. A node with ``ray_options`` gets an actor of its own,
for one execution; idle workers end where it needs their slots.
"""

import os
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.actor import ActorHandle

from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.errors import ClusterError, NodeExecutionError, describe
from rayflow_dagster.runner import NodeCall, NodeReply
from rayflow_dagster.types import ExecutionGraph
from rayflow_dagster.values import StoredValue

from .answers import START_SECONDS, fail, lost, not_started, opened, reply, requested, succeed
from .cluster import check_feasible, cluster_resources
from .hand import Hand
from .worker import Envelope, NodeWorker, WorkerSettings

MAX_STARTING = 2
# Every failure reaches whoever asked for the node; Ray would print it to the terminal as well.
os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
_ACTOR: Any = ray.remote(NodeWorker)
_OPTIONS: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0}
# Ray's own retries stay off: a node runs again only when its author allowed it.

Handle = ActorHandle[Any]


@dataclass(slots=True)
class _Request:
    """One execution that waits for an actor."""

    spec: "_NodeSpec"
    inputs: dict[str, Any]
    store_in: str | None
    future: "Future[NodeReply]" = field(default_factory=Future)

    @property
    def node_id(self) -> str:
        return self.spec.call.node_id


@dataclass(frozen=True, slots=True)
class _NodeSpec:
    call: NodeCall
    outputs: tuple[str, ...]
    ray_options: Mapping[str, Any]

    @property
    def cpus(self) -> float:
        return float(self.ray_options.get("num_cpus", 1))


@dataclass(slots=True, eq=False)
class _Worker:
    """A live actor that this manager started. ``is_own``: made for one execution of one node."""

    handle: Handle
    cpus: float = 1.0
    is_up: bool = False
    is_own: bool = False


class ActorManager:
    """Creates and manages the Ray actors of one run.

    All that happens to workers and to the queue happens on one thread of the manager, in the
    order in which it was asked for; Ray's own threads must not call Ray back (``ray.kill`` would
    never return there).

    Args:
        node_loader: knows the node classes and the roots they may come from.
        variable_store: the store's handle; None for a flow without variables.
        folder: the project's folder, which relative paths in nodes are meant from.
        slots: how many workers may live at once; by default the cluster's CPUs.
    """

    def __init__(
        self,
        node_loader: NodeLoader,
        variable_store: Handle | None,
        folder: str | None = None,
        slots: int | None = None,
    ) -> None:
        self._loader = node_loader
        self._store = variable_store
        self._settings = WorkerSettings.of_this_process(node_loader.registry.roots, folder)
        self._slots = slots
        self._specs: dict[str, _NodeSpec] = {}
        self._actors: dict[str, Handle] = {}
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._queue: deque[_Request] = deque()
        self._running: set[Future[NodeReply]] = set()
        self._hand = Hand("rayflow-actors")

    def prepare(self, graph: ExecutionGraph) -> None:
        """Tell the manager the nodes of a flow, so that ``dispatch`` can run them.

        Raises:
            ClusterError: a node asks for what the cluster can never give.
        """
        asked = {}
        for node_id, node in graph["nodes"].items():
            call = NodeCall(node_id, node["class_path"], node["constants"])
            options = node.get("ray_options", {})
            outputs = tuple(node["metadata"]["outputs"])
            self._specs[node_id] = _NodeSpec(call, outputs, options)
            if options:
                asked[node_id] = requested(options)
        if asked:
            check_feasible(asked)

    def create_actor(self, node_id: str, class_path: str, constants: Mapping[str, Any]) -> Handle:
        """Create an actor of its own for a node; ``handle.process.remote(**inputs)`` runs it.

        It takes no CPU slot unless the node's ``ray_options`` ask for one, so that a flow may
        have more nodes than the cluster has slots.

        Raises:
            NodeLoadError: the class cannot be loaded.
            ClusterError: the actor can never be started, or was not within a minute.
        """
        metadata = self._loader.get_node_metadata(class_path)
        options = metadata.get("ray_options", {})
        if options:
            check_feasible({node_id: requested({"num_cpus": 0, **options})})
        call = NodeCall(node_id, metadata["path"], dict(constants))
        self._specs[node_id] = _NodeSpec(call, tuple(metadata["outputs"]), options)
        self._end(self._actors.pop(node_id, None))
        actor = self._actors[node_id] = self._new_actor(options)
        try:
            ray.get(actor.assign.remote(node_id, metadata["path"]), timeout=START_SECONDS)
            self._configure_actor(actor, dict(constants))
        except BaseException as error:
            self._end(self._actors.pop(node_id))
            raise not_started(node_id, error) from None
        return actor

    def get_actor(self, node_id: str) -> Handle:
        """The actor that ``create_actor`` made for a node.

        Raises:
            KeyError: it made none.
        """
        return self._actors[node_id]

    def cleanup_actors(self) -> None:
        """End every actor of this manager, for good. What still runs or waits fails."""
        self._hand.close(self._end_all)

    def dispatch(
        self, node_id: str, inputs: dict[str, Any], store_in: str | None = None
    ) -> "Future[NodeReply]":
        """Start one execution of a node; its outputs come back as object refs.

        ``inputs`` are values, object refs or stored values by name; ``store_in`` is a folder that
        the actor writes every output to, or None.
        """
        request = _Request(self._specs[node_id], inputs, store_in)
        if not self._hand.do(lambda: self._take(request)):
            fail(request.future, ClusterError("the run has ended"))
        return request.future

    def fetch(self, values: Mapping[str, Any]) -> "Future[dict[str, Any]]":
        """The values themselves, where ``values`` has object refs or files of stored values."""
        fetched: Future[dict[str, Any]] = Future()
        if not any(isinstance(value, (ray.ObjectRef, StoredValue)) for value in values.values()):
            fetched.set_result(dict(values))
            return fetched

        def fetch() -> None:
            try:
                found = {name: opened(value) for name, value in values.items()}
            except Exception as error:  # the object store lost a value, or its class is not here
                fail(fetched, error)
            else:
                succeed(fetched, found)

        # A thread of its own: opening a value may take long and runs the author's code.
        threading.Thread(target=fetch, name="rayflow-fetch", daemon=True).start()
        return fetched

    # All that follows runs on the manager's thread.

    def _take(self, request: _Request) -> None:
        actor = self._actors.get(request.node_id)
        if actor is not None:
            self._submit(actor, request, None)
            return
        self._queue.append(request)
        self._pump()

    def _pump(self) -> None:
        """Serve the queue; if Ray itself fails us, so does all that waits."""
        try:
            self._serve()
        except Exception as error:
            problem = ClusterError(f"Ray could not be asked for an actor: {describe(error)}")
            while self._queue:
                fail(self._queue.popleft().future, problem)

    def _serve(self) -> None:
        """Serve the queue in order: by idle workers, by own actors, or by starting workers."""
        while self._queue:
            request = self._queue[0]
            if request.future.cancelled():
                self._queue.popleft().future.set_running_or_notify_cancel()
            elif request.spec.ray_options:
                if not self._make_room(request.spec.cpus):
                    return
                self._run_on_own(self._queue.popleft())
            elif self._idle:
                worker = self._idle.pop()
                self._submit(worker.handle, self._queue.popleft(), worker)
            else:
                break
        self._start_workers()

    def _start_workers(self) -> None:
        """Start workers for what waits for one."""
        starting = sum(not (worker.is_up or worker.is_own) for worker in self._workers)
        while starting < min(MAX_STARTING, len(self._queue)) and self._make_room(1):
            worker = _Worker(self._new_actor({"num_cpus": 1}))
            self._workers.append(worker)
            starting += 1
            self._watch(worker)

    def _make_room(self, cpus: float) -> bool:
        """Whether an actor of so many CPUs may start. Ends idle workers for it.

        Even where slots are left: another run on the cluster may hold them and wait for ours.
        """
        if self._slots is None:
            self._slots = max(1, int(cluster_resources().get("CPU", 1)))
        given = 0.0
        while self._idle and given < cpus:
            given += 1
            self._drop(self._idle[-1])
        used = sum(worker.cpus for worker in self._workers)
        return used == 0 or used + cpus <= self._slots

    def _run_on_own(self, request: _Request) -> None:
        try:
            handle = self._new_actor({"num_cpus": 1, **request.spec.ray_options})
        except Exception as error:  # Ray refuses an option
            fail(request.future, NodeExecutionError(request.node_id, error))
            return
        worker = _Worker(handle, request.spec.cpus, is_own=True)
        self._workers.append(worker)
        self._watch(worker)
        self._submit(handle, request, worker)

    def _watch(self, worker: _Worker) -> None:
        """Learn when the worker is up."""
        ready: Future[Any] = worker.handle.ready.remote().future()
        ready.add_done_callback(
            lambda done: self._hand.do(lambda: self._started(worker, done.exception()))
        )

    def _started(self, worker: _Worker, error: BaseException | None) -> None:
        if worker not in self._workers:
            return
        if error is None:
            worker.is_up = True
            if not worker.is_own:
                self._release(worker)
        elif not worker.is_own:  # the answer of an own actor's one execution tells of it
            self._drop(worker)
            # With others at work the queue goes on; to start another at once might fail for ever.
            if not any(other.is_up for other in self._workers):
                if self._queue:
                    request = self._queue.popleft()
                    fail(request.future, not_started(request.node_id, error))
                self._pump()

    def _release(self, worker: _Worker) -> None:
        """A worker has nothing to do any more."""
        if worker.is_own:
            self._drop(worker)
        elif worker in self._workers:
            self._idle.append(worker)
            if not self._queue and any(not w.is_up and w.is_own for w in self._workers):
                self._drop(worker)  # the actor that is starting may wait for this very slot
        self._pump()

    def _drop(self, worker: _Worker) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        if worker in self._workers:
            self._workers.remove(worker)
            self._end(worker.handle)

    def _submit(self, actor: Handle, request: _Request, worker: _Worker | None) -> None:
        """Send one execution to ``actor`` and settle its future when the answer is there."""
        spec = request.spec
        try:
            refs: Any = actor.run.options(num_returns=1 + len(spec.outputs)).remote(
                spec.call, spec.outputs, request.store_in, tuple(request.inputs),
                *request.inputs.values(),
            )  # fmt: skip
        except Exception as error:  # an input that cannot be pickled
            fail(request.future, NodeExecutionError(request.node_id, error))
            if worker is not None:
                self._hand.do(lambda: self._release(worker))
            return
        *outputs, envelope = refs if spec.outputs else [refs]
        self._running.add(request.future)

        def answered(done: "Future[Envelope]") -> None:
            self._hand.do(lambda: self._answered(request, worker, done, outputs))

        envelope.future().add_done_callback(answered)

    def _answered(
        self,
        request: _Request,
        worker: _Worker | None,
        done: "Future[Envelope]",
        outputs: list[Any],
    ) -> None:
        self._running.discard(request.future)
        error = done.exception()
        if worker is not None:
            if isinstance(error, ray.exceptions.RayActorError):
                self._drop(worker)
                self._pump()
            else:
                self._release(worker)
        if error is not None:
            fail(request.future, lost(request.node_id, error))
            return
        refs = dict(zip(request.spec.outputs, outputs, strict=True))
        try:
            answer = reply(request.node_id, done.result(), refs)
        except Exception as problem:  # the author's exception may misbehave in any way
            fail(request.future, NodeExecutionError(request.node_id, problem))
        else:
            succeed(request.future, answer)

    def _end_all(self) -> None:
        handles = [*self._actors.values(), *(worker.handle for worker in self._workers)]
        futures = [*self._running, *(request.future for request in self._queue)]
        self._actors.clear()
        self._workers.clear()
        self._idle.clear()
        self._queue.clear()
        self._running.clear()
        for handle in handles:
            self._end(handle)
        for future in futures:
            fail(future, ClusterError("the run has ended"))

    def _new_actor(self, options: Mapping[str, Any]) -> Handle:
        handle: Handle = _ACTOR.options(**{**options, **_OPTIONS}).remote(
            self._settings, self._store
        )
        return handle

    def _end(self, handle: Handle | None) -> None:
        if handle is not None:
            with suppress(Exception):  # the cluster may be gone, and the actor with it
                ray.kill(handle)

    def _configure_actor(self, actor: Handle, constants: Mapping[str, Any]) -> None:
        """Apply constants to an actor that ``create_actor`` made."""
        ray.get(actor.configure.remote(dict(constants)), timeout=START_SECONDS)
