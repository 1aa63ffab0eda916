"""``NodeExecutor``: gathers a node's inputs, has an actor run it, and says what became of it."""

import asyncio
import os
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from rayflow_dagster.control_node import Wait
from rayflow_dagster.control_nodes import decided, refuse_secrets, waited_for
from rayflow_dagster.errors import (
    InvalidInputsError,
    NodeExecutionError,
    NodeTimeoutError,
    message_of,
    original_of,
    told,
)
from rayflow_dagster.optional import optional
from rayflow_dagster.port_check import check_inline, check_inputs
from rayflow_dagster.runner import NodeReply, previews
from rayflow_dagster.secrets.lookup import shown_error
from rayflow_dagster.secrets.references import Mask, spelled
from rayflow_dagster.timing import times_of
from rayflow_dagster.types import (
    ERROR_PORT,
    EXEC_OUT,
    ErrorValue,
    ExecutionState,
    GraphNode,
    Hear,
    NodeResult,
    RunDetails,
)
from rayflow_dagster.values.stored import is_inline
from rayflow_dagster.variables.calls import Call, Calls

from .computing import all_inputs
from .deadline import Deadline
from .gatherer import DataGatherer
from .inputs import checked_inputs
from .iteration import Iteration, SomeIterations
from .stepping import Done
from .waiting import waited


class Dispatcher(Protocol):
    """The seam to where nodes run: ``ActorManager``, or the in-process fake in ``testing``."""

    def needs_worker(self, node_id: str) -> bool:
        """Whether the node waits for a worker, which others may have."""

    def reserve(self, node_id: str) -> "Future[Any]":
        """Get the worker that the next ``dispatch`` of the node runs on. The future is done when
        it is there, or when there can be none: ``dispatch`` then tells why.
        """

    def asks_for(self, node_id: str) -> str:
        """What the worker of a node asks for, as words, and how much of that there is."""

    def give_back(self, node_id: str) -> None:
        """The worker that was reserved for a node is not needed after all."""

    def wait_until_up(self, seconds: float) -> None:
        """Wait, at most so long, until the first nodes need not wait for a place to run in."""

    def dispatch(
        self,
        node_id: str,
        inputs: dict[str, Any],
        store_in: str | None = None,
        calls: Calls = (),
        until: Deadline | None = None,
        hear: Hear | None = None,
    ) -> "Future[NodeReply]":
        """Start one execution of a node; with ``store_in``, write its outputs to that folder.
        ``calls`` say whose variables it sees. ``hear`` may be told what it says while it runs.

        The future fails only if the place that the node ran in did, or if the node has reached its
        own ``timeout`` or ``until``, at which that place is ended. It can be cancelled while the
        node waits for a worker, and not once it runs.
        """

    def fetch(self, values: Mapping[str, Any]) -> "Future[dict[str, Any]]":
        """The values themselves, where ``values`` has object refs."""

    def keep(self, value: Any) -> Any:
        """Keep a large value of this process where nodes find it: what stands for it."""

    def run_body(
        self,
        node_id: str,
        asked: SomeIterations,
        until: Deadline | None = None,
        hear: Hear | None = None,
    ) -> "Future[list[Iteration]]":
        """Have one worker run iterations of a region's fused body: one at least, in their order;
        ``until`` is as of ``dispatch``. ``hear`` may be told what nodes say while they run, with
        the places where they do.
        """

    def read_variable(self, name: str, calls: Calls) -> "Future[Any]":
        """The value of a variable, as a node sees it that is in these calls."""

    def end_call(self, call: Call) -> None:
        """Forget the variables that a call had for itself."""

    @property
    def width(self) -> int:
        """How many nodes can run at once, as far as is known."""


