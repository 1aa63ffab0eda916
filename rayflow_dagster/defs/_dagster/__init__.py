"""Private API of Dagster: every use of it in ``defs`` stands here. Checked on Dagster 1.13.27.

``tests/defs/test_dagster_internals.py`` fails loudly when one of these changes.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dagster import (
    DagsterEvent,
    DagsterInstance,
    DagsterRun,
    EventLogEntry,
    JobDefinition,
    OpExecutionContext,
)
from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
)
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.utils import DISALLOWED_NAMES
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import DagsterEventType, EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable, execute_run_iterator
from dagster._core.execution.context.system import (
    PlanExecutionContext,
    PlanOrchestrationContext,
    StepExecutionContext,
)
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.execute_plan import _trigger_hook, dagster_event_sequence_for_step
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.step import ExecutionStep
from dagster._core.execution.plan.utils import RetryRequestedFromPolicy
from dagster._core.execution.retries import RetryMode
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.tags import (
    COMPUTE_KIND_TAG,
    KIND_PREFIX,
    PARENT_RUN_ID_TAG,
    PRIORITY_TAG,
    REPOSITORY_LABEL_TAG,
)
from dagster_shared.error import SerializableErrorInfo

__all__ = [
    "COMPUTE_KIND_TAG",
    "DISALLOWED_NAMES",
    "KIND_PREFIX",
    "PARENT_RUN_ID_TAG",
    "PRIORITY_TAG",
    "REPOSITORY_LABEL_TAG",
    "ActiveExecution",
    "DagsterExecutionInterruptedError",
    "ErrorInfo",
    "ExecutionPlan",
    "ExecutionStep",
    "FlowActiveExecution",
    "InstanceConcurrencyContext",
    "PlanExecutionContext",
    "PlanOrchestrationContext",
    "RetryMode",
    "StepExecutionContext",
    "StepLogs",
    "abandon_unstarted",
    "capture_step_logs",
    "create_run",
    "drive_run",
    "engine_event",
    "interrupted_event",
    "is_wrapper",
    "load_frozen",
    "parked_event",
    "run_with_plan",
    "skip_unstarted",
    "step_error",
    "step_events",
    "steps_of_this_process",
    "trigger_hooks",
    "was_interrupted",
]


def step_events(step_context: StepExecutionContext) -> Iterator[DagsterEvent]:
    """Dagster's own generator of one step's events."""
    return dagster_event_sequence_for_step(step_context)


def trigger_hooks(
    step_context: StepExecutionContext, events: Sequence[DagsterEvent]
) -> Iterator[DagsterEvent]:
    """Run the hooks of a settled step."""
    return _trigger_hook(step_context, events)


def run_with_plan(
    plan_context: PlanOrchestrationContext, iterator: Any, executor: Any
) -> Iterator[DagsterEvent]:
    """Set up the run's resources, drive ``iterator(job_context, execution_plan)``, tear down."""
    yield from ExecuteRunWithPlanIterable(
        execution_plan=plan_context.execution_plan,
        iterator=iterator,
        execution_context_manager=PlanExecutionContextManager(
            job=plan_context.job,
            retry_mode=plan_context.retry_mode,
            execution_plan=plan_context.execution_plan,
            run_config=plan_context.run_config,
            dagster_run=plan_context.dagster_run,
            instance=plan_context.instance,
            raise_on_error=plan_context.raise_on_error,
            output_capture=plan_context.output_capture,
            step_dependency_config=executor.step_dependency_config,
        ),
    )


def engine_event(
    plan_context: PlanOrchestrationContext | PlanExecutionContext,
    message: str,
    steps: Sequence[str],
) -> DagsterEvent:
    """An event of the executor itself."""
    data = EngineEventData.in_process(os.getpid(), list(steps))
    return DagsterEvent.engine_event(plan_context, message, event_specific_data=data)


def interrupted_event(job_context: PlanExecutionContext, steps: Sequence[str]) -> DagsterEvent:
    """Says that the run was told to stop while these steps ran."""
    return DagsterEvent.engine_event(
        job_context,
        "Received a termination signal; ending the actors of running nodes",
        EngineEventData.interrupted(list(steps)),
    )


def parked_event(job_name: str) -> DagsterEvent:
    """What an op yields when its step waits for an actor. The executor swallows it: it is
    neither logged nor stored.
    """
    return DagsterEvent(
        event_type_value=DagsterEventType.ENGINE_EVENT.value,
        job_name=job_name,
        message="parked",
        event_specific_data=EngineEventData(),
    )


class FlowActiveExecution(ActiveExecution):
    """Dagster's bookkeeping of a plan, with one rule of flows: what depends on a failed node stays
    pending. Dagster would record it as skipped if another of its sources was skipped, and a step
    recorded as skipped never runs in a re-execution.
    """

    def _should_skip_step(self, step_key: str) -> bool:
        sources = self._plan.get_executable_step_deps()[step_key]
        if sources & (self._failed | self._abandoned):
            return False
        return super()._should_skip_step(step_key)


def _unstarted(active: ActiveExecution) -> list[str]:
    return [*active._pending, *active._executable, *active._waiting_to_retry]


def _forget_unstarted(active: ActiveExecution, keys: Sequence[str]) -> None:
    active._pending.clear()
    active._executable.clear()
    active._waiting_to_retry.clear()
    active._in_flight.update(keys)


