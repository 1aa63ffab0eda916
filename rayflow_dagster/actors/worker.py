"""The actors that run nodes: plain classes, made Ray actors by ``ActorManager``."""

import asyncio
import inspect
import itertools
import math
import os
import pickle
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

import ray
from ray.actor import ActorHandle

from rayflow_dagster.cluster.leftovers import adopt_orphans
from rayflow_dagster.cluster.project_here import found_here
from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.registry import NodeRegistry, NodeRoot
from rayflow_dagster.errors import NodeExecutionError, NodeTimeoutError, VariableError
from rayflow_dagster.node import RayflowNode
from rayflow_dagster.runner import (
    NodeCall,
    NodeReply,
    await_node_class,
    part_outputs,
    run_apart,
    run_node_class,
)
from rayflow_dagster.timing import leaving
from rayflow_dagster.types import GraphNode, NodeMetadata, RunDetails
from rayflow_dagster.values.stored import StoredValue, boxed, opened
from rayflow_dagster.variables.calls import Calls, seen_by
from rayflow_dagster.variables.store import WriteTracking

from .bodies import FusedBody
from .capture import Captured, captured_output
from .death import LoopAlarm, note_exits
from .live import Speech
from .sending import SentError, receive, send
from .variables import StoreProxy


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker takes over from the run's process.

    ``folder`` is the project's. ``environment`` are the variables of the process on ``host``; a
    worker on the same machine takes them over, because those of an embedded Ray are of whoever
    happened to start it. ``has_variables``: whether the flow declares any.
    """

    roots: tuple[NodeRoot, ...] = ()
    folder: str | None = None
    host: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    has_variables: bool = False

    @classmethod
    def of_this_process(
        cls, roots: tuple[NodeRoot, ...], folder: str | None, *, has_variables: bool = False
    ) -> "WorkerSettings":
        """With this process's environment, but for what Ray keeps in it for itself."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return cls(roots, folder, os.uname().nodename, own, has_variables)

    def apply(self) -> None:
        """Take over the environment, on the same machine."""
        if self.is_here:
            os.environ.update(self.environment)

    @property
    def is_here(self) -> bool:
        """Whether the run's process is on this machine."""
        return self.host == os.uname().nodename


class Job(NamedTuple):
    """What a worker is told of a node; pickled once, sent with every execution, known by then."""

    call: NodeCall
    outputs: tuple[str, ...]

    def packed(self) -> bytes:
        return pickle.dumps(tuple(self), protocol=5)


class CallData(NamedTuple):
    """What one execution brings besides its object refs, which are arguments of their own.

    ``store_in`` is where outputs are written to, or None; ``values`` are inputs by name;
    ``ref_names`` are the inputs that the refs stand for; ``calls`` are the calls of flows that it
    is in; ``heard`` is the key under which what the node says on the way is heard, if it is;
    ``arrived`` is when it came.
    """

    store_in: str | None
    values: Mapping[str, Any]
    ref_names: tuple[str, ...]
    calls: Calls = ()
    limit: "Limit | None" = None
    heard: bytes = b""
    arrived: float = 0.0

    def packed(self) -> bytes:
        """As bytes, which Ray passes on as they are; for small plain values alone."""
        return pickle.dumps(tuple(self), protocol=5)

    @classmethod
    def unpacked(cls, sent: "CallData | bytes") -> "CallData":
        data = cls(*pickle.loads(sent)) if isinstance(sent, bytes) else sent
        return data._replace(arrived=time.monotonic())


class Limit(NamedTuple):
    """What a node may take on an actor that others use as well: so many ``seconds`` from when it
    begins, and ``until`` this time, in seconds since 1970.
    """

    seconds: float | None
    until: float | None

    @property
    def left(self) -> float:
        """Seconds that a node may take that begins now."""
        around = math.inf if self.until is None else max(0.0, self.until - time.time())
        return around if self.seconds is None else min(self.seconds, around)


class Envelope(NamedTuple):
    """A reply with its small values; the others travel beside it.

    ``error`` is as sent; ``handed_on`` names outputs that are an input, whose ref stands for them.
    """

    outputs: dict[str, Any]
    exec_fired: tuple[str, ...]
    details: RunDetails
    error: SentError | None = None
    handed_on: Mapping[str, str] = {}

    def packed(self) -> bytes:
        return pickle.dumps(tuple(self), protocol=5)

    @classmethod
    def unpacked(cls, sent: bytes) -> "Envelope":
        return cls(*pickle.loads(sent))


