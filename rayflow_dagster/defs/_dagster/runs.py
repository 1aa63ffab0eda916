"""Runs and ticks: creating and driving a run, what its errors stand for, what its code location
froze; and whether a sensor is evaluated for a tick that is recorded.
"""

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Any

from dagster import (
    DagsterEvent,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    EventLogEntry,
    JobDefinition,
    RetryRequested,
    ScheduleEvaluationContext,
    SensorEvaluationContext,
)
from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
)
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import EngineEventData, RunFailureReason
from dagster._core.execution.api import execute_run_iterator
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster_shared.error import SerializableErrorInfo

from rayflow_dagster.errors import StorageError
from rayflow_dagster.optional import optional


def frozen_texts(prefix: str) -> dict[str, str]:
    """What ``freeze`` kept under keys with this prefix when the code location loaded; nothing while
    it loads for the first time.

    A run worker or step process imports the definitions again; Dagster hands it the metadata of
    the load that its run was created from.
    """
    context = DefinitionsLoadContext.get()
    if context.load_type != DefinitionsLoadType.RECONSTRUCTION:
        return {}
    kept = context.reconstruction_metadata
    return {key: text for key, text in kept.items() if key.startswith(prefix)}


def freeze(key: str, text: str) -> None:
    """Have ``frozen_texts`` give ``text`` wherever this load is reconstructed."""
    DefinitionsLoadContext.get().add_to_pending_reconstruction_metadata(key, text)


ErrorInfo = SerializableErrorInfo

# Dagster's public ``execute_job`` returns when the run is over; a person at a terminal wants to see
# each event as it happens, so the run is created and driven in two steps here.


def create_run(
    job: JobDefinition,
    instance: DagsterInstance,
    run_config: Mapping[str, Any],
    tags: Mapping[str, str],
    file: str | None,
) -> DagsterRun:
    """Record a run that has not started. ``file``: that of the code location which has the job, if
    one has it: the UI re-executes a run only there.
    """
    origin = None
    if file is not None:
        location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(python_file=file))
        repository = RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME)
        origin = RemoteJobOrigin(repository, job.name)
        tags = {**tags, REPOSITORY_LABEL_TAG: repository.get_label()}
    return instance.create_run_for_job(
        job, run_config=run_config, tags={**job.run_tags, **tags}, remote_job_origin=origin
    )


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

    def tell(entry: EventLogEntry) -> None:
        with optional("following a run's events"):  # Dagster would fail the run
            listener(entry)

    instance.add_event_listener(run.run_id, tell)
    held = io.StringIO()
    told = False
    with contextlib.redirect_stderr(held):
        for event in execute_run_iterator(InMemoryJob(job), run, instance):
            if is_interruption(event) and not told:
                # Dagster counts a run as failed whose end nobody had asked for.
                told = True
                if not _is_canceling(instance, run.run_id):  # else somebody has, in the UI
                    instance.report_run_canceling(run, message="Stopped at the terminal.")


def _is_canceling(instance: DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is not None and run.status == DagsterRunStatus.CANCELING


def run_database_url(instance: DagsterInstance) -> str | None:
    """The URL of the PostgreSQL database that runs are recorded in; None for SQLite's files.

    Raises:
        StorageError: it is a database of another kind.
    """
    # Here: with what they import, they take longer than to load a hundred flows.
    from dagster._core.storage.legacy_storage import LegacyRunStorage
    from dagster._core.storage.runs import InMemoryRunStorage, SqliteRunStorage

    storage: Any = instance.run_storage
    if isinstance(storage, LegacyRunStorage):
        storage = storage._storage.run_storage
    if isinstance(storage, (SqliteRunStorage, InMemoryRunStorage)):
        return None
    url = getattr(storage, "postgres_url", None)
    if not isinstance(url, str):
        raise StorageError(
            f"this Dagster instance records its runs in a {type(storage).__name__}, and variables "
            "are kept between runs in SQLite or PostgreSQL only; change the instance's storage, "
            'or declare the variables with "scope": "run"'
        )
    return url


def is_interruption(event: DagsterEvent) -> bool:
    """Whether a step or an executor says that it was told to stop."""
    data = event.event_specific_data
    is_told = isinstance(data, EngineEventData) and "steps_interrupted" in data.metadata
    return is_told or was_interrupted(step_error(event))


def was_interrupted(error: ErrorInfo | None) -> bool:
    """Whether an error stands for Ctrl-C or a request to terminate."""
    return error is not None and error.cls_name == DagsterExecutionInterruptedError.__name__


def is_wrapper(error: ErrorInfo) -> bool:
    """Whether an error of Dagster's own, or our request to try again, stands around the one that
    matters.
    """
    name = error.cls_name or ""
    return name.startswith("Dagster") or name == RetryRequested.__name__


def step_error(event: DagsterEvent) -> ErrorInfo | None:
    """The error that a failed step or run carries."""
    data: Any = event.event_specific_data
    return getattr(data, "error", None)


def failed_by_itself(event: DagsterEvent) -> bool:
    """Whether a run has failed for more than that steps of it have: its error is then its own."""
    data: Any = event.event_specific_data
    return getattr(data, "failure_reason", None) == RunFailureReason.RUN_EXCEPTION


def is_tick(context: SensorEvaluationContext | ScheduleEvaluationContext) -> bool:
    """Whether the daemon evaluates a trigger. It has recorded the tick before, under the number
    that its log has; what somebody only tries (the UI, ``dagster sensor preview``, a test) has
    none.
    """
    number = (context.log_key or [""])[-1]
    storage = context.instance.schedule_storage
    if storage is None or not number.isdecimal():
        return False
    ticks = storage.get_ticks_by_ids([int(number)])
    return any(tick.status == TickStatus.STARTED for tick in ticks)
