"""``ActorManager``: runs nodes on worker actors, and keeps an actor for whoever asks for one.

A node that asks for nothing special runs on a worker that it leases for one execution; workers
start as the queue needs them, two at a time at most (starting many at once delays the first), and
never more than the cluster has CPU slots. A node with ``ray_options`` gets an actor of its own.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.actor import ActorHandle
from tblib import Traceback

from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.errors import ClusterError, NodeExecutionError, NodeLoadError
from rayflow_dagster.runner import NodeCall, NodeReply
from rayflow_dagster.types import ExecutionGraph
from rayflow_dagster.values import StoredValue

from .cluster import check_feasible, cluster_resources
from .worker import NodeWorker, WorkerSettings

MAX_STARTING = 2
_OPTIONS: Mapping[str, Any] = {"max_restarts": 0, "max_task_retries": 0}
# Ray's own retries stay off: a node runs again only when its author allowed it.


@dataclass(slots=True)
class _Request:
    """One execution that waits for a worker."""

    call: NodeCall
    inputs: dict[str, Any]
    outputs: tuple[str, ...]
    store_in: str | None
    future: "Future[NodeReply]" = field(default_factory=Future)


@dataclass(slots=True)
class _NodeSpec:
    call: NodeCall
    outputs: tuple[str, ...]
    ray_options: Mapping[str, Any]


class ActorManager:
    """Creates and manages the Ray actors of one run.

    Args:
        node_loader: knows the node classes and the roots they may come from.
        variable_store: the store's handle; None for a flow without variables.
        folder: the project's folder, which relative paths in nodes are meant from.
        slots: how many workers may live at once; by default the cluster's CPUs.
    """

    def __init__(
        self,
        node_loader: NodeLoader,
        variable_store: ActorHandle | None,
        folder: str | None = None,
        slots: int | None = None,
    ) -> None:
        self._loader = node_loader
        self._store = variable_store
        self._settings = WorkerSettings(node_loader.registry.roots, folder, _environment())
        self._slots = slots
        self._specs: dict[str, _NodeSpec] = {}
        self._actors: dict[str, ActorHandle] = {}
        self._idle: list[ActorHandle] = []
        self._workers: list[ActorHandle] = []
        self._starting = 0
        self._queue: deque[_Request] = deque()
        self._lock = threading.RLock()

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
                asked[node_id] = options
        if asked:
            check_feasible(asked)

    def create_actor(
        self, node_id: str, class_path: str, constants: Mapping[str, Any]
    ) -> ActorHandle:
        """Create an actor of its own for a node; ``handle.process.remote(**inputs)`` runs it.

        Raises:
            NodeLoadError: the class cannot be loaded.
            ClusterError: the actor could not be started.
        """
        metadata = self._loader.get_node_metadata(class_path)
        call = NodeCall(node_id, metadata["path"], dict(constants))
        options = metadata.get("ray_options", {})
        self._specs[node_id] = _NodeSpec(call, tuple(metadata["outputs"]), options)
        actor = self._new_actor({"num_cpus": 1, **options})
        try:
            ray.get(actor.assign.remote(node_id, metadata["path"]))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayActorError as error:
            raise ClusterError(f"the actor of node '{node_id}' could not start: {error}") from None
        self._configure_actor(actor, dict(constants))
        self._actors[node_id] = actor
        return actor

    def get_actor(self, node_id: str) -> ActorHandle:
        """The actor that ``create_actor`` made for a node.

        Raises:
            KeyError: it made none.
        """
        return self._actors[node_id]

    def cleanup_actors(self) -> None:
        """End every actor of this manager. What still runs or waits fails."""
        with self._lock:
            actors = [*self._actors.values(), *self._workers]
            waiting = list(self._queue)
            self._actors.clear()
            self._workers.clear()
            self._idle.clear()
            self._queue.clear()
        for actor in actors:
            ray.kill(actor)
        for request in waiting:
            request.future.set_exception(ClusterError("the run has ended"))

    def dispatch(
        self, node_id: str, inputs: dict[str, Any], store_in: str | None = None
    ) -> "Future[NodeReply]":
        """Start one execution of a node; its outputs come back as object refs.

        Args:
            store_in: a folder that the actor writes every output to, or None.
        """
        spec = self._specs[node_id]
        request = _Request(spec.call, inputs, spec.outputs, store_in)
        if node_id in self._actors:
            self._submit(self._actors[node_id], request, lambda: None)
        elif spec.ray_options:
            actor = self._new_actor({"num_cpus": 1, **spec.ray_options})
            self._submit(actor, request, lambda: ray.kill(actor))
        else:
            with self._lock:
                self._queue.append(request)
            self._pump()
        return request.future

    def fetch(self, values: Mapping[str, Any]) -> "Future[dict[str, Any]]":
        """The values themselves, where ``values`` has object refs or files of stored values."""
        return _all_of({name: _opening(value) for name, value in values.items()})

    def _pump(self) -> None:
        """Give waiting requests to idle workers, and start workers for the rest."""
        with self._lock:
            while self._queue and self._idle:
                worker = self._idle.pop()
                request = self._queue.popleft()
                self._submit(worker, request, lambda worker=worker: self._release(worker))
            wanted = len(self._queue) - self._starting
            while wanted > 0 and self._starting < MAX_STARTING and self._has_slot():
                self._start_worker()
                wanted -= 1

    def _has_slot(self) -> bool:
        if self._slots is None:
            self._slots = max(1, int(cluster_resources().get("CPU", 1)))
        return len(self._workers) < self._slots

    def _start_worker(self) -> None:
        worker = self._new_actor({"num_cpus": 1})
        self._workers.append(worker)
        self._starting += 1
        worker.ready.remote().future().add_done_callback(
            lambda done: self._started(worker, done.exception())
        )

    def _started(self, worker: ActorHandle, error: BaseException | None) -> None:
        with self._lock:
            self._starting -= 1
            if error is None and worker in self._workers:
                self._idle.append(worker)
            elif worker in self._workers:
                self._workers.remove(worker)
                if not self._workers and self._queue:
                    request = self._queue.popleft()
                    problem = ClusterError(f"a worker could not be started: {error}")
                    request.future.set_exception(problem)
        self._pump()

    def _release(self, worker: ActorHandle) -> None:
        with self._lock:
            if worker in self._workers:
                self._idle.append(worker)
        self._pump()

    def _discard(self, worker: ActorHandle) -> None:
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)

    def _submit(
        self, actor: ActorHandle, request: _Request, finished: Callable[[], None]
    ) -> None:
        """Send one execution to ``actor`` and settle its future when the answer is there."""
        refs = actor.run.options(num_returns=1 + len(request.outputs)).remote(
            request.call,
            request.outputs,
            request.store_in,
            tuple(request.inputs),
            *request.inputs.values(),
        )
        envelope, *outputs = refs if request.outputs else [refs]

        def answered(done: "Future[NodeReply]") -> None:
            if request.future.cancelled():
                finished()
                return
            error = done.exception()
            if error is not None:
                self._discard(actor)
                request.future.set_exception(_lost(request.call.node_id, error))
            else:
                named = dict(zip(request.outputs, outputs, strict=True))
                request.future.set_result(_with_refs(done.result(), named))
            finished()

        envelope.future().add_done_callback(answered)

    def _new_actor(self, options: Mapping[str, Any]) -> ActorHandle:
        actor_class = ray.remote(NodeWorker)
        return actor_class.options(**_OPTIONS, **options).remote(self._settings, self._store)

    def _configure_actor(self, actor: ActorHandle, constants: Mapping[str, Any]) -> None:
        """Apply constants to an actor that ``create_actor`` made."""
        ray.get(actor.configure.remote(dict(constants)))


def _environment() -> dict[str, str]:
    """This process's environment, without what Ray keeps in it for itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def _with_refs(envelope: NodeReply, refs: dict[str, Any]) -> NodeReply:
    """The reply with its outputs as object refs and its exception's traceback in place."""
    trace = envelope.details.pop("traceback", None)
    if envelope.exception is not None:
        if trace is not None:
            envelope.exception.__traceback__ = Traceback.from_dict(trace).as_traceback()
        return envelope
    envelope.outputs = refs
    return envelope


