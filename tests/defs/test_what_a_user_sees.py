"""What Dagster's UI shows of a flow: labels, descriptions, previews, logs, failures."""

import re
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster_runs import PROJECT, FlowRun, run_in_dagster
from drawing import draw, node
from shapes import load_fixture

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.testing import in_process


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
        r"node 'boom' \(pid \d+ on .+\), inputs:\n  value = \[1, 2, 3\]", cause.message
    )
    assert "boom.py" in cause.stack[-1]
    assert "raise ValueError" in cause.stack[-1]


def test_the_return_value_stands_on_the_run(instance: DagsterInstance) -> None:
    run = run_in_dagster(load_fixture("linear"), {"a": 1}, instance, connect=in_process)

    recorded = instance.get_run_by_id(run.run_id)
    assert recorded is not None
    assert recorded.tags["rayflow/result"] == "{'sum': 3}"
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
    assert sorted(described.values()) == sorted(f"**{label}**" for label in labels)
    assert len(described) == len(labels)
