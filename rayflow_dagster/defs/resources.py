"""``RunSession``: one run of one flow inside Dagster, from the first step to the last."""

import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, DagsterRun, InitResourceContext

from rayflow_dagster.errors import FlowChangedError, RayflowError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.types import ExecutionState, NodeResult
from rayflow_dagster.values import write_whole

from .compiled import CompiledFlow
from .io_manager import values_folder

SESSION = "rayflow"
"""The resource key that ops find the session under."""
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
        self.orchestrator = FlowOrchestrator(flow.project, flow.ray_settings, flow.connect)
        self.orchestrator.use_graph(flow.graph)
        self.results: dict[str, NodeResult] = {}
        self.returned: str | None = None
        self._connected = False
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
        return len(steps) < len(self._planned_nodes())

    def connect(self, *, shares_variables: bool) -> None:
        """Connect to Ray, once.

        Raises:
            ClusterError: the cluster cannot be reached, or can never run what a node asks for.
        """
        if self._connected:
            return
        if shares_variables:
            self.orchestrator.variables_name = shared_store_name(self.run.run_id)
        if self.run.parent_run_id and self.flow.graph["start_node"] not in self._planned_nodes():
            self.orchestrator.variables_snapshot = self._stored_variables()
        self.orchestrator.connect()
        self._connected = True

    def state(self, data: Mapping[tuple[str, str], Any]) -> ExecutionState:
        """The execution state as one step sees it: ``data`` is what its inputs brought."""
        tracker = self.orchestrator.state_tracker
        if tracker is None:
            raise RayflowError("the session has no flow")
        states = tracker.get_state()["node_states"]
        return {"node_states": states, "data_cache": dict(data), "active_path": ""}

    def settled(self, result: NodeResult) -> None:
        """Take note of a settled node; keep the variables as it left them."""
        self.results[result["node_id"]] = result
        if result["status"] == "success" and result["node_id"] in self.flow.graph["return_nodes"]:
            self.returned = self.returned or result["node_id"]
        snapshot = result.get("details", {}).get("variables")
        if snapshot is not None and result["status"] == "success":
            version, _ = pickle.loads(snapshot)
            if version > self._version:
                self._version = version
                write_whole(self._variables_file(self.run.run_id), snapshot)

    def close(self) -> None:
        """End the actors of this process."""
        self.orchestrator.close()

    def kill_actors(self) -> None:
        """End the actors at once; what runs on them fails."""
        manager = self.orchestrator.actor_manager
        cleanup = getattr(manager, "cleanup_actors", None)
        if cleanup is not None:
            cleanup()

    def _planned_nodes(self) -> set[str]:
        keys = self.run.step_keys_to_execute
        return set(self.flow.nodes.values()) if keys is None else {
            self.flow.nodes[key] for key in keys if key in self.flow.nodes
        }  # fmt: skip

    def _parent_run(self, run: DagsterRun) -> DagsterRun | None:
        return self.instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None

    def _variables_file(self, run_id: str) -> Path:
        return values_folder(self.instance, run_id) / "variables.pkl"

    def _stored_variables(self) -> Mapping[str, Any] | None:
        """The variables as the nearest ancestor run left them."""
        run: DagsterRun | None = self._parent_run(self.run)
        while run is not None:
            file = self._variables_file(run.run_id)
            if file.is_file():
                values: Mapping[str, Any] = pickle.loads(file.read_bytes())[1]
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

    return open_session