IN_ENVELOPE = b""
"""Stands in the place of an output that the envelope has or tells of."""


class KnownJob(NamedTuple):
    """A job whose class is loaded."""

    call: NodeCall
    outputs: tuple[str, ...]
    node_class: type[RayflowNode]
    metadata: NodeMetadata


class NodeHost:
    """What all actors that run nodes share: the project's code, the jobs they know, replies."""

    def __init__(self, settings: WorkerSettings, store: "ActorHandle[Any] | None" = None) -> None:
        note_exits()
        adopt_orphans()
        folder, roots = found_here(settings.folder, settings.roots, settings.host)
        settings.apply()
        self._environment = settings.environment if settings.is_here else None
        self._folder = folder if folder and os.path.isdir(folder) else None
        if self._folder and self._folder not in sys.path:
            sys.path.insert(0, self._folder)
        self._loader = NodeLoader(NodeRegistry.of(roots))
        self._has_variables = settings.has_variables
        self._store = self._variables(store)
        self._known: dict[bytes, KnownJob] = {}
        self._alarm = LoopAlarm()
        self._speech = Speech()
        self._free = time.monotonic()

    def ready(self) -> str:
        """Answers once the worker is up: Ray's id of the machine that it runs on."""
        return str(ray.get_runtime_context().get_node_id())

    def _variables(self, store: "ActorHandle[Any] | None") -> Any:
        return StoreProxy(store) if store is not None else NoVariables(self._has_variables)

    def _job(self, packed: bytes) -> KnownJob:
        """The job, its class loaded.

        Raises:
            NodeLoadError: the class cannot be loaded.
        """
        known = self._known.get(packed)
        if known is None:
            known = self._known[packed] = self._loaded(*Job(*pickle.loads(packed)))
        return known

    def _loaded(self, call: NodeCall, outputs: tuple[str, ...]) -> KnownJob:
        node_class = self._loader.load_node_class(call.class_path)
        metadata = self._loader.get_node_metadata(call.class_path)
        return KnownJob(call, outputs, node_class, metadata)

    def _run_node(self, packed: bytes, data: CallData, refs: tuple[Any, ...]) -> Any:
        """Run the node once on this thread; returns what ``_answer`` does."""
        apart: dict[str, Any] = {}
        reply = NodeReply()
        with (
            captured_output(descriptors=True) as captured,
            self._speech.of(data.heard, captured, reply),
        ):
            try:
                job = self._job(packed)
                inputs = opened_inputs(data, refs)
                run_node_class(*self._arguments(job, inputs, data.calls, reply))
            except Exception as error:  # its class cannot be loaded, or a stored input opened
                reply = NodeReply(exception=error)
            else:
                apart = part_outputs(job.call, reply, data.store_in)
        return self._answer(packed, data, reply, apart, captured)

    async def _await_node(self, packed: bytes, data: CallData, refs: tuple[Any, ...]) -> Any:
        """As ``_run_node``, on an event loop that neither imports nor files hold up."""
        running = NodeReply()
        with captured_output() as captured, self._speech.of(data.heard, captured, running):
            reply, apart = await self._awaited_reply(packed, data, refs, running)
        return self._answer(packed, data, reply, apart, captured)

    async def _awaited_reply(
        self, packed: bytes, data: CallData, refs: tuple[Any, ...], reply: NodeReply
    ) -> tuple[NodeReply, dict[str, Any]]:
        """The reply, within the limit of the call. A node that is over it is cancelled, and not
        waited for.
        """
        if data.limit is None:
            return await self._reply(packed, data, refs, reply)
        seconds = data.limit.left
        running = asyncio.ensure_future(self._reply(packed, data, refs, reply))
        with self._alarm.set(seconds):
            await asyncio.wait([running], timeout=seconds)
        if running.done():
            return running.result()
        running.cancel()
        node_id = Job(*pickle.loads(packed)).call.node_id
        error = NodeTimeoutError(f"node '{node_id}'", data.limit.seconds or seconds)
        return NodeReply(exception=error), {}

    async def _reply(
        self, packed: bytes, data: CallData, refs: tuple[Any, ...], reply: NodeReply
    ) -> tuple[NodeReply, dict[str, Any]]:
        """The reply, and those of its outputs that do not travel inline."""
        apart: dict[str, Any] = {}
        try:
            if packed not in self._known:
                await asyncio.to_thread(self._job, packed)
            job = self._known[packed]
            inputs = await _opened_apart(data, refs)
            arguments = self._arguments(job, inputs, data.calls, reply)
            if inspect.iscoroutinefunction(job.node_class.process):
                await await_node_class(*arguments)
            else:  # only its source looked async, and what blocks must not block the loop
                await asyncio.to_thread(run_node_class, *arguments)
        except Exception as error:  # its class cannot be loaded, or a stored input opened
            reply = NodeReply(exception=error)
        else:
            if data.store_in is None:
                apart = part_outputs(job.call, reply)
            else:
                apart = await asyncio.to_thread(part_outputs, job.call, reply, data.store_in)
        return reply, apart

    def _arguments(
        self,
        job: KnownJob,
        inputs: Mapping[str, Any],
        calls: Calls = (),
        reply: NodeReply | None = None,
    ) -> tuple[Any, ...]:
        """What ``run_node_class`` takes. Relative paths now mean the project's files."""
        if self._folder:
            os.chdir(self._folder)
        variables = WriteTracking(seen_by(calls, self._store))
        make = self._maker(job)
        return make, job.metadata, job.call, inputs, variables, self._environment, reply

    def _maker(self, job: KnownJob) -> Callable[[], RayflowNode]:
        """What gives the node's object: a new one for each execution."""
        return job.node_class

    def _answer(
        self,
        packed: bytes,
        data: CallData,
        reply: NodeReply,
        apart: Mapping[str, Any],
        captured: Captured,
    ) -> Any:
        """(one value per output name, envelope), or the envelope alone where no output is named.

        The envelope comes last: where a value before it cannot be pickled, the envelope's ref has
        that error. With num_returns=1 Ray would hand a tuple of one over as it is.
        """
        details = reply.details
        self._tell_where(reply, captured)
        error = None
        if reply.exception is not None:
            reply.outputs, error = {}, send(reply.exception)
        same = {
            name: port
            for name, port in reply.handed_on.items()
            if name in apart and port in data.ref_names
        }
        self._free = leaving(details, data.arrived, self._free)
        envelope = Envelope(reply.outputs, reply.exec_fired, details, error, same).packed()
        known = self._known.get(packed)
        names = known.outputs if known else Job(*pickle.loads(packed)).outputs
        apart = {name: boxed(value) for name, value in apart.items() if name not in same}
        beside = (apart.get(name, IN_ENVELOPE) for name in names)
        return (*beside, envelope) if names else envelope

    @staticmethod
    def _tell_where(reply: NodeReply, captured: Captured) -> None:
        """Note where a node ran, and what it printed."""
        details = reply.details
        details["pid"], details["host"] = os.getpid(), os.uname().nodename
        out, err = map(reply.mask.hide, captured.texts())
        if out:
            details["stdout"] = out
        if err:
            details["stderr"] = err


