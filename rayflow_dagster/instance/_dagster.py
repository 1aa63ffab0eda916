"""Private API of Dagster: every use of it in ``instance`` stands here. Checked on Dagster 1.13.27.

Tests named ``test_*_internals.py`` in ``tests/instance`` fail loudly when one of these changes.
"""

import contextlib
import hashlib
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster
from dagster import DagsterEvent, DagsterInstance, DagsterRun, EventLogEntry, RunsFilter

# ---------------------------------------------------------------------------------------------
# Event-log storage
# ---------------------------------------------------------------------------------------------
from dagster._config.config_schema import UserConfigSchema
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.event_api import EventHandlerFn, EventLogCursor
from dagster._core.events import DagsterEventType, JobFailureData, RunFailureReason
from dagster._core.instance import InstanceRef
from dagster._core.launcher import (
    CheckRunHealthResult,
    LaunchRunContext,
    RunLauncher,
    WorkerStatus,
)
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.storage import sqlite_storage
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.base import EventLogConnection
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.sqlite import create_db_conn_string
from dagster._core.storage.tags import BACKFILL_ID_TAG, GRPC_INFO_TAG
from dagster._serdes import (
    ConfigurableClass,
    ConfigurableClassData,
    deserialize_value,
    serialize_value,
)
from sqlalchemy import Engine

__all__ = [
    "BACKFILL_ID_TAG",
    "INDEX_SHARD_NAME",
    "CheckRunHealthResult",
    "ConfigurableClass",
    "ConfigurableClassData",
    "DagsterEventType",
    "DagsterRunStatus",
    "DagsterUserCodeUnreachableError",
    "EventHandlerFn",
    "EventLogConnection",
    "EventLogCursor",
    "EventTable",
    "LaunchRunContext",
    "RunLauncher",
    "SqliteEventLogStorage",
    "SubmitRunContext",
    "UserConfigSchema",
    "WorkerStatus",
    "create_db_conn_string",
    "default_event_log_folder",
    "event_type_of",
    "execute_run",
    "explain_exit",
    "foreign_code",
    "initialise_shard",
    "local_environment",
    "open_instance",
    "pack_instance",
    "report_lost",
    "run_limit",
    "schema_version",
    "starting_runs",
]

EventTable = SqlEventLogStorageTable
MIGRATIONS = Path(dagster.__file__).parent / "_core" / "storage" / "alembic" / "versions"


def default_event_log_folder(instance: DagsterInstance) -> str:
    """Where Dagster's own SQLite storage keeps the events of this instance."""
    return sqlite_storage._event_logs_directory(instance.root_directory)


def initialise_shard(engine: Engine) -> None:
    """Make the tables of a shard and stamp its revision, or leave it as it is if it has them.

    Safe beside other processes that do the same. Takes a tenth of a second.
    """
    unmade = SqliteEventLogStorage.__new__(SqliteEventLogStorage)
    unmade._initdb(engine)


def schema_version() -> str:
    """Another text whenever the newest Alembic revision, or anything else in Dagster, has changed.

    To learn the revision itself means importing every migration script, 15 ms for each process;
    the scripts are named after their revisions, so their names tell the same.
    """
    scripts = sorted(script.name for script in MIGRATIONS.glob("*.py"))
    return f"{dagster.__version__}-{hashlib.sha256(' '.join(scripts).encode()).hexdigest()[:16]}"


def event_type_of(event: EventLogEntry) -> str | None:
    """None for a log message, which carries no Dagster event."""
    return event.dagster_event.event_type_value if event.dagster_event is not None else None


# ---------------------------------------------------------------------------------------------
# Run launcher and run coordinator
# ---------------------------------------------------------------------------------------------
# What only a run worker needs is imported when it is needed: every process that opens the instance
# imports this module.


def pack_instance(instance: DagsterInstance) -> str:
    """A text from which another process opens the same instance."""
    return serialize_value(instance.get_ref())


def local_environment() -> contextlib.AbstractContextManager[None]:
    """What Dagster's own commands run in: what the ``.env`` file of the working directory sets is
    set, over what was set before, until the block ends.
    """
    from dagster._cli.utils import _inject_local_env_file

    return _inject_local_env_file(logging.getLogger(__name__))


@contextlib.contextmanager
def open_instance(packed: str) -> Iterator[DagsterInstance]:
    """The instance of ``pack_instance``, with the ``.env`` file of the working directory."""
    from dagster._cli.utils import get_instance_for_cli

    with get_instance_for_cli(instance_ref=deserialize_value(packed, InstanceRef)) as instance:
        yield instance