def skip_unstarted(active: ActiveExecution) -> list[ExecutionStep]:
    """Settle every step that has not started as skipped; the caller logs the events."""
    keys = [*_unstarted(active), *active._pending_skip, *active._pending_abandon]
    _forget_unstarted(active, keys)
    active._pending_skip.clear()
    active._pending_abandon.clear()
    for key in keys:
        active.mark_skipped(key)
    return [active.get_step_by_key(key) for key in keys]


def abandon_unstarted(active: ActiveExecution) -> None:
    """Give up every step that has not started, without an event, so that a re-execution from
    failure runs it. Steps whose sources were skipped stay to be settled as skipped.
    """
    keys = _unstarted(active)
    _forget_unstarted(active, keys)
    for key in keys:
        active.mark_abandoned(key)


@contextlib.contextmanager
def capture_step_logs(job_context: PlanExecutionContext, step_key: str) -> Iterator["StepLogs"]:
    """Files for what a step prints, made when it first prints."""
    with contextlib.ExitStack() as stack:
        yield StepLogs(job_context, step_key, stack)


class StepLogs:
    """Writes text to the captured output of a step."""

    def __init__(
        self, job_context: PlanExecutionContext, step_key: str, stack: contextlib.ExitStack
    ) -> None:
        self._context = job_context
        self._manager = job_context.instance.compute_log_manager
        self._key = [job_context.run_id, "compute_logs", step_key]
        self._step_key = step_key
        self._stack = stack
        self._streams: dict[ComputeIOType, Any] = {}

    def write(self, text: str, *, error: bool = False) -> None:
        io_type = ComputeIOType.STDERR if error else ComputeIOType.STDOUT
        if io_type not in self._streams:
            opened = self._manager.open_log_stream(self._key, io_type)
            self._streams[io_type] = self._stack.enter_context(opened)
        stream = self._streams[io_type]
        if stream is not None:
            stream.write(text)

    def announce(self) -> Iterator[DagsterEvent]:
        """The event that tells the UI of the captured output, if anything was printed."""
        if self._streams:
            yield DagsterEvent.capture_logs(
                self._context, [self._step_key], self._key, CapturedLogContext(self._key)
            )


def steps_of_this_process(context: OpExecutionContext) -> Sequence[str]:
    """The keys of the steps that this process executes: all of the run's, or under the
    multiprocess executor one.
    """
    return context.get_step_execution_context().execution_plan.step_keys_to_execute


def load_frozen(key: str) -> Any:
    """What ``freeze`` kept when the code location loaded; None while it loads for the first time.

    A run worker or step process imports the definitions again; Dagster hands it the metadata of
    the load that its run was created from.
    """
    context = DefinitionsLoadContext.get()
    if context.load_type != DefinitionsLoadType.RECONSTRUCTION:
        return None
    return context.reconstruction_metadata.get(key)


def freeze(key: str, text: str) -> None:
    """Have ``load_frozen(key)`` give ``text`` wherever this load is reconstructed."""
    DefinitionsLoadContext.get().add_to_pending_reconstruction_metadata(key, text)


ErrorInfo = SerializableErrorInfo

# Dagster's public ``execute_job`` returns when the run is over; a person at a terminal wants to see
# each event as it happens, so the run is created and driven in two steps here.


def create_run(
    job: JobDefinition,
    instance: DagsterInstance,
    run_config: Mapping[str, Any],
    tags: Mapping[str, str],
) -> DagsterRun:
    """Record a run that has not started."""
    return instance.create_run_for_job(job, run_config=run_config, tags={**job.run_tags, **tags})


def drive_run(
    job: JobDefinition,
    run: DagsterRun,
    instance: DagsterInstance,
    listener: Callable[[EventLogEntry], None],
) -> None:
    """Execute a run in this process; ``listener`` gets every event and log record of it.

    Dagster's console log goes to standard error, which is held back meanwhile: what it says
    reaches the user through ``listener``.
    """
    instance.add_event_listener(run.run_id, listener)
    held = io.StringIO()
    told = False
    with contextlib.redirect_stderr(held):
        for event in execute_run_iterator(InMemoryJob(job), run, instance):
            if is_interruption(event) and not told:
                # Dagster counts a run as failed whose end nobody had asked for.
                told = True
                instance.report_run_canceling(run, message="Stopped at the terminal.")


def is_interruption(event: DagsterEvent) -> bool:
    """Whether a step or an executor says that it was told to stop."""
    data = event.event_specific_data
    is_told = isinstance(data, EngineEventData) and "steps_interrupted" in data.metadata
    return is_told or was_interrupted(step_error(event))


def was_interrupted(error: ErrorInfo | None) -> bool:
    """Whether an error stands for Ctrl-C or a request to terminate."""
    return error is not None and error.cls_name == DagsterExecutionInterruptedError.__name__


def is_wrapper(error: ErrorInfo) -> bool:
    """Whether an error of Dagster's own stands around the one that matters."""
    name = error.cls_name or ""
    return name.startswith("Dagster") or name == RetryRequestedFromPolicy.__name__


def step_error(event: DagsterEvent) -> ErrorInfo | None:
    """The error that a failed step or run carries."""
    data: Any = event.event_specific_data
    return getattr(data, "error", None)
