"""The actors that run nodes: plain classes, made Ray actors by ``ActorManager``."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ray.actor import ActorHandle

from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.registry import NodeRegistry, NodeRoot
from rayflow_dagster.errors import NodeExecutionError, VariableError, describe
from rayflow_dagster.runner import NodeCall, NodeReply, run_node_class
from rayflow_dagster.values import StoredValue, store_value
from rayflow_dagster.variables import WriteTracking

from .capture import captured_output
from .sending import SentError, receive, send
from .variables import StoreProxy


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker takes over from the run's process.

    ``folder`` is the project's. ``environment`` are the variables of the process on ``host``; a
    worker on the same machine takes them over, because those of an embedded Ray are of whoever
    happened to start it.
    """

    roots: tuple[NodeRoot, ...] = ()
    folder: str | None = None
    host: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_this_process(cls, roots: tuple[NodeRoot, ...], folder: str | None) -> "WorkerSettings":
        """With this process's environment, but for what Ray keeps in it for itself."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return cls(roots, folder, os.uname().nodename, own)

    def apply(self) -> None:
        """Take over the environment, on the same machine."""
        if self.host == os.uname().nodename:
            os.environ.update(self.environment)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A reply without its values, which travel beside it, and with its exception as sent."""

    reply: NodeReply
    error: SentError | None = None


class NodeWorker:
    """Runs any node class under the allowed roots, one node at a time."""

    def __init__(self, settings: WorkerSettings, store: "ActorHandle[Any] | None" = None) -> None:
        settings.apply()
        folder = settings.folder
        self._folder = folder if folder and os.path.isdir(folder) else None
        if self._folder and self._folder not in sys.path:
            sys.path.insert(0, self._folder)
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
        node_id = self._assigned.node_id
        reply = self._run(self._assigned, inputs)
        if reply.exception is not None:
            error = receive(node_id, send(reply.exception))
            raise NodeExecutionError(node_id, error)
        return reply.outputs

    def run(
        self,
        call: NodeCall,
        output_names: Sequence[str],
        store_in: str | None,
        input_names: Sequence[str],
        *values: Any,
    ) -> Any:
        """Run one node once, as ``call`` says.

        ``output_names`` are the outputs to give back, each as an object of its own; ``store_in``
        is a folder to write every output to, or None; ``input_names`` are the names of
        ``values``, where refs have been resolved by Ray.

        Returns:
            (one value per output name, envelope), or the envelope alone where no output is named.
        """
        inputs = dict(zip(input_names, map(_opened, values), strict=True))
        reply = self._run(call, inputs)
        if reply.exception is None and store_in is not None:
            reply = _stored(call, reply, store_in)
        outputs = {} if reply.exception is not None else reply.outputs
        error = send(reply.exception) if reply.exception is not None else None
        envelope = Envelope(NodeReply({}, reply.exec_fired, None, reply.details), error)
        # The envelope comes last: where a value before it cannot be pickled, the envelope's ref
        # has that error. With num_returns=1 Ray would hand a tuple of one over as it is.
        given = tuple(outputs.get(name) for name in output_names)
        return (*given, envelope) if given else envelope

    def _run(self, call: NodeCall, inputs: Mapping[str, Any]) -> NodeReply:
        if self._folder:
            os.chdir(self._folder)  # relative paths mean the project's files, for every node
        variables = WriteTracking(self._store)
        with captured_output() as captured:
            try:
                node_class = self._loader.load_node_class(call.class_path)
                metadata = self._loader.get_node_metadata(call.class_path)
                reply = run_node_class(node_class, metadata, call, inputs, variables)
            except ImportError as error:
                reply = NodeReply(exception=error)
        reply.details["pid"], reply.details["host"] = self.ready()
        reply.details["stdout"], reply.details["stderr"] = captured.texts()
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
        text = f"an output could not be stored: {describe(error)}"
        reply.exception = NodeExecutionError(call.node_id, RuntimeError(text))
        reply.exec_fired = ()
    return reply
