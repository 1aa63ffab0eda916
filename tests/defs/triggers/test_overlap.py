"""What a trigger does while a run that it started goes on."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, JobDefinition, RunRequest
from dagster._core.run_coordinator import SubmitRunContext
from defs.triggers.triggered import (
    ONE_AT_A_TIME,
    Ticks,
    flow_of,
    inputs_of,
    job_of,
    kept_instance,
    load,
    record,
    schedule_tick,
)

from rayflow_dagster.errors import ProjectError

NOW = datetime(2026, 1, 5, tzinfo=UTC)
BY_SCHEDULE = {"dagster/schedule_name": "report_schedule"}
BY_SENSOR = {"dagster/sensor_name": "report_file"}


def scheduled(overlap: str) -> dict[str, Any]:
    return flow_of({}, schedules=[{"cron": "@daily", "overlap": overlap}])


def waiting(overlap: str, folder: Path) -> dict[str, Any]:
    """A flow for the files in a folder, in which three lie."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(3):
        (folder / f"{number}.txt").write_text("x")
    sensor = {
        "type": "file",
        "path": f"{folder}/*.txt",
        "settle": 0,
        "inputs": {"name": "{{ file.name }}"},
        "overlap": overlap,
    }
    return flow_of({"name": {"type": "str", "default": ""}}, sensors=[sensor])


def test_allow_starts_another(tmp_path: Path, instance: DagsterInstance) -> None:
    repository = load(tmp_path, {"report": scheduled("allow")})
    record(instance, job_of(repository, "report"), DagsterRunStatus.STARTED, BY_SCHEDULE)
    (request,), _ = schedule_tick(repository, "report_schedule", instance, NOW)
    assert "rayflow/one_at_a_time" not in request.tags


@pytest.mark.parametrize("status", ["QUEUED", "STARTING", "STARTED", "CANCELING"])
def test_skip_starts_none_while_one_goes_on(
    tmp_path: Path, instance: DagsterInstance, status: str
) -> None:
    repository = load(tmp_path, {"report": scheduled("skip")})
    run = record(instance, job_of(repository, "report"), DagsterRunStatus[status], BY_SCHEDULE)
    requests, why = schedule_tick(repository, "report_schedule", instance, NOW)
    assert requests == []
    assert run.run_id in (why or "")


