"""``FlowOrchestrator``: runs a flow. ``execute_flow`` is all of it, ``run_node`` one node.

The Dagster ops call ``run_node`` too, so that a flow means the same in both.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .compiler.graph import GraphBuilder
from .compiler.loader import NodeLoader
from .compiler.resolved import ResolvedFlow
from .compiler.validator import FlowValidator
from .engine.deadline import Deadline
from .engine.error_handler import ErrorHandler
from .engine.executor import Dispatcher, NodeExecutor
from .engine.gatherer import DataGatherer
from .engine.heard import HearNode
from .engine.inputs import checked_inputs
from .engine.iteration import Progress
from .engine.loop import FlowLoop
from .engine.machine import FlowMachine, Outcome
from .engine.node_runner import NodeRunner
from .engine.planner import ExecutionPlanner
from .engine.stepping import stepped
from .engine.tracker import StateTracker
from .errors import (
    FlowFailedError,
    NodeTimeoutError,
    RayflowError,
    TimeIsOverError,
    describe,
    original_of,
)
from .optional import optional
from .project import Project
from .types import (
    UNHEARD,
    ExecutionGraph,
    ExecutionInputs,
    ExecutionState,
    FlowData,
    NodeResult,
    OnTheWay,
    RunDetails,
)
from .variables.store import Snapshot, kept_declarations, unpickled

if TYPE_CHECKING:
    from .actors.variables import VariableStoreManager
    from .cluster.connection import RaySettings
    from .variables.kept import KeptVariables, RunVariables

Connect = Callable[["FlowOrchestrator"], Dispatcher]
"""Makes the dispatcher of a run; the in-process fake of ``testing`` is one."""

ACTOR_SECONDS = 2.0
"""How long the first nodes are held back until an actor is there; longer on a full cluster only."""
_AT_WORK = (
    "this FlowOrchestrator runs a flow already; make one of its own for each flow that runs at the "
    "same time"
)

Listener = Callable[[NodeResult], None]


class FlowOrchestrator:
    """Coordinates all modules for one flow at a time.

    Args:
        project: the project whose nodes flows may use; by default the one around the working
            folder.
        ray_settings: which cluster to use; by default ``RAY_ADDRESS``, else the embedded Ray.
        connect: what to run nodes on instead of Ray actors (see ``testing.in_process``).
        on_settled: called with every node's result as it settles.
        on_said: called with a node's id and what it logs and prints, while ``execute_flow`` runs
            it: as ``logs``, ``stdout`` and ``stderr``. Its result then has the rest.
        kept_variables: where this flow's variables of ``"scope": "flow"`` are kept. Without it,
            they live for one run as all others do.
    """

    def __init__(
        self,
        project: Project | None = None,
        ray_settings: "RaySettings | None" = None,
        connect: Connect | None = None,
        on_settled: Listener | None = None,
        kept_variables: "KeptVariables | None" = None,
        on_said: HearNode | None = None,
    ) -> None:
        self.project = project if project is not None else Project.around(Path.cwd())
        self.validator: FlowValidator = self.project.validator()
        self.node_loader: NodeLoader = self.validator.node_loader
        self.graph_builder: GraphBuilder | None = None
        self.actor_manager: Dispatcher | None = None
        self.execution_planner: ExecutionPlanner | None = None
        self.data_gatherer: DataGatherer | None = None
        self.node_executor: NodeExecutor | None = None
        self.state_tracker: StateTracker | None = None
        self.error_handler = ErrorHandler()
        self.machine: FlowMachine | None = None
        self.graph: ExecutionGraph | None = None
        self.variables_snapshot: Snapshot | None = None
        self.variables_name: str | None = None
        self.flow_name = ""
        self._ray_settings = ray_settings
        self._connect: Connect = connect or _connect_to_ray
        self._on_settled: Listener = on_settled or (lambda _: None)
        self._on_said = on_said
        self._kept_variables = kept_variables
        self._run_variables: RunVariables | None = None
        self._runner: NodeRunner | None = None
        self._problem: RayflowError | None = None
        self._one_flow = threading.Lock()
        self.deadline: Deadline | None = None
        """The limit of the run, where the flow has a ``timeout``; it begins once the run is
        connected.
        """

    @cached_property
    def variable_manager(self) -> "VariableStoreManager":
        """Has the store of the run's variables, once it is an actor."""
        from .actors.variables import VariableStoreManager  # imports ray: not to validate

        return VariableStoreManager(self.variables_name)

    @property
    def ray_settings(self) -> "RaySettings | None":
        """Which cluster the flow runs on; None for the default."""
        return self._ray_settings

    async def execute_flow(self, flow_data: FlowData, inputs: ExecutionInputs) -> dict[str, Any]:
        """Run a flow and return what came of it. Raises for no fault of flow, inputs or node.

        Args:
            flow_data: a flow in any spelling.
            inputs: values for what START declares.

        Returns:
            ``{"success": bool, "result": dict, "error": str | None, "execution_time": seconds,
            "nodes_executed": int}``. ``result`` holds the inputs of the RETURN that was reached.
            One flow runs at a time; while it does, another one is refused in ``error``.
        """
        if not self._one_flow.acquire(blocking=False):
            return _outcome(time.perf_counter(), {}, _AT_WORK, 0)
        try:
            return await self._execute(flow_data, inputs)
        finally:
            self._one_flow.release()

    async def _execute(self, flow_data: FlowData, inputs: ExecutionInputs) -> dict[str, Any]:
        started = time.perf_counter()
        result: dict[str, Any] = {}
        error: str | None = None
        try:
            self.state_tracker = None
            self.load(flow_data)
            values = checked_inputs(self._require_graph(), inputs)
            self._begin_variables()
            await self._connect_apart()
            outcome = await self._loop(values)
            result, error = outcome["result"], outcome["error"]
        except RayflowError as problem:
            error = str(problem)
        except Exception as problem:  # a fault of ours or of Ray's: the caller is told all the same
            error = describe(problem)
        finally:
            self._finalize()
        executed = self.state_tracker.count_run() if self.state_tracker else 0
        return _outcome(started, result, error, executed)

    def load(self, flow_data: FlowData) -> ExecutionGraph:
        """Validate and compile a flow, and set up the modules that decide. Starts no actor.

        Raises:
            ValidationError: with every finding.
        """
        flow = self.validator.require_valid(flow_data)
        self.flow_name = str(flow_data.get("name") or "")
        self.graph_builder = GraphBuilder(_metadata_of(flow))
        self.use_graph(self.graph_builder.compile(flow))
        return self._require_graph()

    def use_graph(self, graph: ExecutionGraph) -> None:
        """Set up the modules that decide, for a graph that is compiled already."""
        self.graph = graph
        self.state_tracker = StateTracker(graph)
        self.execution_planner = ExecutionPlanner(graph)
        self.data_gatherer = DataGatherer(graph)
        self.error_handler = ErrorHandler(graph.get("on_error", "stop"))
        self.machine = FlowMachine(
            graph, self.execution_planner, self.state_tracker, self.error_handler
        )

    def connect(self) -> None:
        """Start what nodes run on: the variable store and the actors.

        Raises:
            ClusterError: the cluster cannot be reached, or can never run what a node asks for.
        """
        if self.data_gatherer is None or self.execution_planner is None:
            raise RayflowError("load a flow before connecting")
        graph = self._require_graph()
        self.actor_manager = self._connect(self)
        self.deadline = Deadline(graph["timeout"], "the flow") if "timeout" in graph else None
        self.node_executor = NodeExecutor(
            self.actor_manager, self.data_gatherer, until=self.deadline
        )
        self._runner = NodeRunner(graph, self.execution_planner, self.node_executor)

    async def _connect_apart(self) -> None:
        """``connect`` on another thread, as the event loop goes on while Ray starts."""
        connecting = asyncio.ensure_future(asyncio.to_thread(self._connect_and_wait))
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            await asyncio.wait([connecting])  # so that what it starts is ended with the run
            raise

    def _connect_and_wait(self) -> None:
        """``connect``, and wait until the first node finds a worker: else what is ready beside a
        RETURN would be left out where no other run was before.
        """
        self.connect()
        self._require_runner().actors.wait_until_up(ACTOR_SECONDS)

    def _begin_variables(self) -> None:
        """Read the variables that are kept between runs."""
        if self._run_variables is not None:
            self._run_variables = self.variables_snapshot = None  # of the flow before
        declared = kept_declarations(self._require_graph().get("variables", {}))
        if declared and self._kept_variables is not None:
            from .variables.kept import RunVariables

            run_id = f"direct-{uuid.uuid4()}"
            self._run_variables = RunVariables(self._kept_variables, run_id, declared)
            self.variables_snapshot = self._run_variables.read()

    def _settled(self, result: NodeResult) -> None:
        snapshot = result.get("details", {}).get("variables")
        if self._run_variables is not None and snapshot is not None:
            self._run_variables.note(unpickled(snapshot))
        with optional("telling a listener of a settled node"):
            self._on_settled(result)

    def _initialize(self, flow_data: FlowData) -> bool:
        """Validate, compile and connect. False if the flow cannot run; then ``_execution_loop``
        says why.
        """
        self._problem = None
        self.state_tracker = None
        try:
            self.load(flow_data)
            self._begin_variables()
            self.connect()
        except RayflowError as problem:
            self._problem = problem
            return False
        return True

    async def run_node(
        self,
        node_id: str,
        state: ExecutionState,
        *,
        attempt: int = 0,
        start_inputs: Mapping[str, Any] | None = None,
        store_in: str | None = None,
        on_the_way: OnTheWay = UNHEARD,
        progress: Progress | None = None,
    ) -> NodeResult:
        """Run one node once: the one definition of it, for the loop and for Dagster's ops.

        Args:
            node_id: the node; START and RETURN run here, all others on an actor.
            state: has the outputs that the node reads in ``data_cache`` (values or object refs).
            attempt: how often the node has failed before; a wired ``error`` output handles a
                failure that is not tried again.
            start_inputs: the flow's inputs, for START.
            store_in: a folder to write the outputs to, for re-execution.
            on_the_way: is told how far a region has come and of iterations that fail, and what the
                node logs and prints while it runs; the details of the result then have the rest.
            progress: how far the attempts before this one have brought a region.
        """
        return (
            await self._require_runner()
            .of(node_id)
            .run_node(
                node_id,
                state,
                attempt=attempt,
                start_inputs=start_inputs,
                store_in=store_in,
                on_the_way=on_the_way,
                progress=progress,
            )
        )

    def _run_heard(
        self, on_said: HearNode, node_id: str, state: ExecutionState, **given: Any
    ) -> Coroutine[Any, Any, NodeResult]:
        """``run_node``, and tell the listener what the node says, on the thread of the loop."""
        loop = asyncio.get_running_loop()

        def hear(details: RunDetails) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(tell, details)

        def tell(details: RunDetails) -> None:
            with optional("telling a listener what a node says"):
                on_said(node_id, details)

        return self.run_node(node_id, state, on_the_way=OnTheWay(hear=hear), **given)

    async def inputs_of_call(self, node_id: str, state: ExecutionState) -> dict[str, Any]:
        """What a node that calls a flow hands to its START; arguments as of ``run_node``.

        Raises:
            DataNotAvailableError: a required input has no value.
            ExpressionError: an expression has no value.
            TypeError: a value is not of the type that START declares.
        """
        return await self._require_runner().of(node_id).inputs_of(node_id, state)

    async def _execution_loop(self, start_inputs: dict[str, Any]) -> dict[str, Any]:
        """Run the flow that ``_initialize`` took: plan on every completion, until nothing runs and
        nothing can. Returns the result of the RETURN that was reached.

        Raises:
            RayflowError: why ``_initialize`` did not take the flow; ``InvalidInputsError``;
                ``FlowFailedError`` where no RETURN was reached.
        """
        if self._problem is not None:
            raise self._problem
        outcome = await self._loop(checked_inputs(self._require_graph(), start_inputs))
        if not self.require_tracker().is_complete():
            raise FlowFailedError(outcome["error"])
        result: dict[str, Any] = outcome["result"]
        return result

    async def _loop(self, start_inputs: dict[str, Any]) -> dict[str, Any]:
        """``{"result": dict, "error": str | None}`` of the loaded flow."""
        runner, machine, tracker = (
            self._require_runner(), self.require_machine(), self.require_tracker()
        )  # fmt: skip
        loop = FlowLoop(
            runner.graph,
            machine,
            tracker,
            self.run_node if self._on_said is None else partial(self._run_heard, self._on_said),
            runner.actors,
            self._settled,
            until=self.deadline,
        )
        outcome = await stepped(loop.run(start_inputs))
        reached = tracker.reached_return()
        too_long = self.too_long(outcome)
        if too_long is not None:
            return {"result": {}, "error": "; ".join([str(too_long), *machine.errors])}
        if reached is None:
            errors = machine.errors or [str(machine.no_return_error())]
            return {"result": {}, "error": "; ".join(errors)}
        if not machine.errors and self._run_variables is not None:
            self._run_variables.keep()
        result = tracker.get_cached_output(reached, "result")
        return {"result": result, "error": "; ".join(machine.errors) or None}

    def too_long(self, outcome: Outcome) -> NodeTimeoutError | None:
        """What a run has failed with that has ended so, if its limit has ended it: a node may have
        failed with that before the machine was told.
        """
        if self.deadline is None or outcome not in ("failed", "interrupted"):
            return None
        errors = [each["error"] for each in self.error_handler.get_error_report()["errors"]]
        was_cut = any(isinstance(original_of(each), TimeIsOverError) for each in errors)
        is_late = outcome == "interrupted" or (self.deadline.is_over and was_cut)
        return self.deadline.exceeded() if is_late else None

    def _finalize(self) -> None:
        """End the actors and the variable store."""
        if self.deadline is not None:
            self.deadline.close()
        cleanup = getattr(self.actor_manager, "cleanup_actors", None)
        variables = vars(self).pop("variable_manager", None)
        self.actor_manager = self.node_executor = None
        with optional("ending the run's actors"):
            if cleanup is not None:
                cleanup()
        with optional("ending the run's variable store"):
            if variables is not None:
                variables.cleanup()

    close = _finalize

    def require_machine(self) -> FlowMachine:
        """What decides the run of the loaded flow."""
        if self.machine is None:
            raise RayflowError("no flow is loaded")
        return self.machine

    def require_deciding(
        self,
    ) -> tuple[ExecutionGraph, ExecutionPlanner, StateTracker, ErrorHandler]:
        """What a machine that decides the run of the loaded flow is made of."""
        if self.execution_planner is None or self.error_handler is None:
            raise RayflowError("no flow is loaded")
        planner, errors = self.execution_planner, self.error_handler
        return self._require_graph(), planner, self.require_tracker(), errors

    def _require_graph(self) -> ExecutionGraph:
        if self.graph is None:
            raise RayflowError("no flow is loaded")
        return self.graph

    def require_tracker(self) -> StateTracker:
        """What has become of the nodes of the loaded flow."""
        if self.state_tracker is None:
            raise RayflowError("no flow is loaded")
        return self.state_tracker

    def _require_runner(self) -> NodeRunner:
        if self._runner is None or self.node_executor is None:
            raise RayflowError("load a flow and connect before running nodes")
        return self._runner


def _outcome(
    started: float, result: dict[str, Any], error: str | None, executed: int
) -> dict[str, Any]:
    return {
        "success": error is None,
        "result": result,
        "error": error,
        "execution_time": time.perf_counter() - started,
        "nodes_executed": executed,
    }


def _metadata_of(flow: ResolvedFlow) -> dict[str, Any]:
    return {node.class_path: node.metadata for node in flow.nodes.values() if node.metadata}


def _connect_to_ray(orchestrator: FlowOrchestrator) -> Dispatcher:
    """Connect to the cluster and start the variable store, if the flow has variables."""
    from .actors.session import RunFacts, connect_to_ray

    facts = RunFacts(
        orchestrator.ray_settings,
        orchestrator.project,
        orchestrator.flow_name,
        orchestrator.variables_name is not None,
        orchestrator.variables_snapshot,
    )
    graph = orchestrator._require_graph()
    return connect_to_ray(graph, orchestrator.node_loader, facts, orchestrator.variable_manager)
