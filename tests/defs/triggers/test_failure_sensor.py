"""What a flow's ``on_failure`` starts, on real runs of real jobs."""

import logging
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus, DefaultSensorStatus, RunRequest
from defs.triggers.triggered import Ticks, flow_of, inputs_of, job_of, load, record
from drawing import draw, node

from rayflow_dagster.cli.validate import check_files
from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process
from rayflow_dagster.types import RETURN_CLASS, START_CLASS

HANDLER = flow_of({"error": "str", "inputs": "dict", "run_id": "str"})
FAILING = draw(
    {
        "start": node(START_CLASS, inputs={"n": "int", "m": {"type": "int", "default": 2}}),
        "parse": node("rayflow_dagster.nodes.data.json_parse.JsonParseNode", values={"text": "{"}),
        "back": RETURN_CLASS,
    },
    "start > parse, parse > back",
    on_failure="handler",
)
GIVEN = {"ops": {"start": {"config": {"n": 1}}}}


def ticks_of(project: Path, instance: DagsterInstance, **flows: dict[str, Any]) -> Ticks:
    """The sensor of ``first``, after the look that notes where to begin."""
    ticks = Ticks(load(project, flows), "first_on_failure", instance)
    assert ticks.tick() == []
    return ticks


def run_first(instance: DagsterInstance, project: Path) -> str:
    job = build_job(FAILING, "first", project=Project(project), connect=in_process)
    return job.execute_in_process(instance=instance, run_config=GIVEN, raise_on_error=False).run_id


