"""``RunSession``: one run of one flow inside Dagster, from the first step to the last."""

import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dagster import DagsterEventType, DagsterInstance, DagsterRun, InitResourceContext

from rayflow_dagster.engine.executor import Dispatcher
from rayflow_dagster.engine.readers import Readers
from rayflow_dagster.errors import FlowChangedError, RayflowError, VariableError
from rayflow_dagster.types import ExecutionState, NodeResult
from rayflow_dagster.values import (
    check_place,
    join,
    make_folder,
    read_bytes,
    remove_stored,
    store_bytes,
    stored_exists,
)
from rayflow_dagster.variables import Snapshot, unpickled

from . import early
from .compiled import CompiledFlow
from .names import PROJECT_TAG
from .storage import KEPT_FILE, VARIABLES, StoredOutputs, kept_variables, values_root

if TYPE_CHECKING:
    from rayflow_dagster.kept_variables import Kept, RunVariables

HASH_TAG = "rayflow/flow_hash"
RESULT_TAG = "rayflow/result"
RETURN_TAG = "rayflow/return"
"""The id of the RETURN that gave the result."""
HANDLED_TAG = "rayflow/handled"
"""The steps that failed and whose ``error`` output has taken that."""
MAX_TAG = 240


class RunSession:
    """Connects the steps of one run, in one process, with one orchestrator.

    Ray is connected when the first node needs an actor. Under the multiprocess executor every
    step has a process and a session of its own, and the variable store is shared by name.
    """

    def __init__(self, flow: CompiledFlow, instance: DagsterInstance, run: DagsterRun) -> None:
        self.flow = flow
        self.instance = instance
        self.run = run
        self.orchestrator = early.new_orchestrator(flow)
        self.results: dict[str, NodeResult] = {}
        """What became of each node; of its outputs only the names."""
        self.returned: str | None = None
        self.live: dict[tuple[str, str], Any] = {}
        """(step key, output) -> value or object ref, until its last reader has run."""
        self.values_root = values_root(instance, flow.graph.get("storage"))
        self.is_durable = flow.graph.get("durable", True)
        self._readers = Readers(flow.graph)
        self._stored: dict[str, StoredOutputs] = {}
        self.is_connected = False
        self._version = -1
        """Of the newest variables that were noted."""
        self._recorded = -1
        """Of the newest variables that a step has stored whose success is recorded."""
        self._snapshots: dict[str, int] = {}
        """Step key -> the version of the variables that it has stored and that still are."""
        self._kept: RunVariables | None = None

    def check_flow_is_the_same(self) -> None:
        """A re-execution runs the flow that its parent ran.

        Raises:
            FlowChangedError: the flow was changed since.
        """
        parent = self._parent_run(self.run)
        before = parent.tags.get(HASH_TAG) if parent else None
        if before is not None and before != self.flow.hash:
            raise FlowChangedError(
                f"flow '{self.flow.name}' was changed since run {self.run.parent_run_id} "
                f"(it ran {before[:8]}, the flow is {self.flow.hash[:8]} now), so its results do "
                "not belong together with new ones; launch a new run instead of a re-execution"
            )

    def begin_variables(self) -> None:
        """Have the variables that are kept between runs read, when the session connects.

        Only whoever drives the run to its end may say so: it has to call ``keep_variables`` then.
        """
        declared = self.flow.kept_variables
        if declared:
            from rayflow_dagster.kept_variables import RunVariables  # few flows have such

            # On another machine, the project may be in another folder than where it was launched.
            project = self.run.tags.get(PROJECT_TAG, self.flow.project.tag)
            kept = kept_variables(self.instance, self.run.job_name, project)
            self._kept = RunVariables(kept, self.run.run_id, declared)

    def keep_variables(self) -> list[str]:
        """Write the variables back that are kept between runs: the run has succeeded. Returns the
        names of those that it wrote.

        Raises:
            VariableError: another run has written one that this run set.
        """
        return self._kept.keep() if self._kept is not None else []

    def refuse_to_forget(self) -> None:
        """Nobody has begun the variables that are kept between runs: Dagster's executors say to
        nobody that a run has succeeded. An instance that forgets its runs forgets variables, too.

        Raises:
            VariableError: the flow has such variables, and the instance keeps its runs.
        """
        declared = self.flow.kept_variables
        if declared and self._kept is None and not self.instance.is_ephemeral:
            raise VariableError(
                f"flow '{self.flow.name}' keeps variables between runs ({', '.join(declared)}), "
                "which only its own executor does; run it without another executor, or declare "
                'them with "scope": "run"'
            )

    def is_shared(self, steps: Sequence[str]) -> bool:
        """Whether other processes run other steps of this run: this one executes ``steps``."""
        return len(steps) < len(self._planned_nodes)

    def connect(self, *, shares_variables: bool) -> None:
        """Connect to Ray, once.

        Raises:
            ClusterError: the cluster cannot be reached, or can never run what a node asks for.
        """
        if self.is_connected:
            return
        started = early.take(self.flow)
        if shares_variables:
            self.orchestrator.variables_name = shared_store_name(self.run.run_id)
            self.is_durable = True  # the next step's process has no other way to the values
        self.orchestrator.variables_snapshot = self._first_variables()
        if started is not None and (shares_variables or self._goes_on):
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
            check_place(self.values_root)
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

    def state(self, data: Mapping[tuple[str, str], Any]) -> ExecutionState:
        """The execution state as one step sees it: ``data`` is what its inputs brought."""
        tracker = self.orchestrator.state_tracker
        if tracker is None:
            raise RayflowError("the session has no flow")
        states = tracker.get_state()["node_states"]
        return {"node_states": states, "data_cache": dict(data), "active_path": ""}

    def settled(self, result: NodeResult) -> None:
        """Take note of a settled node; keep the variables as it left them."""
        node_id = result["node_id"]
        # The values themselves are in ``live`` until their last reader has run.
        names_only = dict.fromkeys(result["outputs"])
        self.results[node_id] = {**result, "outputs": names_only, "details": {}}
        if result["status"] != "success":
            return
        if node_id in self.flow.graph["return_nodes"]:
            self.returned = self.returned or node_id
        snapshot = result.get("details", {}).get("variables")
        if snapshot is not None and (self.is_durable or self._kept is not None):
            self._note_variables(self.flow.steps[node_id], snapshot)

    def _note_variables(self, step_key: str, pickled: bytes) -> None:
        snapshot = unpickled(pickled)
        # Not of a node that settled before another that has written since.
        if self._kept is not None and snapshot.version > self._version:
            self._kept.note(snapshot)
        if self.is_durable and snapshot.version > self._recorded:
            store_bytes(self._variables_file(self.run.run_id, step_key), pickled)
            self._snapshots[step_key] = snapshot.version
        self._version = max(self._version, snapshot.version)

    def recorded(self, step_key: str) -> None:
        """The success of a step stands in the event log: a re-execution takes the variables as it
        left them, and needs no older ones.
        """
        version = self._snapshots.get(step_key, -1)
        if version <= self._recorded:
            return
        self._recorded = version
        for other in [key for key, older in self._snapshots.items() if older < version]:
            del self._snapshots[other]
            remove_stored(self._variables_file(self.run.run_id, other))

    def finished(self, node_id: str) -> None:
        """A node has succeeded or was skipped, its outputs are handled: release what nobody reads
        any more.
        """
        for source, output in self._readers.settled(node_id):
            name = self.flow.ports[source].outputs[output]
            self.live.pop((self.flow.steps[source], name), None)

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

    @cached_property
    def _goes_on(self) -> bool:
        """Whether this run goes on from where another stopped."""
        return self._continues(self.run)

    def _continues(self, run: DagsterRun) -> bool:
        return run.parent_run_id is not None and (
            self.flow.graph["start_node"] not in self._planned(run)
        )

    @cached_property
    def _planned_nodes(self) -> set[str]:
        return self._planned(self.run)

    def _planned(self, run: DagsterRun) -> set[str]:
        keys = run.step_keys_to_execute
        return set(self.flow.nodes.values()) if keys is None else {
            self.flow.nodes[key] for key in keys if key in self.flow.nodes
        }  # fmt: skip

    def _parent_run(self, run: DagsterRun) -> DagsterRun | None:
        return self.instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None

    def _file_of(self, run_id: str, name: str) -> str:
        return join(join(self.values_root, run_id), name)

    def _variables_file(self, run_id: str, step_key: str) -> str:
        return join(self._file_of(run_id, VARIABLES), f"{step_key}.pkl")

    def _first_variables(self) -> Snapshot | None:
        """The variables as this run begins with them; None where all have their defaults."""
        left = self._left()
        if self._kept is None:
            return left
        parent = self._parent_run(self.run)
        if self._goes_on and not (parent and parent.is_success):
            snapshot = self._kept.go_on(self._first_read(), left)
        else:
            snapshot = self._kept.read(left)
        if self.is_durable:
            file = self._file_of(self.run.run_id, KEPT_FILE)
            store_bytes(file, pickle.dumps(dict(self._kept.before)))
        return snapshot

    def _left(self) -> Snapshot | None:
        """The variables as the runs that this one goes on from left them."""
        if not self.flow.graph.get("variables"):
            return None
        for run in self._ancestors():
            left = self._last_snapshot(run)
            if left is not None:
                return left._replace(changes={}) if self._is_kept(run) else left
        return None

    def _last_snapshot(self, run: DagsterRun) -> Snapshot | None:
        """The newest variables among those that the steps left whose success is recorded: what
        another has written, which runs again, is not in them.
        """
        recorded = self.instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_SUCCESS)
        files = [self._variables_file(run.run_id, entry.step_key or "") for entry in recorded]
        found = [unpickled(read_bytes(file)) for file in files if stored_exists(file)]
        return max(found, key=lambda snapshot: snapshot.version, default=None)

    def _is_kept(self, writer: DagsterRun) -> bool:
        """Whether what ``writer`` did to kept variables was written back: it, or a run between it
        and this one, has succeeded.
        """
        for run in self._ancestors():
            if run.is_success or run.run_id == writer.run_id:
                return run.is_success
        return False

    def _first_read(self) -> "Mapping[str, Kept]":
        """What the run that this one goes on from had read of the kept variables."""
        files = (self._file_of(run.run_id, KEPT_FILE) for run in self._ancestors())
        pickled = next((read_bytes(file) for file in files if stored_exists(file)), None)
        if pickled is None:
            raise VariableError(
                f"what run {self.run.parent_run_id} read of the variables that flow "
                f"'{self.flow.name}' keeps between runs is not stored any more; launch a new run "
                "instead of a re-execution"
            )
        before: Mapping[str, Kept] = pickle.loads(pickled)
        return before

    def _ancestors(self) -> Iterator[DagsterRun]:
        """The runs that this one goes on from, the nearest first."""
        run: DagsterRun | None = self.run
        while run is not None and self._continues(run):
            run = self._parent_run(run)
            if run is not None:
                yield run


def shared_store_name(run_id: str) -> str:
    """The name of the variable store that the processes of one run share."""
    return f"rayflow-variables-{run_id}"


def session_resource(flow: CompiledFlow) -> Any:
    """The resource function that opens a ``RunSession`` and closes it."""

    def open_session(context: InitResourceContext) -> Iterator[RunSession]:
        if context.instance is None or context.run is None:
            raise RayflowError("a flow runs inside a Dagster run only")
        session = RunSession(flow, context.instance, context.run)
        session.check_flow_is_the_same()
        logging.getLogger("ray").setLevel(logging.WARNING)
        try:
            yield session
        finally:
            session.close()

    open_session.flow = flow  # type: ignore[attr-defined]  # for early.flow_of
    return open_session
