"""Sensors of other flows, on real runs of real jobs."""

import json
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from defs.triggers.triggered import Ticks, flow_of, job_of, load, record

from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.testing import in_process

FIRST = flow_of({"n": {"type": "int", "default": 7}})


def after(on: str = "success", **inputs: Any) -> dict[str, Any]:
    defaults = {"n": ("int", 0), "status": ("str", ""), "run": ("str", "")}
    sensor = {"type": "flow", "flow": "first", "on": on, "inputs": inputs}
    return flow_of(
        {name: dict(zip(("type", "default"), defaults[name], strict=True)) for name in inputs},
        sensors=[sensor],
    )


def run_first(instance: DagsterInstance, **keys: Any) -> str:
    job = build_job(FIRST, "first", connect=in_process)
    result = job.execute_in_process(instance=instance, **keys)
    return result.run_id


def test_a_success_starts_a_run_with_the_result(tmp_path: Path, instance: DagsterInstance) -> None:
    flow = after(n="{{ result.n }}", run="{{ run.run_id }}", status="{{ run.status }}")
    ticks = Ticks(load(tmp_path, {"first": FIRST, "next": flow}), "next_flow", instance)
    run_first(instance)
    assert ticks.tick() == []  # what ended before the first look is not new
    run_id = run_first(instance)
    (request,) = ticks.tick()
    assert request.run_key == run_id
    given = request.run_config["ops"]["start"]["config"]
    assert given == {"n": 7, "run": run_id, "status": "success"}
    assert ticks.tick() == []


@pytest.mark.parametrize(
    ("on", "told"),
    [
        ("success", ["success"]),
        ("failure", ["failure"]),
        ("either", ["failure", "success"]),
    ],
)
def test_success_failure_or_either_start_it(
    tmp_path: Path, memory: DagsterInstance, on: str, told: list[str]
) -> None:
    flow = after(on, status="{{ run.status }}")
    repository = load(tmp_path, {"first": FIRST, "next": flow})
    ticks = Ticks(repository, "next_flow", memory)
    assert ticks.inputs() == []
    first = job_of(repository, "first")
    for status in (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED):
        record(memory, first, status)
    record(memory, job_of(repository, "next"), DagsterRunStatus.SUCCESS)
    assert sorted(given["status"] for given in ticks.inputs()) == told


def test_each_run_starts_one_though_a_tick_takes_few(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    flow = after(run="{{ run.run_id }}")
    flow["sensors"][0]["max_per_tick"] = 3
    repository = load(tmp_path, {"first": FIRST, "next": flow})
    ticks = Ticks(repository, "next_flow", memory)
    ticks.tick()
    job = job_of(repository, "first")
    runs = [record(memory, job, DagsterRunStatus.SUCCESS).run_id for _ in range(7)]
    started = [given["run"] for _ in range(4) for given in ticks.inputs()]
    assert sorted(started) == sorted(runs)


def test_a_result_that_start_does_not_take_fails_the_tick_and_is_not_lost(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    flow = after(run="{{ result.n }}")
    ticks = Ticks(load(tmp_path, {"first": FIRST, "next": flow}), "next_flow", instance)
    ticks.tick()
    cursor = ticks.cursor
    run_first(instance)
    for _ in range(2):
        with pytest.raises(Exception, match="takes str, not 7"):
            ticks.tick()
    assert ticks.cursor == cursor


def test_the_cursor_forgets_runs_that_are_long_over(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    repository = load(tmp_path, {"first": FIRST, "next": after()})
    ticks = Ticks(repository, "next_flow", memory)
    ticks.tick()
    ticks.cursor = json.dumps({"since": 0.0, "seen": {"long-ago": 5.0}})
    run = record(memory, job_of(repository, "first"), DagsterRunStatus.SUCCESS)
    assert len(ticks.tick()) == 1
    assert list(json.loads(ticks.cursor or "")["seen"]) == [run.run_id]


@pytest.mark.parametrize("on", ["failure", "either"])
def test_a_result_of_runs_that_may_have_failed_is_a_finding(on: str) -> None:
    told = "\n".join(FlowValidator().validate(after(on, n="{{ result.n }}"))[1])
    assert "only if the flow has succeeded" in told
