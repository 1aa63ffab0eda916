"""Resident nodes as a run uses them: find the node's actor or start it, take a turn, run.

A resident takes no CPU slot, whatever ``ray_options`` say: it is idle most of its life, and an
idle one that held the last slot would keep every other node waiting. GPUs, memory and custom
resources it holds until it ends, as what it keeps there does.
"""

import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import uuid4

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from rayflow_dagster.cluster.feasible import Stranded, look_around, stranded
from rayflow_dagster.cluster.residents import NAMESPACE, PREFIX

from .answers import Running, fail, not_started
from .calls import ActorCall, NodeSpec
from .pool import end
from .remote_class import remote_class
from .resident_actor import LeaseAnswer, ResidentActor
from .worker import WorkerSettings

_MOST_DEATHS = 20
_LOOK_SECONDS = 5.0  # how often one that waits looks whether its actor can stand anywhere
_PAUSE_SECONDS = 0.05  # an actor that ends keeps its name for some milliseconds

Handle = ActorHandle[Any]


@dataclass(slots=True, eq=False)
class _Execution:
    """One execution, from asking for a turn to the answer."""

    call: ActorCall
    ticket: str = field(default_factory=lambda: uuid4().hex)
    handle: Handle | None = None
    is_at_work: bool = False


class ResidentNodes:
    """The resident nodes of one run. ``flow`` and the project's folder tell whose they are."""

    def __init__(
        self, settings: WorkerSettings, store: Handle | None, flow: str, running: Running
    ) -> None:
        self._settings = settings
        self._store = store
        self._flow = flow
        self._running = running
        self._lock = threading.Lock()
        self._executions: set[_Execution] = set()
        self._handles: dict[str, Handle] = {}
        self._closed = threading.Event()

    def run(self, call: ActorCall) -> None:
        """Run it in its turn. Waits on a thread of its own, as long as the run lives."""
        execution = _Execution(call)
        with self._lock:
            self._executions.add(execution)
        name = f"rayflow-{call.node_id}"
        threading.Thread(target=self._serve, args=(execution,), name=name, daemon=True).start()

    def fail_all(self, error: BaseException) -> None:
        """Whatever waits or runs fails with ``error``."""
        for execution in list(self._executions):
            fail(execution.call.future, error)

    def close(self, error: BaseException) -> None:
        """End those residents that work for this run; withdraw from the others."""
        self._closed.set()
        self.fail_all(error)
        with self._lock:
            executions, self._executions = self._executions, set()
        for execution in executions:
            if execution.handle is not None and execution.is_at_work:
                end(execution.handle)
            elif execution.handle is not None:
                execution.handle.withdraw.remote(execution.ticket)

    def _serve(self, execution: _Execution) -> None:
        try:
            handle = self._leased(execution)
        except Exception as error:  # no actor could be had
            self._settled(execution)
            fail(execution.call.future, not_started(execution.call.node_id, error))
            return
        if handle is not None:
            self._work(execution, handle)

    def _leased(self, execution: _Execution) -> Handle | None:
        """The actor, once it is this run's turn on it; None when the run or the call has ended."""
        spec = execution.call.spec
        digest = digest_of(spec)
        deaths = 0
        while not (self._closed.is_set() or execution.call.future.done()):
            handle = execution.handle = self._found(spec, digest)
            try:
                answer = self._asked(handle, execution, digest)
            except RayActorError as error:  # it ended; nothing of this run was on it
                deaths += 1
                if deaths > _MOST_DEATHS or getattr(error, "actor_init_failed", False):
                    raise
                answer = "stale"
            if answer == "granted":
                return handle
            if answer == "stale":
                self._forget(spec, handle)
                self._closed.wait(_PAUSE_SECONDS)
        if execution.handle is not None and not self._closed.is_set():  # it was cut off
            execution.handle.withdraw.remote(execution.ticket)
            self._settled(execution)
        return None

    def _asked(self, handle: Handle, execution: _Execution, digest: str) -> LeaseAnswer:
        lease: Any = handle.lease.remote(execution.ticket, digest, execution.call.spec.ttl)
        stranded_since = Stranded()
        while not ray.wait([lease], timeout=_LOOK_SECONDS)[0]:
            self._check_machines(execution, stranded_since)
        answer: LeaseAnswer = ray.get(lease)
        return answer

    def _check_machines(self, execution: _Execution, stranded_since: Stranded) -> None:
        """Raises ClusterError when the machine that the actor waits for has left for good."""
        call, machines = execution.call, look_around()
        if machines is None:
            return
        if stranded_since.look({call: call.spec.resources}, machines, time.monotonic()):
            if execution.handle is not None:
                execution.handle.withdraw.remote(execution.ticket)
            raise stranded(call.node_id, call.spec.resources, machines)

    def _found(self, spec: NodeSpec, digest: str) -> Handle:
        node_id = spec.call.node_id
        handle = self._handles.get(node_id)
        if handle is None:
            kept = ("num_gpus", "memory", "resources", "runtime_env", "accelerator_type")
            options = {name: spec.ray_options[name] for name in kept if name in spec.ray_options}
            handle = (
                remote_class(ResidentActor)
                .options(
                    **options,
                    num_cpus=0,
                    name=name_of(self._settings.folder, self._flow, node_id),
                    namespace=NAMESPACE,
                    lifetime="detached",
                    get_if_exists=True,
                    max_restarts=0,
                    max_task_retries=0,
                )
                .remote(self._settings, digest, spec.ttl)
            )
            self._handles[node_id] = handle
        return handle

    def _forget(self, spec: NodeSpec, handle: Handle) -> None:
        if self._handles.get(spec.call.node_id) is handle:
            del self._handles[spec.call.node_id]

    def _work(self, execution: _Execution, handle: Handle) -> None:
        call = execution.call

        def then(error: BaseException | None) -> None:
            self._settled(execution)
            if isinstance(error, RayActorError):
                self._forget(call.spec, handle)
            elif error is not None:  # the call may not have come to the actor
                handle.withdraw.remote(execution.ticket)

        with self._lock:
            if execution not in self._executions:  # the run has ended meanwhile
                handle.withdraw.remote(execution.ticket)
                return
            execution.is_at_work = True
        extra = (execution.ticket, self._store, self._settings)

        def end_it() -> None:
            self._forget(call.spec, handle)
            threading.Thread(target=end, args=(handle,), daemon=True).start()

        self._running.send(handle.run, call, *extra, end=end_it, then=then)

    def _settled(self, execution: _Execution) -> None:
        with self._lock:
            self._executions.discard(execution)


def name_of(folder: str | None, flow: str, node_id: str) -> str:
    """The name of the one resident actor of a node of a flow of a project."""
    identity = hashlib.sha256(json.dumps([folder, flow, node_id]).encode()).hexdigest()[:12]
    legible = [re.sub(r"\W+", "-", text)[:40].strip("-") for text in (flow, node_id)]
    return "-".join([PREFIX, *filter(None, legible), identity])


def digest_of(spec: NodeSpec) -> str:
    """What tells whether an actor is what the flow wants now.

    Besides the node it is the version of this package and, on a cluster, the code that was
    shipped to it; an actor looks itself whether source files that it has loaded were changed.
    """
    environment = ray.get_runtime_context().runtime_env
    shipped = {key: environment.get(key) for key in ("working_dir", "py_modules")}
    parts = [spec.call.class_path, spec.call.constants, spec.ray_options]
    told = json.dumps([*parts, shipped, _version()], sort_keys=True, default=repr)
    return hashlib.sha256(told.encode()).hexdigest()


def _version() -> str:
    try:
        return version("rayflow-dagster")
    except PackageNotFoundError:  # run from its source
        return ""
