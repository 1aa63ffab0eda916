"""``RunSession``: one run of one flow inside Dagster, from the first step to the last."""

import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from dagster import DagsterInstance, DagsterRun, InitResourceContext

from rayflow_dagster.engine.executor import Dispatcher
from rayflow_dagster.engine.readers import Readers
from rayflow_dagster.errors import ClusterError, FlowChangedError, RayflowError
from rayflow_dagster.types import ExecutionState, NodeResult
from rayflow_dagster.values import check_place, is_url, join, read_bytes, store_bytes, stored_exists

from . import early
from .compiled import CompiledFlow
from .storage import VARIABLES_FILE, StoredOutputs, values_root

HASH_TAG = "rayflow/flow_hash"
RESULT_TAG = "rayflow/result"


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
        if self._goes_on:
            self.orchestrator.variables_snapshot = self._stored_variables()
        if started is not None and (shares_variables or self._goes_on):
            started.close()  # its variables are not those of this run
            started = None
        if started is not None:
            self.orchestrator = started
        else:
            self.orchestrator.connect()
        self.is_connected = True
        self._check_storage()

    def _check_storage(self) -> None:
        """Refuse to store values where it cannot be done, or no later run would find them."""
        if self.is_durable:
            check_place(self.values_root)
        if self.is_durable and not self._manager.shares_disk and not is_url(self.values_root):
            raise ClusterError(
                f"flow '{self.flow.name}' runs on a Ray cluster whose machines do not share this "
                f"machine's disk, so its values cannot be stored in {self.values_root}; name a "
                'place that all of them reach, for example "settings": {"storage": '
                '"s3://bucket/folder"}, or set "durable": false there (then a run cannot be '
                "re-executed from a failure)"
            )

    def wait_until_up(self, seconds: float) -> None:
        """Wait, at most so long, until the first steps need not wait for their actors."""
        self._manager.wait_until_up(seconds)

    def slots(self) -> int:
        """How many nodes can run on workers at the same time."""
        return self._manager.slots

    def workers_for(self, step_key: str) -> int:
        """How many workers a step takes; 0 for one that takes none."""
        return self._manager.workers_for(self.flow.nodes[step_key])

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
        if snapshot is not None and self.is_durable:
            version, _ = pickle.loads(snapshot)
            if version > self._version:
                self._version = version
                store_bytes(self._variables_file(self.run.run_id), snapshot)

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

    @property
    def _goes_on(self) -> bool:
        """Whether this run goes on from where another stopped."""
        start = self.flow.graph["start_node"]
        return self.run.parent_run_id is not None and start not in self._planned_nodes

    @cached_property
    def _planned_nodes(self) -> set[str]:
        keys = self.run.step_keys_to_execute
        return set(self.flow.nodes.values()) if keys is None else {
            self.flow.nodes[key] for key in keys if key in self.flow.nodes
        }  # fmt: skip

    def _parent_run(self, run: DagsterRun) -> DagsterRun | None:
        return self.instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None

    def _variables_file(self, run_id: str) -> str:
        return join(join(self.values_root, run_id), VARIABLES_FILE)

    def _stored_variables(self) -> Mapping[str, Any] | None:
        """The variables as the nearest ancestor run left them."""
        run: DagsterRun | None = self._parent_run(self.run)
        while run is not None:
            file = self._variables_file(run.run_id)
            if stored_exists(file):
                values: Mapping[str, Any] = pickle.loads(read_bytes(file))[1]
                return values
            run = self._parent_run(run)
        return None


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