def test_skip_starts_one_when_none_of_its_own_goes_on(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    repository = load(tmp_path, {"report": scheduled("skip")})
    job = job_of(repository, "report")
    record(instance, job, DagsterRunStatus.SUCCESS, BY_SCHEDULE)
    record(instance, job, DagsterRunStatus.STARTED)  # by hand
    requests, _ = schedule_tick(repository, "report_schedule", instance, NOW)
    assert len(requests) == 1


def test_skip_starts_one_run_of_a_sensors_tick(tmp_path: Path, instance: DagsterInstance) -> None:
    repository = load(tmp_path / "p", {"report": waiting("skip", tmp_path / "p" / "inbox")})
    ticks = Ticks(repository, "report_file", instance)
    assert ticks.inputs() == [{"name": "0.txt"}]
    assert ticks.inputs() == []


def test_queue_marks_the_runs_for_the_limit_of_the_instance(tmp_path: Path) -> None:
    repository = load(tmp_path / "p", {"report": waiting("queue", tmp_path / "p" / "inbox")})
    with kept_instance(tmp_path / "home", ONE_AT_A_TIME) as instance:
        requests = Ticks(repository, "report_file", instance).tick()
    assert [inputs_of(each)["name"] for each in requests] == ["0.txt", "1.txt", "2.txt"]
    assert {each.tags["rayflow/one_at_a_time"] for each in requests} == {
        f"report_file in {tmp_path / 'p'}"
    }


@pytest.mark.parametrize("overlap", ["queue", "cancel"])
def test_an_instance_without_the_limit_is_told_what_to_add(
    tmp_path: Path, instance: DagsterInstance, overlap: str
) -> None:
    repository = load(tmp_path / "p", {"report": waiting(overlap, tmp_path / "p" / "inbox")})
    ticks = Ticks(repository, "report_file", instance)
    with pytest.raises(Exception, match="tag_concurrency_limits") as caught:
        ticks.tick()
    assert isinstance(caught.value.__cause__ or caught.value, ProjectError)
    assert "{key: rayflow/one_at_a_time" in str(caught.value.__cause__ or caught.value)


def status_of(instance: DagsterInstance, run: DagsterRun) -> DagsterRunStatus | None:
    found = instance.get_run_by_id(run.run_id)
    return None if found is None else found.status


def submitted(instance: DagsterInstance, job: JobDefinition, request: RunRequest) -> DagsterRun:
    """What the daemon does with what a tick has asked for."""
    run = record(instance, job, DagsterRunStatus.NOT_STARTED, {**BY_SENSOR, **request.tags})
    workspace: Any = None  # a run that has to wait needs none
    return instance.run_coordinator.submit_run(SubmitRunContext(run, workspace))


def test_cancel_ends_the_run_that_goes_on_when_the_newest_is_submitted(tmp_path: Path) -> None:
    repository = load(tmp_path / "p", {"report": waiting("cancel", tmp_path / "p" / "inbox")})
    with kept_instance(tmp_path / "home", ONE_AT_A_TIME) as instance:
        job = job_of(repository, "report")
        mine = record(instance, job, DagsterRunStatus.QUEUED, BY_SENSOR)
        other = record(instance, job, DagsterRunStatus.QUEUED)
        (request,) = Ticks(repository, "report_file", instance).tick()
        assert inputs_of(request) == {"name": "2.txt"}
        assert status_of(instance, mine) == DagsterRunStatus.QUEUED  # a look changes nothing
        submitted(instance, job, request)
        assert status_of(instance, mine) == DagsterRunStatus.CANCELED
        assert status_of(instance, other) == DagsterRunStatus.QUEUED


def test_cancel_by_a_schedule_ends_a_run_when_its_successor_is_submitted(tmp_path: Path) -> None:
    repository = load(tmp_path / "p", {"report": scheduled("cancel")})
    with kept_instance(tmp_path / "home", ONE_AT_A_TIME) as instance:
        job = job_of(repository, "report")
        mine = record(instance, job, DagsterRunStatus.QUEUED, BY_SCHEDULE)
        (request,), _ = schedule_tick(repository, "report_schedule", instance, NOW)
        assert status_of(instance, mine) == DagsterRunStatus.QUEUED
        submitted(instance, job, request)
        assert status_of(instance, mine) == DagsterRunStatus.CANCELED


def test_cancel_tells_a_coordinator_that_cannot_end_runs(tmp_path: Path) -> None:
    settings = {"module": "dagster", "class": "QueuedRunCoordinator"}
    queued = {"run_coordinator": {**ONE_AT_A_TIME["run_coordinator"], **settings}}
    repository = load(tmp_path / "p", {"report": waiting("cancel", tmp_path / "p" / "inbox")})
    with (
        kept_instance(tmp_path / "home", queued) as instance,
        pytest.raises(ProjectError, match="PromptRunCoordinator"),
    ):
        Ticks(repository, "report_file", instance).tick()


@pytest.mark.parametrize("overlap", ["skip", "cancel"])
def test_runs_of_another_project_with_a_flow_of_the_name_do_not_count(
    tmp_path: Path, overlap: str
) -> None:
    own = load(tmp_path / "own", {"report": scheduled(overlap)})
    other = job_of(load(tmp_path / "other", {"report": scheduled(overlap)}), "report")
    with kept_instance(tmp_path / "home", ONE_AT_A_TIME) as instance:
        tags = {**other.run_tags, **BY_SCHEDULE}
        record(instance, other, DagsterRunStatus.QUEUED, tags)
        (request,), _ = schedule_tick(own, "report_schedule", instance, NOW)
    assert "rayflow/ends" not in request.tags