def _lost(node_id: str, error: BaseException) -> NodeExecutionError:
    """What to say when the actor itself is gone."""
    if isinstance(error, ray.exceptions.RayTaskError):
        return NodeExecutionError(node_id, error.cause)
    if isinstance(error, ray.exceptions.RayActorError):
        text = "its actor died while it ran (killed, out of memory, or a crash in native code)"
        return NodeExecutionError(node_id, RuntimeError(f"{text}: {error}"))
    return NodeExecutionError(node_id, error)


def _opening(value: Any) -> "Future[Any]":
    if isinstance(value, ray.ObjectRef):
        opened: Future[Any] = value.future()
        return opened
    settled: Future[Any] = Future()
    try:
        settled.set_result(value.load() if isinstance(value, StoredValue) else value)
    except Exception as error:  # the file is gone or does not unpickle: whoever waits is told
        settled.set_exception(error)
    return settled


def _all_of(futures: Mapping[str, "Future[Any]"]) -> "Future[dict[str, Any]]":
    """A future of every result by name; of the first error, if there is one."""
    everything: Future[dict[str, Any]] = Future()
    lock, left = threading.Lock(), len(futures)
    if not left:
        everything.set_result({})

    def one_done(_: "Future[Any]") -> None:
        nonlocal left
        with lock:
            left -= 1
            if left:
                return
        try:
            everything.set_result({name: future.result() for name, future in futures.items()})
        except Exception as error:
            everything.set_exception(error)

    for future in futures.values():
        future.add_done_callback(one_done)
    return everything
