"""The actors that run nodes: plain classes, made Ray actors by ``ActorManager``."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cloudpickle
from ray.actor import ActorHandle
from tblib import Traceback

from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.registry import NodeRegistry, NodeRoot
from rayflow_dagster.errors import NodeExecutionError, VariableError
from rayflow_dagster.runner import NodeCall, NodeReply, run_node_class
from rayflow_dagster.values import StoredValue, store_value
from rayflow_dagster.variables import WriteTracking

from .capture import captured_output
from .variables import StoreProxy


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker takes over from the run's process.

    ``roots``: where node classes may come from. ``folder``: the project's, if it is on this
    machine. ``environment``: the environment variables; an embedded Ray has those of whoever
    started it first.
    """

    roots: tuple[NodeRoot, ...] = ()
    folder: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class NodeWorker:
    """Runs any node class under the allowed roots, one node at a time."""

    def __init__(self, settings: WorkerSettings, store: ActorHandle | None = None) -> None:
        os.environ.update(settings.environment)
        if settings.folder and os.path.isdir(settings.folder):
            os.chdir(settings.folder)  # so that relative paths mean the project's files
            if settings.folder not in sys.path:
                sys.path.insert(0, settings.folder)
        self._loader = NodeLoader(NodeRegistry.of(settings.roots))
        self._store = StoreProxy(store) if store is not None else _NoVariables()
        self._assigned: NodeCall | None = None

    def ready(self) -> tuple[int, str]:
        """(process id, host): answers once the worker is up."""
        return os.getpid(), os.uname().nodename

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
        reply = self._run(self._assigned, inputs)
        if reply.exception is not None:
            error = sendable_exception(self._assigned.node_id, reply.exception)[0]
            raise NodeExecutionError(self._assigned.node_id, error)
        return reply.outputs

    def run(
        self,
        call: NodeCall,
        output_names: Sequence[str],
        store_in: str | None,
        input_names: Sequence[str],
        *values: Any,
    ) -> Any:
        """Run one node once.

        Args:
            output_names: the outputs to give back, each as an object of its own.
            store_in: a folder to write every output to, or None.
            input_names: the names of ``values``; refs among those have been resolved by Ray.

        Returns:
            (envelope, one value per output name), or the envelope alone where no output is named.
            The envelope is a ``NodeReply`` without values.
        """
        inputs = dict(zip(input_names, map(_opened, values), strict=True))
        reply = self._run(call, inputs)
        outputs = reply.outputs
        if reply.exception is None and store_in is not None:
            reply = _stored(call, reply, store_in)
        if reply.exception is not None:
            reply.exception, reply.details["traceback"] = sendable_exception(
                call.node_id, reply.exception
            )
        envelope = NodeReply({}, reply.exec_fired, reply.exception, reply.details)
        # With num_returns=1 Ray would hand a tuple of one over as it is.
        values = tuple(outputs.get(name) for name in output_names)
        return (envelope, *values) if values else envelope

    def _run(self, call: NodeCall, inputs: Mapping[str, Any]) -> NodeReply:
        variables = WriteTracking(self._store)
        with captured_output() as captured:
            try:
                node_class = self._loader.load_node_class(call.class_path)
                metadata = self._loader.get_node_metadata(call.class_path)
            except ImportError as error:
                return NodeReply(exception=error)
            reply = run_node_class(node_class, metadata, call, inputs, variables)
        reply.details["pid"], reply.details["host"] = self.ready()
        reply.details["stdout"], reply.details["stderr"] = captured.texts()
        if variables.written:
            reply.details["variables"] = cloudpickle.dumps(self._store.snapshot())
        return reply


class _NoVariables:
    """Stands where the flow declares no variables."""

    def __getattr__(self, name: str) -> Any:
        raise VariableError(
            "this flow declares no variables; add the variable to the flow's 'variables'"
        )


def _opened(value: Any) -> Any:
    return value.load() if isinstance(value, StoredValue) else value


def _stored(call: NodeCall, reply: NodeReply, folder: str) -> NodeReply:
    """The reply after every output was written to ``folder``; a failure to write is the node's."""
    try:
        reply.details["stored"] = {
            name: str(store_value(Path(folder), name, value))
            for name, value in reply.outputs.items()
        }
    except Exception as error:  # a value that cannot be pickled, a full disk
        text = f"an output could not be stored: {type(error).__name__}: {error}"
        reply.exception = NodeExecutionError(call.node_id, RuntimeError(text))
        reply.exec_fired = ()
    return reply


def sendable_exception(
    node_id: str, error: BaseException
) -> tuple[BaseException, dict[str, Any] | None]:
    """The exception as it can cross a process boundary, and its traceback as a dict.

    One that does not survive pickling is replaced by a ``NodeExecutionError`` that says the same.
    """
    trace = Traceback(_own_frames(error)).to_dict() if error.__traceback__ else None
    bare = error.with_traceback(None)
    try:
        cloudpickle.loads(cloudpickle.dumps(bare))
    except Exception:  # an author's exception may fail to pickle in any way
        text = f"{type(error).__name__}: {error}"
        return NodeExecutionError(node_id, RuntimeError(text)), trace
    return bare, trace


def _own_frames(error: BaseException) -> Any:
    """The traceback from the author's first frame on: ours above it explain nothing."""
    trace = error.__traceback__
    ours = str(Path(__file__).parent.parent)
    nodes = os.path.join(ours, "nodes")
    while trace is not None and trace.tb_next is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(ours) or file.startswith(nodes):
            break
        trace = trace.tb_next
    return trace
