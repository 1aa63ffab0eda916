"""Flows with triggers in a folder of their own, evaluated as the daemon does."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    JobDefinition,
    RepositoryDefinition,
    RunRequest,
    SensorEvaluationContext,
    build_schedule_context,
    validate_run_config,
)
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from drawing import draw, node

from rayflow_dagster import build_definitions
from rayflow_dagster.types import RETURN_CLASS, START_CLASS

ONE_AT_A_TIME = {
    "run_coordinator": {
        "module": "rayflow_dagster.instance.coordinator",
        "class": "PromptRunCoordinator",
        "config": {
            "tag_concurrency_limits": [
                {
                    "key": "rayflow/one_at_a_time",
                    "value": {"applyLimitPerUniqueValue": True},
                    "limit": 1,
                }
            ]
        },
    }
}
"""As in the project's ``dagster.yaml``."""


def flow_of(inputs: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    """A flow that gives back what START has."""
    wires = ["start > back", *(f"start.{name} - back.{name}" for name in inputs)]
    nodes = {"start": node(START_CLASS, inputs=dict(inputs)), "back": RETURN_CLASS}
    return draw(nodes, ", ".join(wires), **keys)


def load(project: Path, flows: Mapping[str, Mapping[str, Any]]) -> RepositoryDefinition:
    """The code location of a project with these flows."""
    folder = project / "flows"
    folder.mkdir(parents=True, exist_ok=True)
    (project / "definitions.py").touch()
    for name, flow in flows.items():
        (folder / f"{name}.json").write_text(json.dumps(flow))
    return build_definitions(folder).get_repository_def()


def job_of(repository: RepositoryDefinition, name: str) -> JobDefinition:
    return repository.get_job(name)


def started(ticks: "Ticks", requests: Sequence[RunRequest]) -> list[DagsterRun]:
    """What the daemon makes of what a tick asks for."""
    job = job_of(ticks.repository, ticks.sensor.job.name)
    runs = []
    for request in requests:
        tags = {"dagster/run_key": request.run_key or "", "dagster/sensor_name": ticks.sensor.name}
        tags |= request.tags
        runs.append(record(ticks.instance, job, DagsterRunStatus.SUCCESS, tags, request.run_config))
    return runs


class Ticks:
    """The ticks of one sensor, each with the cursor that the one before has left."""

    def __init__(
        self, repository: RepositoryDefinition, name: str, instance: DagsterInstance
    ) -> None:
        self.repository = repository
        self.sensor = repository.get_sensor_def(name)
        self.instance = instance
        self.cursor: str | None = None
        self.completed: float | None = None
        """When the last tick was over."""
        self.skipped: str | None = None
        self.added: Sequence[Any] = ()

    def tick(self) -> Sequence[RunRequest]:
        """What a tick asks for."""
        ref = self.instance.get_ref() if self.instance.is_persistent else None
        with SensorEvaluationContext(
            ref,
            instance=self.instance,
            cursor=self.cursor,
            repository_def=self.repository,
            last_tick_completion_time=self.completed,
        ) as context:
            data = self.sensor.evaluate_tick(context)
        self.completed = (self.completed or 0.0) + 1.0
        self.cursor, self.skipped = data.cursor, data.skip_message
        self.added = data.dynamic_partitions_requests or ()
        requests = data.run_requests or []
        return [checked(self.repository, self.sensor.job.name, each) for each in requests]

    def inputs(self) -> list[Any]:
        """The inputs of the runs that a tick asks for."""
        return [inputs_of(request) for request in self.tick()]


def schedule_tick(
    repository: RepositoryDefinition, name: str, instance: DagsterInstance, time: datetime
) -> tuple[list[RunRequest], str | None]:
    """What a schedule's tick asks for, and why it asks for nothing."""
    schedule = repository.get_schedule_def(name)
    with build_schedule_context(
        instance=instance, scheduled_execution_time=time, repository_def=repository
    ) as context:
        data = schedule.evaluate_tick(context)
    requests = [checked(repository, schedule.job.name, each) for each in data.run_requests or []]
    return requests, data.skip_message


def checked(repository: RepositoryDefinition, job: str, request: RunRequest) -> RunRequest:
    """The request, if the job takes its configuration."""
    validate_run_config(job_of(repository, job), request.run_config)
    return request


def inputs_of(request: RunRequest) -> Any:
    return request.run_config.get("ops", {}).get("start", {}).get("config", {})


@contextmanager
def kept_instance(folder: Path, settings: Mapping[str, Any]) -> Iterator[DagsterInstance]:
    quiet = {"telemetry": {"enabled": False}, **settings}
    folder.mkdir()
    with DagsterInstance.local_temp(str(folder), overrides=quiet) as instance:
        yield instance


def record(
    instance: DagsterInstance,
    job: JobDefinition,
    status: DagsterRunStatus,
    tags: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> DagsterRun:
    """A run that goes on, or has ended, in the instance's records."""
    server = ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(python_file="definitions.py"), "location"
    )
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), job.name)
    return instance.create_run_for_job(
        job,
        run_config=config,
        status=status,
        tags=dict(tags or {}),
        remote_job_origin=origin,
    )
