"""Schedules: what a tick asks for, and what is refused when the flow loads."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DefaultScheduleStatus, build_schedule_context
from defs.triggers.triggered import flow_of, inputs_of, load, schedule_tick

from rayflow_dagster.compiler.validator import FlowValidator

SIX = datetime(2026, 1, 5, 5, 0, tzinfo=UTC)


def scheduled(*schedules: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    return flow_of(inputs, schedules=list(schedules))


def findings(flow: dict[str, Any]) -> str:
    return "\n".join(FlowValidator().validate(flow)[1])


def test_a_tick_asks_for_a_run_with_the_inputs_and_its_own_time(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    schedule = {
        "cron": "0 6 * * *",
        "timezone": "Europe/Madrid",
        "inputs": {"at": "{{ scheduled_time }}", "text": "at {{ scheduled_time }}", "n": 3},
    }
    repository = load(tmp_path, {"report": scheduled(schedule, at="str", text="str", n="int")})
    (request,), _ = schedule_tick(repository, "report_schedule", instance, SIX)
    assert inputs_of(request) == {
        "at": "2026-01-05T06:00:00+01:00",
        "text": "at 2026-01-05T06:00:00+01:00",
        "n": 3,
    }
    definition = repository.get_schedule_def("report_schedule")
    assert definition.cron_schedule == "0 6 * * *"
    assert definition.execution_timezone == "Europe/Madrid"
    assert definition.default_status == DefaultScheduleStatus.STOPPED


def test_a_flow_may_have_several_schedules_each_with_its_name_and_state(tmp_path: Path) -> None:
    flow = scheduled(
        {"cron": "@daily"},
        {"cron": "@hourly", "running": True},
        {"cron": "@weekly", "name": "sundays", "description": "Once a week."},
    )
    repository = load(tmp_path, {"report": flow})
    states = {each.name: each.default_status.value for each in repository.schedule_defs}
    assert states == {
        "report_schedule": "STOPPED",
        "report_schedule_2": "RUNNING",
        "report_sundays": "STOPPED",
    }
    assert repository.get_schedule_def("report_sundays").description == "Once a week."


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ({"cron": "61 * * * *"}, "is no cron string"),
        ({"cron": "0 6 * *"}, "must have five fields"),
        ({"cron": "@dayly"}, "is no cron string"),
        ({"cron": "0 0 30 2 *"}, "never comes"),
        ({"cron": "@daily", "timezone": "Europe/Madird"}, "did you mean 'Europe/Madrid'"),
        ({}, "schedules[0].cron: is missing"),
        ({"cron": "@daily", "input": {}}, "did you mean 'inputs'"),
        ({"cron": "@daily", "inputs": {"m": 1}}, "START declares no such input"),
        ({"cron": "@daily", "inputs": {"n": "one"}}, "START takes int"),
        ({"cron": "@daily", "inputs": {"n": "{{ scheduled_time }}"}}, "is str, but START takes"),
        ({"cron": "@daily", "inputs": {"n": "{{ sheduled_time }}"}}, "did you mean"),
        ({"cron": "@daily", "overlap": "wait"}, "schedules[0].overlap"),
        ({"cron": "@daily", "name": "a b"}, "name: has letters, digits and _ only"),
        ({"cron": "@daily", "inputs": {"n": "{{ scheduled_time"}}, "a template is not closed"),
    ],
)
def test_a_wrong_schedule_is_a_finding(schedule: dict[str, Any], told: str) -> None:
    assert told in findings(scheduled(schedule, n={"type": "int", "default": 1}))


def test_an_input_without_a_default_must_be_given() -> None:
    assert "'n' (int) is missing" in findings(scheduled({"cron": "@daily"}, n="int"))


def test_two_flows_with_one_name_of_a_trigger_leave_the_others_alone(tmp_path: Path) -> None:
    flows = {
        "a": scheduled({"cron": "@daily", "name": "b_schedule"}),
        "a_b": scheduled({"cron": "@daily"}),
        "c": scheduled({"cron": "@daily"}),
    }
    repository = load(tmp_path, flows)
    assert sorted(each.name for each in repository.schedule_defs) == ["a_b_schedule", "c_schedule"]
    assert "flow 'a' has one of this name" in (repository.get_job("a_b").description or "")


def test_a_broken_flow_has_no_triggers(tmp_path: Path) -> None:
    flow = scheduled({"cron": "@daily"})
    flow["nodes"][0]["type"] = "no_such_node"
    repository = load(tmp_path, {"broken": flow, "fine": scheduled({"cron": "@daily"})})
    assert [each.name for each in repository.schedule_defs] == ["fine_schedule"]


@pytest.mark.parametrize("kind", [None, "static"])
@pytest.mark.parametrize("ephemeral", [False, True])
def test_a_schedule_that_needs_no_instance_is_tested_without_one(
    tmp_path: Path, memory: DagsterInstance, kind: str | None, ephemeral: bool
) -> None:
    keys: dict[str, Any] = {"schedules": [{"cron": "@daily"}]}
    if kind is not None:
        keys["partitions"] = {"kind": kind, "input": "n", "values": ["a", "b"]}
    flow = flow_of({"n": {"type": "str", "default": "x"}} if kind is None else {"n": "str"}, **keys)
    repository = load(tmp_path, {"report": flow})
    context = build_schedule_context(
        memory if ephemeral else None,
        scheduled_execution_time=datetime(2026, 1, 5, tzinfo=UTC),
        repository_def=repository,
    )
    schedule = repository.get_schedule_def("report_schedule")
    asked = schedule.evaluate_tick(context).run_requests or []
    assert len(asked) == (1 if kind is None else 2)
