"""Recorded Dagster runs in this process, and what their events tell of the time."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from _bench import BENCHMARKS, silent
from dagster import (
    DagsterEventType,
    DagsterInstance,
    JobDefinition,
    execute_job,
    reconstructable,
)
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

STARTED = DagsterEventType.STEP_START.value
SUCCEEDED = DagsterEventType.STEP_SUCCESS.value


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run. ``seconds``: from creating the run's record until it has ended.

    ``started`` and ``ended`` of each step are seconds since the run was asked for, as its events
    have them.
    """

    seconds: float
    started: Mapping[str, float]
    ended: Mapping[str, float]

    @property
    def span(self) -> float:
        """From the first step's start to the last step's end."""
        return max(self.ended.values()) - min(self.started.values())


def build(flow: Mapping[str, Any], name: str = "benchmark") -> JobDefinition:
    """The job of a flow, with the nodes of the benchmarks, under this package's executor."""
    from rayflow_dagster import build_job
    from rayflow_dagster.project import Project

    return build_job(flow, name, project=Project.at(BENCHMARKS, ["bench_nodes"]))


def record(job: JobDefinition, instance: DagsterInstance) -> float:
    """Seconds of a recorded run of ``job`` in this process, from creating it until it has ended.

    Raises:
        RuntimeError: the run failed.
    """
    return _run(job, instance)[0]


def watch(job: JobDefinition, instance: DagsterInstance) -> Run:
    """A recorded run of ``job`` in this process, with the times of its steps.

    Raises:
        RuntimeError: the run failed.
    """
    asked = time.time()
    seconds, run_id = _run(job, instance)
    times: dict[str, dict[str, float]] = {STARTED: {}, SUCCEEDED: {}}
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is not None and event.step_key and event.event_type_value in times:
            times[event.event_type_value][event.step_key] = entry.timestamp - asked
    return Run(seconds, times[STARTED], times[SUCCEEDED])


def record_elsewhere(job: Callable[[], JobDefinition], instance: DagsterInstance) -> float:
    """Seconds of a recorded run whose steps other processes run; ``job`` is one of a module's
    functions, which they import.

    Raises:
        RuntimeError: the run failed.
    """
    started = time.perf_counter()
    with silent(), execute_job(reconstructable(job), instance=instance) as result:
        seconds = time.perf_counter() - started
    check(instance, result.run_id)
    return seconds


def _run(job: JobDefinition, instance: DagsterInstance) -> tuple[float, str]:
    with silent():
        started = time.perf_counter()
        run = instance.create_run_for_job(job, tags=job.run_tags)
        execute_run(InMemoryJob(job), run, instance)
        seconds = time.perf_counter() - started
    check(instance, run.run_id)
    return seconds, run.run_id


def check(instance: DagsterInstance, run_id: str) -> None:
    """A benchmark of a failed run means nothing.

    Raises:
        RuntimeError: the run failed.
    """
    run = instance.get_run_by_id(run_id)
    if run is None or not run.is_success:
        events = [entry.dagster_event for entry in instance.all_logs(run_id)]
        told = [
            f"{event.message} {getattr(event.event_specific_data, 'error', None) or ''}"
            for event in events
            if event is not None
        ]
        raise RuntimeError("the run failed; its last events:\n" + "\n".join(told[-6:]))
