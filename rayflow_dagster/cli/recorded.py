"""Running a flow as a recorded Dagster run, in this process."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    EventLogEntry,
    JobDefinition,
)

from rayflow_dagster.defs._dagster import (
    ErrorInfo,
    create_run,
    drive_run,
    failed_by_itself,
    step_error,
    wait_for_databases,
    was_interrupted,
)
from rayflow_dagster.defs.compiled import CompiledFlow
from rayflow_dagster.defs.executor import flow_executor
from rayflow_dagster.defs.failed_runs import error_text, own_error, step_failure
from rayflow_dagster.defs.jobs import build_compiled_job, compile_flow, job_name
from rayflow_dagster.defs.partitions import part_tags
from rayflow_dagster.defs.prestart import end_unused, start_early
from rayflow_dagster.defs.saying import DONE, SHARE
from rayflow_dagster.defs.side_by_side import refused_beside
from rayflow_dagster.defs.storage import StoredOutputs
from rayflow_dagster.engine.heard import FIRST_SECONDS
from rayflow_dagster.errors import RayflowError, ValidationError
from rayflow_dagster.instance.executing import executing, record_dead
from rayflow_dagster.optional import optional
from rayflow_dagster.orchestrator import Connect
from rayflow_dagster.timing import WORDS
from rayflow_dagster.values.stored import StoredValue

from .flows import FLOWS, LOCATION, FlowFile
from .home import use_home
from .recordings import open_instance
from .report import (
    STOPPED_TEXT,
    Fault,
    NodeReport,
    RunReport,
    Watcher,
    level_name,
    node_reports,
    note_behind,
    own_frames,
)

RESULT = "result"
MAX_PRINTED = 200_000


class RecordedRunner:
    """A flow, built as the Dagster job that the UI shows.

    ``connect``: what to run nodes on instead of Ray actors (``testing.in_process``).

    Raises:
        ValidationError: with all findings.
    """

    def __init__(self, flow: FlowFile, connect: Connect | None = None) -> None:
        title = job_name(flow.raw, flow.path)
        self._compiled = compile_flow(
            flow.raw, title, flow.project, file=flow.path, connect=connect
        )
        if refused := refused_beside(self._compiled, flow.path):
            raise ValidationError(refused, title)
        self._job = build_compiled_job(self._compiled, flow.raw, flow_executor)
        self._path = flow.path.resolve()
        self.graph = self._compiled.graph

    def _part(self, inputs: Mapping[str, Any], instance: DagsterInstance) -> dict[str, str]:
        """The tag of the partition that the inputs name, if the flow has partitions."""
        declared, definition = self._compiled.triggers.partitions, self._compiled.partitions
        if declared is None or definition is None:
            return {}
        return part_tags(declared, definition, self._job, inputs, instance)

    def run(self, inputs: Mapping[str, Any], watcher: Watcher) -> RunReport:
        """Run the flow to its end."""
        root = self._compiled.project.root
        home = use_home(root)
        started = time.perf_counter()
        with ExitStack() as opened:
            instance = opened.enter_context(open_instance(home))
            wait_for_databases(instance)
            tags = self._part(inputs, instance)
            opened.enter_context(_started_early(self._job))
            record_dead(instance)  # what a launcher does when it starts; there may be none
            start = self._compiled.steps[self.graph["start_node"]]
            config = {"ops": {start: {"config": dict(inputs)}}} if inputs else {}
            run = create_run(self._job, instance, config, tags, _location(root, self._path))
            listener = _Listener(self._compiled, instance, run.run_id, watcher)
            with executing(instance, run.run_id):
                drive_run(self._job, run, instance, listener.hear)
            listener.show_printed()
            finished = instance.get_run_by_id(run.run_id)
            status = finished.status if finished else DagsterRunStatus.FAILURE
            note_behind(listener.nodes, self.graph)
            return RunReport(
                nodes=list(listener.nodes.values()),
                result=listener.result(),
                error=listener.error(status),
                execution_time=time.perf_counter() - started,
                run_id=run.run_id,
                stopped=status == DagsterRunStatus.CANCELED,
                home=str(home),
            )


@contextmanager
def _started_early(job: JobDefinition) -> Iterator[None]:
    """Let the actors come up while the run is recorded."""
    start_early(job)
    try:
        yield
    finally:
        end_unused(job)


def _location(root: Path, flow: Path) -> str | None:
    """The file of the project's code location, under whose job the UI lists the run and re-executes
    it; None where that has no job of the flow.
    """
    has_job = flow.parent == root / FLOWS and (root / LOCATION).is_file()
    return LOCATION if has_job else None


@dataclass(slots=True)
class _Printing:
    """What a node prints to a file, and how far that was read."""

    node: NodeReport
    cursor: str | None = None


class _Listener:
    """Turns the events of a run into reports of its nodes."""

    def __init__(
        self, flow: CompiledFlow, instance: DagsterInstance, run_id: str, watcher: Watcher
    ) -> None:
        self._flow = flow
        self._instance = instance
        self._run_id = run_id
        self._watcher = watcher
        self._started: dict[str, float] = {}
        self._run_error: str | None = None
        self._is_of_run = False
        """Whether that error is none of a step."""
        self._returned: str | None = None
        self._printing: dict[str, _Printing] = {}
        """What nodes print, by the key of its file."""
        self.nodes: dict[str, NodeReport] = node_reports(flow.graph)
        self._handlers: Mapping[str, Callable[[NodeReport, EventLogEntry], None]] = {
            DagsterEventType.STEP_START.value: self._start,
            DagsterEventType.STEP_RESTARTED.value: self._start,
            DagsterEventType.STEP_OUTPUT.value: self._output,
            DagsterEventType.HANDLED_OUTPUT.value: self._stored,
            DagsterEventType.STEP_SUCCESS.value: self._succeed,
            DagsterEventType.STEP_FAILURE.value: self._fail,
            DagsterEventType.STEP_SKIPPED.value: self._skip,
            DagsterEventType.STEP_UP_FOR_RETRY.value: self._retry,
            DagsterEventType.LOGS_CAPTURED.value: self._note_printed,
            DagsterEventType.ENGINE_EVENT.value: self._engine_event,
        }

    def error(self, status: DagsterRunStatus) -> str | None:
        """Why the run did not succeed; None when it did."""
        if status == DagsterRunStatus.SUCCESS:
            return None
        if status == DagsterRunStatus.CANCELED:
            return STOPPED_TEXT
        faults = [
            f"Node {node.id} failed: {node.fault.text}"
            for node in self.nodes.values()
            if node.fault
        ]
        if self._run_error and (self._is_of_run or not faults):
            faults.insert(0, self._run_error)
        return "; ".join(faults) or f"the run ended as {status.value}"

    def hear(self, entry: EventLogEntry) -> None:
        """Take in one event or log record."""
        self.show_printed()
        event = entry.dagster_event
        if event is not None and event.event_type == DagsterEventType.RUN_FAILURE:
            error = step_error(event)
            self._run_error = error_text(error) if error else None
            self._is_of_run = failed_by_itself(event)
            return
        keys = [entry.step_key or ""]
        if event is not None and event.event_type == DagsterEventType.LOGS_CAPTURED:
            keys = list(event.logs_captured_data.step_keys or ())
        for key in keys:
            if key in self._flow.nodes:
                self._hear_of(self.nodes[self._flow.nodes[key]], entry)

    def _hear_of(self, node: NodeReport, entry: EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None:
            # Dagster itself also logs, of steps that it skips.
            if node.id in self._started and node.status == "pending":
                node.logs.append((level_name(int(entry.level)), entry.user_message))
                if time.time() - self._started[node.id] >= FIRST_SECONDS:
                    self._watcher.logged(node)
        elif event.event_type_value in self._handlers:
            self._handlers[event.event_type_value](node, entry)

    def _start(self, node: NodeReport, entry: EventLogEntry) -> None:
        if node.id in self._flow.calls:  # the call begins, whose own step comes last
            self._started[self._flow.calls[node.id]] = entry.timestamp
        if node.id not in self._flow.calls.values():
            self._started[node.id] = entry.timestamp
        node.attempts += 1
        node.times = {}
        self._watcher.started(node)

    def _output(self, node: NodeReport, entry: EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None:
            return
        data = event.step_output_data
        names = {name: port for port, name in self._flow.ports[node.id].exec_outputs.items()}
        if data.output_name in names:
            node.fired.append(names[data.output_name])
        self._note_times(node, data.metadata)

    def _note_times(self, node: NodeReport, metadata: Mapping[str, Any]) -> None:
        found = {name: metadata[word] for name, word in WORDS.items() if word in metadata}
        node.times |= {name: float(str(seconds.value)) for name, seconds in found.items()}
        node.seconds = node.times.get("process", node.seconds)

    def _stored(self, node: NodeReport, entry: EventLogEntry) -> None:
        """What the run's process has stored, which is told when it has."""
        data: Any = entry.dagster_event and entry.dagster_event.event_specific_data
        if data and WORDS["storing"] in data.metadata:
            seconds = float(str(data.metadata[WORDS["storing"]].value))
            node.times["storing"] = node.times.get("storing", 0.0) + seconds

    def _succeed(self, node: NodeReport, entry: EventLogEntry) -> None:
        if node.id in self._flow.graph["return_nodes"] and self._returned is None:
            self._returned = node.id
        node.status = "completed"
        self._settle(node, entry)

    def _fail(self, node: NodeReport, entry: EventLogEntry) -> None:
        if entry.dagster_event is None:
            return
        data = entry.dagster_event.step_failure_data
        if was_interrupted(data.error):
            node.status = "stopped"
        else:
            said = data.user_failure_data.description if data.user_failure_data else None
            node.status, node.fault = "failed", fault_of(node.id, data.error, said)
        self._settle(node, entry)

    def _skip(self, node: NodeReport, _entry: EventLogEntry) -> None:
        node.status = "skipped"
        if not self._is_of_skipped_call(node.id):
            self._watcher.settled(node)

    def _is_of_skipped_call(self, node_id: str) -> bool:
        """Whether it is enough to tell of a call that the node was skipped."""
        flow, start = self._flow, self._flow.start_of[node_id]
        if node_id in flow.calls.values():
            start = flow.start_of[start]
        return node_id in flow.calls or self.nodes[start].status == "skipped"

    def _retry(self, node: NodeReport, entry: EventLogEntry) -> None:
        if entry.dagster_event is not None:
            fault = fault_of(node.id, step_error(entry.dagster_event), None)
            self._watcher.retrying(node, fault.text)

    def _engine_event(self, node: NodeReport, entry: EventLogEntry) -> None:
        """That a failure was handled, or where the time of a failed node went."""
        if entry.dagster_event is not None:
            data = entry.dagster_event.engine_event_data
            node.handled = fault_of(node.id, data.error, None) if data.error else node.handled
            self._note_times(node, data.metadata)
            if SHARE in data.metadata or DONE in data.metadata:
                share: Any = data.metadata.get(SHARE)
                self._watcher.progressed(node, entry.user_message, share and share.value)

    def _note_printed(self, node: NodeReport, entry: EventLogEntry) -> None:
        if entry.dagster_event is not None:
            file_key = entry.dagster_event.logs_captured_data.file_key
            self._printing.setdefault(file_key, _Printing(node))

    def show_printed(self) -> None:
        """Tell the watcher what nodes have printed since, as far as the events speak of it."""
        for file_key, printing in list(self._printing.items()):
            if printing.node.status != "pending":
                del self._printing[file_key]
            with optional("showing what nodes printed"):
                key = [self._run_id, "compute_logs", file_key]
                data = self._instance.compute_log_manager.get_log_data(
                    key, printing.cursor, MAX_PRINTED
                )
                printing.cursor = data.cursor
                printed = b"".join(part for part in (data.stdout, data.stderr) if part)
                self._watcher.printed(printing.node, printed.decode(errors="replace"))

    def _settle(self, node: NodeReport, entry: EventLogEntry) -> None:
        lasted = entry.timestamp - self._started.get(node.id, entry.timestamp)
        node.duration = round(lasted, 6)
        if node.seconds is None:
            node.seconds = node.duration
        self._watcher.settled(node)

    def result(self) -> Mapping[str, Any]:
        """What the RETURN that was reached has stored; nothing where none was."""
        if self._returned is None:
            return {}
        stored = StoredOutputs(self._instance, self._run_id)
        value = stored.find(self._flow.steps[self._returned], RESULT)
        if isinstance(value, StoredValue):
            value = value.load()
        if not isinstance(value, Mapping):
            raise RayflowError(f"the stored result of run {self._run_id} is not a dict")
        return value


def fault_of(node_id: str, error: ErrorInfo | None, said: str | None) -> Fault:
    """What a step's error says, as ``step_failure`` does, with the author's frames."""
    text, note = step_failure(node_id, error, said)
    if text == said:
        return Fault(said)
    own = own_error(error)
    lines = "\n".join(line.strip() for line in note.strip().splitlines())
    return Fault(text, lines if lines != "none" else "", own_frames(own.stack if own else ()))