class NodeWorker(NodeHost):
    """Runs any node class under the allowed roots, one node at a time."""

    def __init__(self, settings: WorkerSettings, store: "ActorHandle[Any] | None" = None) -> None:
        super().__init__(settings, store)
        self._assigned: NodeCall | None = None
        self._bodies: dict[bytes, FusedBody] = {}
        self._body: tuple[FusedBody, bytes] | None = None
        """The one that runs, and the key under which it is heard."""

    def assign(self, node_id: str, class_path: str) -> None:
        """Make this the actor of one node, for ``process``.

        Raises:
            NodeLoadError: the class cannot be loaded.
        """
        self._loader.load_node_class(class_path)
        self._assigned = NodeCall(node_id, class_path)

    def configure(self, constants: Mapping[str, Any]) -> None:
        """Set the constants of the assigned node."""
        if self._assigned is not None:
            self._assigned = replace(self._assigned, constants=dict(constants))

    def process(self, **inputs: Any) -> dict[str, Any]:
        """Run the assigned node and return its outputs.

        Raises:
            NodeExecutionError: the node failed, or none was assigned.
        """
        if self._assigned is None:
            raise NodeExecutionError("?", RuntimeError("the actor has no node assigned"))
        node_id = self._assigned.node_id
        with captured_output(descriptors=True):
            reply = run_node_class(*self._arguments(self._loaded(self._assigned, ()), inputs))
        if reply.exception is not None:
            raise NodeExecutionError(node_id, receive(node_id, send(reply.exception)))
        return reply.outputs

    def run(self, packed: bytes, data: CallData | bytes, *refs: Any) -> Any:
        """Run one node once, as the ``Job`` in ``packed`` says; or iterations of a fused body.

        ``refs`` are the values that Ray resolved. Small outputs come in the envelope, the others
        each as an object of its own, in its place among the returned ones.

        Returns:
            (one value per output, ``IN_ENVELOPE`` for those in it and for an input that is handed
            on; the packed envelope), or the envelope alone where the node has no outputs.
        """
        if packed not in self._known and packed not in self._bodies:
            told = pickle.loads(packed)
            if isinstance(told, dict):
                self._bodies[packed] = FusedBody(cast(GraphNode, told), self._run_in_body)
        if packed in self._bodies:
            return self._run_body(packed, CallData.unpacked(data), refs)
        return self._run_node(packed, CallData.unpacked(data), refs)

    def _run_body(self, packed: bytes, data: CallData, refs: tuple[Any, ...]) -> bytes:
        """Run iterations of a body; their envelope."""
        reply = NodeReply()
        body = self._bodies[packed]
        self._body, self._numbers = (body, data.heard), itertools.count()
        try:
            reply.outputs = body.run(opened_inputs(data, refs))
        except Exception as error:  # a stored input cannot be opened, or a value not be sent
            reply.exception = error
        sent = None if reply.exception is None else send(reply.exception)
        self._free = leaving(reply.details, data.arrived, self._free)
        return Envelope(reply.outputs, (), reply.details, sent).packed()

    def _run_in_body(
        self, node: GraphNode, inputs: dict[str, Any], store_in: str | None, calls: Calls
    ) -> NodeReply:
        """Run one node of a body, as far from the others as on an actor of its own."""
        assert self._body is not None
        body, heard = self._body
        place, key = body.place, b""
        if heard and place is not None:
            key = heard + b"%d" % next(self._numbers)
        running = NodeReply()
        with (
            captured_output(descriptors=True) as captured,
            self._speech.of(key, captured, running, (place or "", node["id"])) as speaking,
        ):
            try:
                job = self._body_job(node)
                reply = run_apart(
                    job.call,
                    inputs,
                    lambda own: run_node_class(*self._arguments(job, own, calls, running)),
                    store_in,
                )
            except Exception as error:  # its class cannot be loaded, or an input not be read
                reply = NodeReply(exception=error)
        self._tell_where(reply, captured)
        speaking.sent.trim(reply.details)
        return reply

    def _body_job(self, node: GraphNode) -> KnownJob:
        key = node["id"].encode()
        known = self._known.get(key)
        if known is None or known.call.class_path != node["class_path"]:
            call = NodeCall(node["id"], node["class_path"], node["constants"])
            known = self._known[key] = self._loaded(call, ())
        return known


