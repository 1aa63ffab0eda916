"""``RunSession``: one run of one flow inside Dagster, from the first step to the last."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from dagster import DagsterInstance, DagsterRun, InitResourceContext

from rayflow_dagster.crash_points import crash_point
from rayflow_dagster.engine.executor import Dispatcher
from rayflow_dagster.engine.iteration import Progress
from rayflow_dagster.engine.open_calls import RunMachine
from rayflow_dagster.engine.readers import Readers
from rayflow_dagster.errors import FlowChangedError, RayflowError
from rayflow_dagster.types import ExecutionState, NodeResult
from rayflow_dagster.values.stored import check_location, join, make_folder

from . import prestart
from .compiled import CompiledFlow
from .iterations import progress_of
from .lost_runs import ends_with_first_node, launch_no_more
from .session_variables import SessionVariables, parent_run, planned_nodes
from .storage import StoredOutputs, values_root

if TYPE_CHECKING:
    pass

HASH_TAG = "rayflow/flow_hash"
RESULT_TAG = "rayflow/result"
RETURN_TAG = "rayflow/return"
"""The id of the RETURN that gave the result."""
HANDLED_TAG = "rayflow/handled"
"""The steps that failed and whose ``error`` output has taken that."""
FAILED_RUN_TAG = "rayflow/failed_run"
"""The failed run, by id, that a run was started for by ``on_failure``."""
FAILURE_RUN_TAG = "rayflow/on_failure_run"
"""The run, by id, that was started for a failed one."""
MAX_TAG = 240


class Told(NamedTuple):
    """What an event tells of a value: where it is stored, if it is, and a preview."""

    location: str | None
    preview: str


class RunSession:
    """Connects the steps of one run, in one process, with one orchestrator.

    Ray is connected when the first node needs an actor. Under the multiprocess executor every
    step has a process and a session of its own, and the variable store is shared by name.
    """

    def __init__(self, flow: CompiledFlow, instance: DagsterInstance, run: DagsterRun) -> None:
        self.flow = flow
        self.instance = instance
        self.run = run
        self.orchestrator = prestart.new_orchestrator(flow)
        self.results: dict[str, NodeResult] = {}
        """What each node came to, until its step has ended; of its outputs only the names."""
        self._progress: dict[str, Progress] = {}
        """How far each region has come, by its node id."""
        self.returned: str | None = None
        self.live: dict[tuple[str, str], Any] = {}
        """(step key, output) -> value or object ref, until its last reader has run."""
        self.told: dict[tuple[str, str], Told] = {}
        """(step key, output) -> what its event tells of the value."""
        self.values_root = values_root(instance, flow.graph.get("storage"))
        self.is_durable = flow.graph.get("durable", True)
        self._readers = Readers(flow.flat)
        self._stored: dict[str, StoredOutputs] = {}
        self.is_connected = False
        self.variables = SessionVariables(flow, instance, run, self.values_root)
        self._no_node_has_run = not flow.run_again and ends_with_first_node(instance, run)

    def check_flow_is_the_same(self) -> None:
        """A re-execution runs the flow that its parent ran.

        Raises:
            FlowChangedError: the flow was changed since.
        """
        parent = parent_run(self.instance, self.run)
        before = parent.tags.get(HASH_TAG) if parent else None
        if before is not None and before != self.flow.hash:
            raise FlowChangedError(
                f"flow '{self.flow.name}' was changed since run {self.run.parent_run_id} "
                f"(it ran {before[:8]}, the flow is {self.flow.hash[:8]} now), so its results do "
                "not belong together with new ones; launch a new run instead of a re-execution"
            )

    def is_shared(self, steps: Sequence[str]) -> bool:
        """Whether other processes run other steps of this run: this one executes ``steps``."""
        return len(steps) < len(planned_nodes(self.flow, self.run))

    def connect(self, *, shares_variables: bool) -> None:
        """Connect to Ray, once.

        Raises:
            ClusterError: the cluster cannot be reached, or can never run what a node asks for.
        """
        if self.is_connected:
            return
        started = prestart.connected_for(self.flow)
        if shares_variables:
            self.orchestrator.variables_name = shared_store_name(self.run.run_id)
            self.is_durable = True  # the next step's process has no other way to the values
        self.orchestrator.variables_snapshot = self.variables.first(stores=self.is_durable)
        if started is not None and (shares_variables or self.variables.goes_on):
            started.close()  # its variables are not those of this run
            started = None
        if started is not None:
            self.orchestrator = started
        else:
            self.orchestrator.connect()
        self.is_connected = True
        self._prepare_storage()

    def _prepare_storage(self) -> None:
        """Refuse to store values where it cannot be done, and make the run's folder: a machine that
        does not find it there does not see the storage.

        Raises:
            StorageError: nothing can be stored there.
        """
        if self.is_durable:
            check_location(self.values_root)
            make_folder(join(self.values_root, self.run.run_id))

    def wait_until_up(self, seconds: float) -> None:
        """Wait, at most so long, until the first steps need not wait for their actors."""
        self._manager.wait_until_up(seconds)

    def needs_worker(self, step_key: str) -> bool:
        """Whether a step waits for a worker, which others may have."""
        return self._manager.needs_worker(self.flow.nodes[step_key])

    def reserve(self, step_key: str) -> "Future[Any]":
        """Get a worker for a step. The future is done when it is there, or when there is none."""
        return self._manager.reserve(self.flow.nodes[step_key])

    def asks_for(self, step_key: str) -> str:
        """What the worker of a step asks for, as words."""
        return self._manager.asks_for(self.flow.nodes[step_key])

    def give_back(self, step_key: str) -> None:
        """The worker that was reserved for a step is not needed after all."""
        self._manager.give_back(self.flow.nodes[step_key])

    def fetch(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        """The values themselves, where ``values`` has object refs. Waits for them."""
        return self._manager.fetch(values).result()

    @property
    def _manager(self) -> Dispatcher:
        manager = self.orchestrator.actor_manager
        if manager is None:
            raise RayflowError("the session is not connected")
        return manager

    @cached_property
    def machine(self) -> RunMachine:
        """What decides the run, once the session is connected."""
        orchestrator = self.orchestrator
        return RunMachine(*orchestrator.require_deciding())

    def state(self, node_id: str, data: Mapping[tuple[str, str], Any]) -> ExecutionState:
        """The execution state as one step sees it: ``data`` is what its inputs brought."""
        states = self.machine.state_around(node_id)["node_states"]
        return {"node_states": states, "data_cache": dict(data), "active_path": ""}

    def node_begins(self) -> None:
        """A node other than START is about to run."""
        if self._no_node_has_run:
            launch_no_more(self.instance, self.run)
            self._no_node_has_run = False
        crash_point("node_begins")

    def settled(self, result: NodeResult) -> "Future[str] | None":
        """Take note of a settled node. The future, if there is one, is done when the variables are
        stored as it left them.
        """
        node_id = result["node_id"]
        # The values themselves are in ``live`` until their last reader has run.
        names_only = dict.fromkeys(result["outputs"])
        self.results[node_id] = {**result, "outputs": names_only, "details": {}}
        if result["status"] != "success":
            return None
        if node_id in self.flow.graph["return_nodes"]:
            self.returned = self.returned or node_id
        snapshot = result.get("details", {}).get("variables")
        if snapshot is None:
            return None
        return self.variables.note(self.flow.steps[node_id], snapshot, stores=self.is_durable)

    def finished(self, node_id: str) -> None:
        """A node has succeeded or was skipped, its outputs are handled: release what nobody reads
        any more.
        """
        for source, output in self._readers.settled(node_id):
            name = self.flow.ports[source].outputs[output]
            self.live.pop((self.flow.steps[source], name), None)

    def progress_of(self, node_id: str) -> Progress:
        """How far a region has come, in this run and in those that it goes on from."""
        if node_id not in self._progress:
            step = self.flow.steps[node_id]
            note = partial(self.variables.note, step, stores=True)
            self._progress[node_id] = (
                progress_of(self.flow, self.instance, self.run, self.values_root, step, note)
                if self.is_durable
                else Progress()
            )
        return self._progress[node_id]

    def stored_outputs(self, run_id: str) -> StoredOutputs:
        """What a run has stored."""
        is_this_run = run_id == self.run.run_id
        if is_this_run or run_id not in self._stored:
            # This run goes on in other processes, so what it stored is read anew each time.
            self._stored[run_id] = StoredOutputs(self.instance, run_id)
        return self._stored[run_id]

    def close(self) -> None:
        """End the actors of this process."""
        self.orchestrator.close()

    def kill_actors(self) -> None:
        """End the actors at once; what runs on them fails."""
        manager = self.orchestrator.actor_manager
        cleanup = getattr(manager, "cleanup_actors", None)
        if cleanup is not None:
            cleanup()


def shared_store_name(run_id: str) -> str:
    """The name of the variable store that the processes of one run share."""
    return f"rayflow-variables-{run_id}"


def session_resource(flow: CompiledFlow) -> Any:
    """The resource function that opens a ``RunSession`` and closes it."""

    def open_session(context: InitResourceContext) -> Iterator[RunSession]:
        if context.instance is None or context.run is None:
            raise RayflowError("a flow runs inside a Dagster run only")
        crash_point("run_begins")
        session = RunSession(flow, context.instance, context.run)
        session.check_flow_is_the_same()
        logging.getLogger("ray").setLevel(logging.WARNING)
        try:
            yield session
        finally:
            session.close()

    open_session.flow = flow  # type: ignore[attr-defined]  # for prestart.flow_of
    return open_session
