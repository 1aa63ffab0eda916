"""What Dagster's UI shows of a flow: labels, descriptions, previews, logs, failures."""

import logging
import re
from itertools import pairwise
from typing import Any

import pytest
from dagster import DagsterEventType, DagsterInstance, in_process_executor
from dagster_runs import PROJECT, FlowRun, run_in_dagster
from drawing import draw, node
from shapes import load_fixture

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.testing import in_process
from rayflow_dagster.timing import WORDS


def _output(run: FlowRun, step: str, name: str) -> dict[str, Any]:
    event = next(
        e
        for e in run.events
        if e.is_successful_output
        and e.step_key == step
        and e.step_output_data.step_output_handle.output_name == name
    )
    return {key: value.value for key, value in event.step_output_data.metadata.items()}


@pytest.mark.ray
def test_outputs_show_a_preview_the_branch_taken_and_where_the_node_ran(
    ray_session: None, instance: DagsterInstance
) -> None:
    run = run_in_dagster(load_fixture("branch_join"), {"flag": True, "value": 7}, instance)

    branch = _output(run, "Branch", "exec_true")
    assert branch["exec output"] == "true"
    assert branch["actor pid"] > 0
    assert branch["actor node"]
    assert branch["seconds in process()"] >= 0


@pytest.mark.ray
def test_where_a_steps_time_went_stands_on_it_and_fits_into_its_duration(
    ray_session: None, instance: DagsterInstance
) -> None:
    flow = draw(
        {
            "start": node("start", inputs={"value": "any"}),
            "own": node("identity", label="Own", ray={"num_cpus": 0.5}),
            "return": "return",
        },
        "start > own, own > return, start.value - own.value, own.value - return.value",
    )

    run = run_in_dagster(flow, {"value": 1}, instance)

    shown = _output(run, "Own", "exec_out")
    times = {word: shown[word] for word in WORDS.values()}
    stats = {step.step_key: step for step in instance.get_run_step_stats(run.run_id)}
    began, ended = stats["Own"].start_time, stats["Own"].end_time
    assert began is not None
    assert ended is not None
    assert 0 < sum(times.values()) <= ended - began


@pytest.mark.ray
def test_prints_and_log_lines_stand_at_the_nodes_step(
    ray_session: None, instance: DagsterInstance
) -> None:
    run = run_in_dagster(load_fixture("printer"), {"value": "x"}, instance)

    logged = [
        (entry.user_message, entry.step_key)
        for entry in instance.all_logs(run.run_id)
        if not entry.is_dagster_event
    ]
    assert ("logged: x", "Printer") in logged
    assert ("warned: x", "Printer") in logged
    captured = next(e for e in run.events if e.event_type_value == "LOGS_CAPTURED")
    data = captured.event_specific_data
    assert data.step_keys == ["Printer"]
    key = [run.run_id, "compute_logs", data.file_key]
    printed = instance.compute_log_manager.get_log_data(key)
    assert printed.stdout == b"printed: x\n"
    assert printed.stderr == b"to stderr: x\n"


@pytest.mark.ray
def test_a_failure_shows_the_nodes_own_exception_first_with_its_inputs(
    ray_session: None, instance: DagsterInstance
) -> None:
    flow = draw(
        {
            "start": node("start", inputs={"value": "any"}),
            "boom": node("boom", label="Boom", values={"MESSAGE": "on purpose"}),
            "return": "return",
        },
        "start > boom, start.value - boom.value, boom > return",
    )

    run = run_in_dagster(flow, {"value": [1, 2, 3]}, instance)

    failure = next(e for e in run.events if e.is_step_failure).step_failure_data
    assert failure.error_source is not None
    assert failure.error_source.value == "USER_CODE_ERROR"
    cause = failure.error.cause
    assert cause.cls_name == "ValueError"
    assert cause.message.startswith("ValueError: boom: on purpose")
    assert re.search(
        r"node 'boom' \(Boom\) \(pid \d+ on .+\), inputs:\n  value = \[1, 2, 3\]\n"
        r"behind it, and not run: Return",
        cause.message,
    )
    assert "boom.py" in cause.stack[-1]
    assert "raise ValueError" in cause.stack[-1]


