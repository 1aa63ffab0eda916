"""Running flows inside Dagster, and reading what became of each node, for tests."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import (
    DagsterEvent,
    DagsterInstance,
    DagsterRun,
    ExecutorDefinition,
    JobDefinition,
    multiprocess_executor,
)
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.compiled import CompiledFlow
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.defs.storage import StoredOutputs
from rayflow_dagster.orchestrator import Connect
from rayflow_dagster.project import Project, ProjectSettings
from rayflow_dagster.values.stored import StoredValue

TESTS = Path(__file__).parent
PROJECT = Project(TESTS, ("flow_nodes",), ProjectSettings(storages=["/"]))
MULTIPROCESS = multiprocess_executor.configured(
    {
        "max_concurrent": 2,
        "start_method": {"forkserver": {"preload_modules": ["preloaded"]}},
    }
)
"""Dagster's executor of a process for each step, forked from one that has the imports done."""


@dataclass(frozen=True)
class FlowRun:
    """A finished Dagster run of a flow."""

    success: bool
    result: dict[str, Any]
    statuses: dict[str, str]
    """Node id -> completed, skipped, failed, or pending when it has no step event."""
    events: list[DagsterEvent]
    run_id: str

    def of_step(self, key: str) -> list[str]:
        return [event.event_type_value for event in self.events if event.step_key == key]


def compile_test_flow(flow: Mapping[str, Any]) -> CompiledFlow:
    return compile_flow(flow, "test", PROJECT)


def run_in_dagster(
    flow: Mapping[str, Any],
    inputs: Mapping[str, Any],
    instance: DagsterInstance,
    executor_def: ExecutorDefinition | None = None,
    connect: Connect | None = None,
    **options: Any,
) -> FlowRun:
    """Run a flow as a recorded Dagster run, by default under our executor on Ray actors."""
    job = build_job(flow, "test", project=PROJECT, executor_def=executor_def, connect=connect)
    return run_job(job, compile_test_flow(flow), inputs, instance, **options)


def run_job(
    job: JobDefinition,
    flow: CompiledFlow,
    inputs: Mapping[str, Any],
    instance: DagsterInstance,
    run_config: Mapping[str, Any] | None = None,
    **options: Any,
) -> FlowRun:
    start = flow.steps[flow.graph["start_node"]]
    config = run_config if run_config is not None else {"ops": {start: {"config": dict(inputs)}}}
    run = instance.create_run_for_job(job, run_config=config, tags=job.run_tags, **options)
    execute_run(InMemoryJob(job), run, instance)
    return read_run(instance, run.run_id, flow)


def run_and_interrupt(
    job: JobDefinition, instance: DagsterInstance, when: Callable[[], bool]
) -> DagsterRun:
    """Run a job and terminate it, as the UI does, once ``when`` holds; the run as recorded."""
    run = instance.create_run_for_job(job)

    def interrupt() -> None:
        while not when():
            time.sleep(0.02)
        instance.report_run_canceling(run)
        os.kill(os.getpid(), signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    execute_run(InMemoryJob(job), run, instance)
    interrupting.join()
    recorded = instance.get_run_by_id(run.run_id)
    assert recorded is not None
    return recorded


def read_run(instance: DagsterInstance, run_id: str, flow: CompiledFlow) -> FlowRun:
    logs = instance.all_logs(run_id)
    events = [entry.dagster_event for entry in logs if entry.dagster_event is not None]
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return FlowRun(
        run.is_success,
        _result(flow, events, instance, run_id),
        _statuses(flow, events),
        events,
        run_id,
    )


def _statuses(flow: CompiledFlow, events: list[DagsterEvent]) -> dict[str, str]:
    settled = {
        "STEP_SUCCESS": "completed",
        "STEP_FAILURE": "failed",
        "STEP_SKIPPED": "skipped",
    }
    statuses = dict.fromkeys(flow.flat["nodes"], "pending")
    for event in events:
        if event.event_type_value in settled and event.step_key:
            statuses[flow.nodes[event.step_key]] = settled[event.event_type_value]
    return statuses


def _result(
    flow: CompiledFlow, events: list[DagsterEvent], instance: DagsterInstance, run_id: str
) -> dict[str, Any]:
    for event in events:
        key = event.step_key
        if event.is_step_success and key and flow.nodes[key] in flow.graph["return_nodes"]:
            value = StoredOutputs(instance, run_id).find(key, "result")
            result: dict[str, Any] = value.load() if isinstance(value, StoredValue) else value
            return result
    return {}