class AsyncNodeWorker(NodeHost):
    """Runs ``async`` nodes, all on one event loop, any number at once."""

    async def run(self, packed: bytes, data: CallData | bytes, *refs: Any) -> Any:
        """As ``NodeWorker.run``; waits, imports and files do not hold the other nodes up."""
        return await self._await_node(packed, CallData.unpacked(data), refs)


class NoVariables:
    """Stands where a node cannot reach variables, and says why."""

    def __init__(self, are_declared: bool) -> None:
        self._are_declared = are_declared

    def __getattr__(self, name: str) -> Any:
        if self._are_declared:
            raise VariableError(
                "no module of this node's project mentions 'variables', so that the run keeps "
                "them where only its variable nodes reach them; write `self.variables` in the "
                "module of the node that uses them"
            )
        raise VariableError(
            "this flow declares no variables; add the variable to the flow's 'variables'"
        )


def opened_inputs(data: CallData, refs: tuple[Any, ...]) -> dict[str, Any]:
    """Every input by name, with stored and boxed values opened.

    Raises:
        OSError: the file of one is gone.
    """
    inputs = dict(data.values) | dict(zip(data.ref_names, refs, strict=True))
    return {name: opened(value) for name, value in inputs.items()}


async def _opened_apart(data: CallData, refs: tuple[Any, ...]) -> dict[str, Any]:
    if any(isinstance(value, StoredValue) for value in data.values.values()):
        return await asyncio.to_thread(opened_inputs, data, refs)
    return opened_inputs(data, refs)
