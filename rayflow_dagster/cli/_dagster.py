"""Private API of Dagster that the command line uses. Checked on Dagster 1.13.27.

Dagster's public ``execute_job`` returns when the run is over; a person at a terminal wants to see
each event as it happens, so the run is created and driven in two steps here.
"""

import contextlib
import io
from collections.abc import Callable, Mapping
from typing import Any

from dagster import DagsterEvent, DagsterInstance, DagsterRun, EventLogEntry, JobDefinition
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG
from dagster_shared.error import SerializableErrorInfo

__all__ = ["LOG_TAIL", "REPOSITORY_LABEL_TAG", "ErrorInfo", "create_run", "drive_run"]

ErrorInfo = SerializableErrorInfo
LOG_TAIL = 2000


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
    with contextlib.redirect_stderr(held):
        for _ in execute_run_iterator(InMemoryJob(job), run, instance):
            pass


def step_error(event: DagsterEvent) -> ErrorInfo | None:
    """The error that a failed step or run carries."""
    data: Any = event.event_specific_data
    return getattr(data, "error", None)