def test_a_failed_run_starts_one_with_what_it_was_given_and_why_it_failed(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    ticks = ticks_of(tmp_path, instance, first=FAILING, handler=HANDLER)
    run_id = run_first(instance, tmp_path)

    (request,) = ticks.tick()

    given = inputs_of(request)
    assert given["run_id"] == run_id
    assert given["inputs"] == {"n": 1, "m": 2}
    assert given["error"].startswith("Node parse failed: ")
    assert "JSON" in given["error"]
    assert request.run_key == run_id
    assert ticks.tick() == []


def test_both_runs_name_each_other(tmp_path: Path, instance: DagsterInstance) -> None:
    ticks = ticks_of(tmp_path, instance, first=FAILING, handler=HANDLER)
    failed = run_first(instance, tmp_path)
    (request,) = ticks.tick()

    job = build_job(HANDLER, "handler", project=Project(tmp_path), connect=in_process)
    handling = job.execute_in_process(
        instance=instance, run_config=request.run_config, tags=dict(request.tags)
    )

    assert handling.success
    assert tags_of(instance, handling.run_id)["rayflow/failed_run"] == failed
    assert tags_of(instance, failed)["rayflow/on_failure_run"] == handling.run_id
    assert ticks.tick() == []  # though the failed run was changed by the tag


def tags_of(instance: DagsterInstance, run_id: str) -> dict[str, str]:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return dict(run.tags)


def test_a_cancelled_run_starts_one(tmp_path: Path, instance: DagsterInstance) -> None:
    ticks = ticks_of(tmp_path, instance, first=FAILING, handler=HANDLER)
    job = job_of(ticks.repository, "first")
    run = record(instance, job, DagsterRunStatus.STARTED, config=GIVEN)
    instance.report_run_canceling(run)
    assert ticks.tick() == []

    instance.report_run_canceled(run)

    (given,) = ticks.inputs()
    wanted = {"error": "the run was cancelled", "inputs": {"n": 1, "m": 2}, "run_id": run.run_id}
    assert given == wanted


def test_a_run_whose_process_died_starts_one(tmp_path: Path, instance: DagsterInstance) -> None:
    """Its record says that it has failed, as the daemon writes it, and nothing else does."""
    ticks = ticks_of(tmp_path, instance, first=FAILING, handler=HANDLER)
    job = job_of(ticks.repository, "first")
    run = record(instance, job, DagsterRunStatus.STARTED, config=GIVEN)

    instance.report_run_failed(run, "its process has ended unexpectedly")

    (given,) = ticks.inputs()
    assert given["error"] == "its process has ended unexpectedly"
    assert given["inputs"] == {"n": 1, "m": 2}


def test_each_run_starts_one_and_a_success_or_another_flow_none(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    ticks = ticks_of(tmp_path, memory, first=FAILING, other=FAILING, handler=HANDLER)
    jobs = [job_of(ticks.repository, name) for name in ("first", "other")]
    wanted = []
    for _ in range(25):
        for job in jobs:
            for status in DagsterRunStatus:
                run = record(memory, job, status, config=GIVEN)
                is_wanted = status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
                wanted += [run.run_id] if is_wanted and job.name == "first" else []

    requests: list[RunRequest] = []
    for _ in range(4):
        requests += ticks.tick()

    assert sorted(inputs_of(each)["run_id"] for each in requests) == sorted(wanted)


def test_a_handler_is_given_what_it_declares_and_no_secret_is_looked_up(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    handler = flow_of({"inputs": "dict", "mine": {"type": "int", "default": 3}})
    ticks = ticks_of(tmp_path, memory, first=FAILING, handler=handler)
    config = {"ops": {"start": {"config": {"n": {"$env": "TOKEN"}}}}}
    record(memory, job_of(ticks.repository, "first"), DagsterRunStatus.FAILURE, config=config)

    assert ticks.inputs() == [{"inputs": {"n": "secret TOKEN", "m": 2}}]


def test_the_sensor_is_on_from_the_start(tmp_path: Path) -> None:
    repository = load(tmp_path, {"first": FAILING, "handler": HANDLER})
    sensor = repository.get_sensor_def("first_on_failure")
    assert sensor.default_status == DefaultSensorStatus.RUNNING
    assert sensor.job.name == "handler"


@pytest.mark.parametrize("broken", ["first", "handler"])
def test_while_one_of_the_flows_cannot_run_its_sensor_says_so(
    tmp_path: Path, memory: DagsterInstance, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    flows = {"first": FAILING, "handler": HANDLER}
    load(tmp_path, flows)
    ticks = Ticks(load(tmp_path, {**flows, broken: {"nodes": []}}), "first_on_failure", memory)

    assert ticks.tick() == []
    assert ticks.skipped is not None
    assert f"{broken}.json" in ticks.skipped


def handled_by(handler: str) -> dict[str, Any]:
    return flow_of({}, on_failure=handler)


@pytest.mark.parametrize(
    ("flows", "text"),
    [
        (
            {"first": handled_by("handlr"), "handler": HANDLER},
            "there is no flow 'handlr' here that could run, so that nothing starts when this one "
            "fails (known: first, handler); did you mean 'handler'?",
        ),
        (
            {"first": handled_by("first"), "other": HANDLER},
            "first -> first would handle each other's failures",
        ),
        (
            {"first": handled_by("second"), "second": handled_by("first")},
            "first -> second -> first would handle each other's failures and never end, so none "
            "of them does; change on_failure in 'flows/first.json' or 'flows/second.json'",
        ),
        (
            {"first": handled_by("handler"), "handler": flow_of({"who": "str"})},
            "flow 'handler' (flows/handler.json) declares input 'who' without a default",
        ),
        (
            {"first": handled_by("handler"), "handler": flow_of({"error": "int"})},
            "flow 'handler' (flows/handler.json) takes int for 'error', which is str",
        ),
    ],
)
def test_a_handler_that_cannot_be_is_warned_of(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    flows: dict[str, Any],
    text: str,
) -> None:
    with caplog.at_level(logging.WARNING, "rayflow_dagster"):
        repository = load(tmp_path, flows)

    told = [each for each in caplog.messages if "on_failure" in each]
    assert told[0].startswith("flows/first.json: flow key on_failure: ")
    assert text in told[0]
    assert [sensor.name for sensor in repository.sensor_defs] == []
    checked = check_files(sorted((tmp_path / "flows").glob("*.json")))
    assert any(text in finding.message for finding in checked[0].findings)


def test_a_chain_of_handlers_is_none_of_a_circle(tmp_path: Path) -> None:
    flows = {"a": handled_by("b"), "b": handled_by("c"), "c": handled_by("b")}
    assert [each.name for each in load(tmp_path, flows).sensor_defs] == ["a_on_failure"]


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"on_failure": 3}, "flow key on_failure: "),
        ({"on_failure": ""}, "flow key on_failure: "),
        (
            {
                "on_failure": "handler",
                "schedules": [{"cron": "@daily", "name": "on_failure"}],
            },
            "schedules[0].name: the sensor of the flow key on_failure has this name",
        ),
    ],
)
def test_a_wrong_on_failure_is_refused(keys: dict[str, Any], text: str) -> None:
    is_valid, problems = FlowValidator().validate(flow_of({}, **keys))  # type: ignore[arg-type]
    assert not is_valid
    assert text in problems[0]