def execute_run(run_id: str, packed: str, before: Callable[[str], None]) -> bool:
    """What ``dagster api execute_run`` does in its process; whether the run is finished then.

    ``before`` is called with the job's name before its code is loaded.
    """
    from dagster._cli.api import _execute_run_command_body
    from dagster._utils.interrupts import capture_interrupts

    with capture_interrupts(), open_instance(packed) as instance:
        run = instance.get_run_by_id(run_id)
        if run is not None:
            before(run.job_name)

        def seen(event: DagsterEvent) -> None:
            if event.event_type == DagsterEventType.RUN_START:
                with capture_interrupts():  # a signal waits: it would break off what is done here
                    _keep_canceling(instance, run_id)

        _execute_run_command_body(run_id, instance, seen, set_exit_code_on_failure=False)
        run = instance.get_run_by_id(run_id)
        return run is None or run.is_finished


def _keep_canceling(instance: DagsterInstance, run_id: str) -> None:
    """Have a run that was told to terminate while it started be on its way to be cancelled: that it
    has started overwrites that, and Dagster takes it then to have been interrupted by accident.
    """
    run = instance.get_run_by_id(run_id) if _was_told_to_end(instance, run_id) else None
    if run is not None and run.status == DagsterRunStatus.STARTED:
        instance.report_run_canceling(run, "The run was told to terminate before it had started")


def starting_runs(instance: DagsterInstance, seconds: float) -> list[str]:
    """The runs that a fork server was to execute and that have stood as starting for so long.

    None where others than the processes of this machine may launch runs of the instance.
    """
    if not isinstance(instance.run_storage, SqliteRunStorage):
        return []
    before = datetime.now(UTC) - timedelta(seconds=seconds)
    long = RunsFilter(statuses=[DagsterRunStatus.STARTING], updated_before=before)
    runs = instance.get_runs(long)
    return [run.run_id for run in runs if not is_of_server(run) and foreign_code(run) is None]


def is_of_server(run: DagsterRun) -> bool:
    """Whether Dagster's own launcher has launched the run, on a code server."""
    return GRPC_INFO_TAG in run.tags


def _was_told_to_end(instance: DagsterInstance, run_id: str) -> bool:
    """Whether somebody has asked for the end of a run, whatever its status says."""
    return bool(instance.all_logs(run_id, of_type=DagsterEventType.RUN_CANCELING))


def explain_exit(run_id: str, exit_code: int) -> str:
    """Dagster's own words for the end of a process; ``exit_code`` is as ``subprocess`` has it."""
    from dagster._utils import get_run_crash_explanation

    return get_run_crash_explanation(f"Run execution process for {run_id}", exit_code)


def report_lost(instance: DagsterInstance, run_id: str, message: str) -> None:
    """Record the end of a run whose worker has died, unless its end is recorded, and free what
    it held in pools.
    """
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return
    instance.report_engine_event(message, run)
    if _was_told_to_end(instance, run_id):
        instance.report_run_canceled(run)
    else:
        reason = RunFailureReason.UNEXPECTED_TERMINATION  # as Dagster has it for one told to end
        instance.report_run_failed(run, message, JobFailureData(None, failure_reason=reason))
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)  # nobody else will


def foreign_code(run: DagsterRun) -> str | None:
    """Why this Python, in this environment, cannot load the code of a run; None if it can."""
    origin = run.job_code_origin
    if origin is None:
        return "the run does not say where its code is"
    if origin.executable_path != sys.executable:
        return f"its code location has a Python of its own, {origin.executable_path}"
    remote = run.remote_job_origin
    server = remote.repository_origin.code_location_origin if remote is not None else None
    # Servers on a socket are those that `dagster dev` starts, in its own folder and environment.
    if isinstance(server, GrpcServerCodeLocationOrigin) and not server.socket:
        return f"its code is served by {server.host}:{server.port}"
    return None


def run_limit(instance: DagsterInstance, run: DagsterRun) -> int | None:
    """How many runs may be in progress (-1: any number); None if pools, or tags that ``run`` has,
    limit them too.
    """
    limits = instance.get_concurrency_config().run_queue_config
    if limits is None:
        return None
    if any(limit["key"] in run.tags for limit in limits.tag_concurrency_limits or ()):
        return None
    storage = instance.event_log_storage
    if storage.supports_global_concurrency_limits and storage.get_pool_limits():
        return None
    return limits.max_concurrent_runs