class NodeExecutor:
    """Executes individual nodes. ``calls`` are the calls of flows that these are in, and ``until``
    the first limit that holds for all of them.
    """

    def __init__(
        self,
        actor_manager: Dispatcher,
        data_gatherer: DataGatherer,
        calls: Calls = (),
        until: Deadline | None = None,
    ) -> None:
        self.actors = actor_manager
        self.calls = calls
        self.until = until
        self.gatherer = data_gatherer
        self._host = os.uname().nodename

    async def execute_node(
        self,
        node_id: str,
        execution_state: ExecutionState,
        store_in: str | None = None,
        hear: Hear | None = None,
    ) -> NodeResult:
        """Run one node once. A node's fault is a result with status ``error``, never raised.

        START gives the flow's inputs that ``StateTracker.cache_output`` was told as its outputs,
        and its defaults. ``store_in`` names a folder that the node's outputs are written to, for
        re-execution. ``hear`` is told what the node says while it runs.
        """
        graph = self.gatherer.graph
        if self.until is not None and self.until.is_over:
            return self._handle_execution_error(node_id, self.until.cut_off())
        if node_id == graph["start_node"]:
            return self._start_values(node_id, execution_state)
        if node_id in graph["return_nodes"]:
            return await self._return_values(node_id, execution_state)
        if graph["nodes"][node_id]["metadata"].get("is_control"):
            return await self._decided(node_id, execution_state)
        try:
            inputs = await self._inputs(node_id, execution_state)
        except Exception as error:  # nothing wired came, or an expression has no value
            # Its traceback would keep what the expression read alive.
            return self._handle_execution_error(node_id, error.with_traceback(None))
        try:
            asked, answered = time.monotonic(), list[float]()
            sent = self.actors.dispatch(node_id, inputs, store_in, self.calls, self.until, hear)
            sent.add_done_callback(lambda _: answered.append(time.monotonic()))
            del inputs  # a failure's traceback would keep the objects alive
            reply = await Done(sent)
        except Exception as error:  # its actor died or was ended, or Ray lost it
            failed = self._handle_execution_error(node_id, error)
            failed["details"] = details = RunDetails()
            late = original_of(error)
            if isinstance(late, NodeTimeoutError) and late.seconds is not None:
                details["seconds"] = late.seconds
            with optional("previewing the inputs of a node whose worker died"):
                details["input_previews"] = _shown(await self._inputs(node_id, execution_state))
            return failed
        if reply.exception is not None:
            result = self._handle_execution_error(node_id, reply.exception)
        else:
            result = success_result(node_id, reply.outputs, list(reply.exec_fired))
        result["details"] = details = reply.details
        times = times_of(details, asked, answered[0], self._host)
        if times is not None:
            details["times"] = times
        return result

    async def _inputs(self, node_id: str, execution_state: ExecutionState) -> dict[str, Any]:
        return await all_inputs(self.gatherer, self.actors.fetch, node_id, execution_state)

    def _start_values(self, node_id: str, execution_state: ExecutionState) -> NodeResult:
        """Run START: the flow's inputs, checked, are its outputs."""
        cache = execution_state["data_cache"].items()
        given = {name: value for (source, name), value in cache if source == node_id}
        try:
            values = checked_inputs(self.gatherer.graph, given)
        except InvalidInputsError as error:
            return self._handle_execution_error(node_id, error)
        return success_result(node_id, values, [EXEC_OUT])

    async def _return_values(self, node_id: str, execution_state: ExecutionState) -> NodeResult:
        """Run a RETURN node: its inputs, as values, are the flow's result. One that ends a body
        opens none: whoever runs the body takes what leaves it.
        """
        try:
            inputs = await self._inputs(node_id, execution_state)
            kinds = self.gatherer.graph["nodes"][node_id]["metadata"]["inputs"]
            if "kept" in self.gatherer.graph:
                check_inline(node_id, kinds, inputs)
                return success_result(node_id, inputs, [])
            asked = time.monotonic()
            result = await Done(self.actors.fetch(inputs))
            check_inputs(node_id, kinds, result)
        except Exception as error:  # nothing wired came, or the object store lost a value
            return self._handle_execution_error(node_id, error)
        returned = success_result(node_id, {"result": spelled(result)}, [])
        returned["details"] = {"times": {"loading": time.monotonic() - asked}}
        return returned

    async def _decided(self, node_id: str, execution_state: ExecutionState) -> NodeResult:
        """Run a control node: what fires follows from its inputs, as values."""
        node = self.gatherer.graph["nodes"][node_id]
        inputs: dict[str, Any] = {}
        try:
            inputs = await self._inputs(node_id, execution_state)
            inputs = await Done(self.actors.fetch(inputs))
            refuse_secrets(inputs)
            wait = waited_for(node, inputs)
            if wait is not None:
                await self._wait(node, wait)
            return success_result(node_id, {}, decided(node, inputs))
        except Exception as error:  # as above, or the node itself fails
            failed = self._handle_execution_error(node_id, error)
        failed["details"] = {"input_previews": previews(inputs, Mask())}
        return failed

    async def _wait(self, node: GraphNode, wait: Wait) -> None:
        """Wait as a control node does.

        Raises:
            Exception: it has failed meanwhile, or a limit of it or of what it is in is over.
        """
        own = Deadline.of_node(node["id"], node.get("timeout"))
        limits = [each for each in (own, self.until) if each is not None]
        try:
            await waited(wait, lambda name: self.actors.read_variable(name, self.calls), limits)
            if self.until is not None and self.until.is_over:
                raise self.until.cut_off()
            if own is not None and own.is_over:
                raise own.exceeded()
        finally:
            if own is not None:
                own.close()

    async def execute_nodes_parallel(
        self, node_ids: list[str], execution_state: ExecutionState
    ) -> list[NodeResult]:
        """Run several nodes at the same time; results in the order of ``node_ids``."""
        runs = (self.execute_node(node_id, execution_state) for node_id in node_ids)
        return list(await asyncio.gather(*runs))

    def _handle_execution_error(self, node_id: str, error: BaseException) -> NodeResult:
        """The result of a node that failed with ``error``."""
        return error_result(node_id, error)


