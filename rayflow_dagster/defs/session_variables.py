"""``SessionVariables``: what the runs before left in, the variables of this run and its next out.

A run that goes on from another begins with the variables as that one left them, so each step's are
stored when it settles. Those that are kept between runs are read when a run begins, and written
back when it has succeeded.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from functools import cached_property
from typing import TYPE_CHECKING

from dagster import DagsterEventType, DagsterInstance, DagsterRun

from rayflow_dagster.errors import VariableError
from rayflow_dagster.types import variables_of_calls
from rayflow_dagster.values.stored import (
    join,
    read_bytes,
    remove_stored,
    store_bytes,
    stored_exists,
)
from rayflow_dagster.variables.store import Snapshot, unpickled

from .apart import Apart
from .compiled import CompiledFlow
from .names import PROJECT_TAG
from .storage import KEPT_FILE, VARIABLES, kept_variables

if TYPE_CHECKING:
    from rayflow_dagster.variables.kept import Kept, RunVariables


class SessionVariables:
    """The variables of one run, in one process.

    Args:
        root: the folder or URL under which runs store their values.
    """

    def __init__(
        self, flow: CompiledFlow, instance: DagsterInstance, run: DagsterRun, root: str
    ) -> None:
        self._flow = flow
        self._instance = instance
        self._run = run
        self._root = root
        self._version = -1
        """Of the newest variables that were noted."""
        self._recorded = -1
        """Of the newest variables that a step has stored whose success is recorded."""
        self._snapshots: dict[str, int] = {}
        """Step key -> the version of the variables that it has stored and that still are."""
        self._kept: RunVariables | None = None
        self._apart = Apart("rayflow-variables")

    def begin(self) -> None:
        """Have the variables that are kept between runs read, when the session connects.

        Only whoever drives the run to its end may say so: it has to call ``keep`` then.
        """
        declared = self._flow.kept_variables
        if declared:
            from rayflow_dagster.variables.kept import RunVariables  # few flows have such

            # On another machine, the project may be in another folder than where it was launched.
            project = self._run.tags.get(PROJECT_TAG, self._flow.project.tag)
            kept = kept_variables(self._instance, self._run.job_name, project)
            self._kept = RunVariables(kept, self._run.run_id, declared)

    def keep(self) -> list[str]:
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
        declared = self._flow.kept_variables
        if declared and self._kept is None and not self._instance.is_ephemeral:
            raise VariableError(
                f"flow '{self._flow.name}' keeps variables between runs ({', '.join(declared)}), "
                "which only its own executor does; run it without another executor, or declare "
                'them with "scope": "run"'
            )

    def first(self, *, stores: bool) -> Snapshot | None:
        """The variables as this run begins with them; None where all have their defaults.

        ``stores``: whether its re-executions may go on from it.
        """
        left = self._left()
        if self._kept is None:
            return left
        from rayflow_dagster.variables.kept import packed

        parent = parent_run(self._instance, self._run)
        if self.goes_on and not (parent and parent.is_success):
            snapshot = self._kept.go_on(self._first_read(), left)
        else:
            snapshot = self._kept.read(left)
        if stores:
            file = self._file_of(self._run.run_id, KEPT_FILE)
            store_bytes(file, packed(self._kept.before))
        return snapshot

    def note(self, step_key: str, pickled: bytes, *, stores: bool) -> "Future[str] | None":
        """Take note of the variables as a step left them. The future is done when they are stored,
        which may take its time. ``stores``: as of ``first``.
        """
        if not stores and self._kept is None:
            return None
        snapshot = unpickled(pickled)
        # Not of a node that settled before another that has written since.
        if self._kept is not None and snapshot.version > self._version:
            self._kept.note(snapshot)
        self._version = max(self._version, snapshot.version)
        newest = max(self._recorded, self._snapshots.get(step_key, -1))
        if not stores or snapshot.version <= newest:
            return None
        self._snapshots[step_key] = snapshot.version
        file = self._variables_file(self._run.run_id, step_key)
        return self._apart.do(lambda: store_bytes(file, pickled))

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
            remove_stored(self._variables_file(self._run.run_id, other))

    @cached_property
    def goes_on(self) -> bool:
        """Whether this run goes on from where another stopped."""
        return self._continues(self._run)

    def _left(self) -> Snapshot | None:
        """The variables as the runs that this one goes on from left them."""
        graph = self._flow.graph
        if not (graph.get("variables") or variables_of_calls(graph)):
            return None
        anew = self._begun_by(self._run)
        for run in self._ancestors():
            left = self._last_snapshot(run)
            if left is not None:
                calls = {call: own for call, own in left.calls.items() if call not in anew}
                left = left._replace(calls=calls)
                return left._replace(changes={}) if self._is_kept(run) else left
            anew |= self._begun_by(run)
        return None

    def _begun_by(self, run: DagsterRun) -> set[str]:
        """The open calls that a run begins, so that their own variables are new in it."""
        planned = planned_nodes(self._flow, run)
        return {call for start, call in self._flow.calls.items() if start in planned}

    def _last_snapshot(self, run: DagsterRun) -> Snapshot | None:
        """The newest variables among those that the steps left whose success is recorded, and the
        iterations that have ended: what another has written, which runs again, is not in them.
        """
        recorded = self._instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_SUCCESS)
        steps = {entry.step_key or "" for entry in recorded}
        nodes = self._flow.flat["nodes"].items()
        steps |= {self._flow.steps[node_id] for node_id, node in nodes if "body" in node}
        files = [self._variables_file(run.run_id, step) for step in steps]
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
        from rayflow_dagster.variables.kept import unpacked

        files = (self._file_of(run.run_id, KEPT_FILE) for run in self._ancestors())
        content = next((read_bytes(file) for file in files if stored_exists(file)), None)
        before = unpacked(content) if content is not None else None
        if before is None:
            raise VariableError(
                f"what run {self._run.parent_run_id} read of the variables that flow "
                f"'{self._flow.name}' keeps between runs is not stored any more; launch a new run "
                "instead of a re-execution"
            )
        return before

    def _ancestors(self) -> Iterator[DagsterRun]:
        """The runs that this one goes on from, the nearest first."""
        run: DagsterRun | None = self._run
        while run is not None and self._continues(run):
            run = parent_run(self._instance, run)
            if run is not None:
                yield run

    def _continues(self, run: DagsterRun) -> bool:
        return run.parent_run_id is not None and (
            self._flow.graph["start_node"] not in planned_nodes(self._flow, run)
        )

    def _file_of(self, run_id: str, name: str) -> str:
        return join(join(self._root, run_id), name)

    def _variables_file(self, run_id: str, step_key: str) -> str:
        return join(self._file_of(run_id, VARIABLES), f"{step_key}.pkl")


def parent_run(instance: DagsterInstance, run: DagsterRun) -> DagsterRun | None:
    """The run that a run is a re-execution of; None if it is none, or that one was deleted."""
    return instance.get_run_by_id(run.parent_run_id) if run.parent_run_id else None


def planned_nodes(flow: CompiledFlow, run: DagsterRun) -> set[str]:
    """The nodes whose steps a run executes."""
    keys = run.step_keys_to_execute
    return set(flow.nodes.values()) if keys is None else {
        flow.nodes[key] for key in keys if key in flow.nodes
    }  # fmt: skip