@pytest.mark.parametrize("executor_def", [None, in_process_executor])
def test_each_attempt_shows_the_nodes_own_exception_first_and_waits_as_retry_says(
    instance: DagsterInstance, executor_def: Any
) -> None:
    retry = {"max": 2, "delay": 0.01, "backoff": "exponential", "max_delay": 0.02}
    flow = draw(
        {"start": "start", "boom": node("boom", retry=retry), "return": "return"},
        "start > boom, boom > return",
    )

    run = run_in_dagster(flow, {}, instance, executor_def, connect=in_process)

    tried = [event.step_retry_data for event in run.events if event.is_step_up_for_retry]
    (failure,) = [event.step_failure_data for event in run.events if event.is_step_failure]
    assert [data.seconds_to_wait for data in tried] == [0.01, 0.02]
    assert all(data.error.cause.cls_name == "ValueError" for data in tried)
    assert failure.error_source is not None
    assert failure.error_source.value == "USER_CODE_ERROR"
    assert failure.error.cause.message.startswith("ValueError: boom: ")


@pytest.mark.parametrize("executor_def", [None, in_process_executor])
def test_an_error_that_retry_on_does_not_name_shows_as_any_other(
    instance: DagsterInstance, executor_def: Any
) -> None:
    retry = {"max": 2, "delay": 0.0, "retry_on": ["ConnectionError"]}
    flow = draw(
        {"start": "start", "boom": node("boom", retry=retry), "return": "return"},
        "start > boom, boom > return",
    )

    run = run_in_dagster(flow, {}, instance, executor_def, connect=in_process)

    assert "STEP_UP_FOR_RETRY" not in run.of_step("boom")
    (failure,) = [event.step_failure_data for event in run.events if event.is_step_failure]
    assert failure.error_source is not None
    assert failure.error_source.value == "USER_CODE_ERROR"
    assert failure.error.cause.message.startswith("ValueError: boom: ")


def test_a_handled_failure_is_an_event_of_its_step_and_a_tag_of_the_run(
    instance: DagsterInstance,
) -> None:
    flow = load_fixture("handled_error")
    run = run_in_dagster(flow, {"fail": True}, instance, connect=in_process)

    (entry,) = [
        entry
        for entry in instance.all_logs(run.run_id)
        if entry.step_key == "Fragile" and entry.dagster_event_type == DagsterEventType.ENGINE_EVENT
    ]
    assert entry.level == logging.WARNING
    assert "'error' output handles that: ValueError: told to fail" in entry.user_message
    error = entry.get_dagster_event().engine_event_data.error
    assert error is not None
    assert "fragile.py" in error.stack[-1]
    recorded = instance.get_run_by_id(run.run_id)
    assert recorded is not None
    assert recorded.tags["rayflow/handled"] == "Fragile"


def test_the_tag_of_handled_failures_names_each_step_once_and_not_all(
    memory: DagsterInstance,
) -> None:
    steps = [f"fragile{number}" for number in range(60)]
    nodes = {step: node("fragile", values={"value": 1, "fail": True}) for step in steps}
    chain = "".join(f", {one}.error > {two}" for one, two in pairwise([*steps, "return"]))
    flow = draw({"start": "start", **nodes, "return": "return"}, f"start > {steps[0]}{chain}")

    run = run_in_dagster(flow, {}, memory, connect=in_process)

    recorded = memory.get_run_by_id(run.run_id)
    assert recorded is not None
    tag = recorded.tags["rayflow/handled"]
    assert run.success
    assert tag.startswith("fragile0, fragile1, ")
    assert tag.endswith(", ...")
    assert len(tag) < 260


def test_the_return_value_stands_on_the_run(instance: DagsterInstance) -> None:
    run = run_in_dagster(load_fixture("linear"), {"a": 1}, instance, connect=in_process)

    recorded = instance.get_run_by_id(run.run_id)
    assert recorded is not None
    assert recorded.tags["rayflow/result"] == '{"sum": 3}'
    assert recorded.tags["rayflow/return"] == "return"
    assert len(recorded.tags["rayflow/flow_hash"]) == 16
    assert _output(run, "Return", "result")["sum"] == "3"


def test_missing_and_wrong_inputs_are_refused_by_start(instance: DagsterInstance) -> None:
    flow = draw(
        {"start": node("start", inputs={"value": "int | str"}), "return": "return"},
        "start > return, start.value - return.value",
    )

    run = run_in_dagster(flow, {"value": [1]}, instance, connect=in_process)

    failure = next(e for e in run.events if e.is_step_failure).step_failure_data
    assert "input 'value' takes int | str, not [1], which is list" in failure.error.message


def test_a_step_is_named_and_described_by_its_label() -> None:
    flow = load_fixture("labels_in_any_script")
    job = build_job(flow, project=PROJECT)

    described = {op.name: (op.definition.description or "").splitlines()[0] for op in job.nodes}
    labels = [node["data"].get("label") or node["id"] for node in flow["nodes"]]
    assert sorted(described.values()) == sorted(labels)
    assert len(described) == len(labels)