def _shown(inputs: Mapping[str, Any]) -> dict[str, str]:
    """A text of each input, as far as it is known without opening it."""
    inline = {name: value for name, value in inputs.items() if is_inline(value)}
    texts = previews(inline, Mask())
    return {name: texts.get(name, "(a large value)") for name in inputs}


def success_result(node_id: str, outputs: dict[str, Any], fired: list[str]) -> NodeResult:
    """The result of a node that ran."""
    return {
        "node_id": node_id,
        "status": "success",
        "outputs": outputs,
        "error": None,
        "exec_next": fired[0] if len(fired) == 1 else None,
        "exec_fired": fired,
    }


def error_result(node_id: str, error: BaseException) -> NodeResult:
    """The result of a node that failed. Whatever the error says, it can be written."""
    error = shown_error(error, Mask())
    return {
        "node_id": node_id,
        "status": "error",
        "outputs": {},
        "error": told(error),
        "exec_next": None,
        "exec_fired": [],
        "exception": error,
    }


def error_value(node_id: str, error: BaseException) -> ErrorValue:
    """A node's error as data; of an error in a region's body, ``node_id`` is the node there."""
    original = original_of(error)
    if isinstance(error, NodeExecutionError) and error.where:
        node_id = error.node_id
    return {
        "type": type(original).__name__,
        "message": message_of(original),
        "node_id": node_id,
    }


def handled_result(
    result: NodeResult, error: BaseException, declared: Mapping[str, Any]
) -> NodeResult:
    """A failure, of this error, as the success of a node whose ``error`` output is wired.

    ``declared``: the outputs of the node's class. One that the class itself calls ``error`` is
    absent like the others; but a group that failed has outputs.
    """
    node_id = result["node_id"]
    outputs = {} if ERROR_PORT in declared else {ERROR_PORT: error_value(node_id, error)}
    outputs |= result["outputs"]
    handled = success_result(node_id, outputs, [ERROR_PORT, *result.get("exec_fired", ())])
    handled["handled"] = error
    if "details" in result:
        handled["details"] = result["details"]
    return handled
