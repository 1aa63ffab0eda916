"""Control nodes: built-in ones that cost nothing run in the run's own process.

Only those that ``compiler/places.py`` names do, and only with small plain values; a comparison of
large arrays goes to a worker. No author's class ever runs in the run's process.
"""

import os
import time
from concurrent.futures import Future
from typing import Any

import ray

from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.places import CONTROL, VARIABLES, is_control
from rayflow_dagster.errors import NodeExecutionError, RunEndedError
from rayflow_dagster.runner import NodeReply, part_outputs, run_node_class
from rayflow_dagster.timing import leaving
from rayflow_dagster.values.stored import boxed, is_inline
from rayflow_dagster.variables.calls import Calls, seen_by
from rayflow_dagster.variables.store import GlobalVariableStore, WriteTracking

from .answers import Running, fail, fetched, succeed
from .calls import ActorCall
from .serial_thread import SerialThread
from .variables import StoreProxy
from .worker import NoVariables


class ControlNodes:
    """Runs control nodes in this process.

    Variable nodes of a store that is an actor, and those with large values, run on a thread of
    their own, which may wait.
    """

    def __init__(
        self,
        loader: NodeLoader,
        store: GlobalVariableStore | StoreProxy | None,
        running: Running,
    ) -> None:
        self._loader = loader
        self._store: Any = store if store is not None else NoVariables(are_declared=False)
        self._running = running
        self._waits = isinstance(store, StoreProxy)
        self._thread = SerialThread("rayflow-variables")
        self._process = os.getpid(), os.uname().nodename

    def run_if_control(self, call: ActorCall) -> bool:
        """Run it here, if it is a control node with small inputs, or uses variables that are
        nowhere else; False if not.
        """
        spec = call.spec
        path = spec.call.class_path
        if not is_control(path, self._loader) or spec.runs_on != "worker":
            return False
        is_light = all(map(is_inline, call.inputs.values()))
        if not is_light and (self._waits or path not in VARIABLES):
            return False
        if is_light and not (self._waits and path in VARIABLES):
            self._run(call)
        else:
            call.begin()
            self._running.add(call.future)
            if not self._thread.do(lambda: self._run(call)):
                fail(call.future, RunEndedError())
        return True

    def read_variable(self, name: str, calls: Calls) -> "Future[Any]":
        """The value of a variable, as a node sees it that is in these calls."""
        found: Future[Any] = Future()

        def read() -> None:
            try:
                value = seen_by(calls, self._store).get(name)
            except Exception as error:  # there is none, or the store is gone
                fail(found, error)
            else:
                succeed(found, value)

        if not self._waits:
            read()
        elif not self._thread.do(read):
            fail(found, RunEndedError())
        return found

    def end_call(self, key: str) -> None:
        """Forget the variables that a call of a flow had for itself."""
        self._store.end_call(key)

    def close(self) -> None:
        """End the thread, once the store has answered it or is gone."""
        self._thread.close(lambda: None, wait=False)

    def _run(self, call: ActorCall) -> None:
        try:
            reply = self._reply(call)
        except Exception as error:  # a value that Ray cannot take
            fail(call.future, NodeExecutionError(call.node_id, error))
        else:
            succeed(call.future, reply)
        self._running.take(call.future)

    def _reply(self, call: ActorCall) -> NodeReply:
        arrived, spec = time.monotonic(), call.spec
        variables = WriteTracking(seen_by(call.calls, self._store))
        path = spec.call.class_path
        metadata = self._loader.get_node_metadata(path)
        inputs = {name: fetched(value) for name, value in call.inputs.items()}
        reply = run_node_class(CONTROL[path], metadata, spec.call, inputs, variables)
        reply.details["pid"], reply.details["host"] = self._process
        # Only a variable's value can be large; it becomes an object as any node's output.
        for name, value in part_outputs(spec.call, reply, call.store_in).items():
            reply.outputs[name] = ray.put(boxed(value))
        leaving(reply.details, arrived, free=arrived)
        return reply
