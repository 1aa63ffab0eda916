"""Re-execution from failure: stored outputs, restored variables, and the same flow."""

import json
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterInstance,
    ReexecutionOptions,
    build_reconstructable_job,
    execute_job,
)
from dagster_runs import PROJECT, FlowRun, compile_test_flow, read_run
from drawing import draw, node

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.io_manager import step_folder
from rayflow_dagster.testing import in_process


def job_of(flow: str, on_ray: bool) -> Any:
    """Dagster reconstructs the job by calling this again."""
    connect = None if on_ray else in_process
    return build_job(json.loads(flow), "test", project=PROJECT, connect=connect)


def _reconstructable(flow: dict[str, Any], on_ray: bool) -> Any:
    return build_reconstructable_job("test_reexecution", "job_of", (json.dumps(flow), on_ray))


def _flow(marker: Path, label: str = "Mended") -> dict[str, Any]:
    return draw(
        {
            "start": node("start", inputs={"value": "any"}),
            "keep": node("identity", label="Keep"),
            "count": node("count_up", label="Count", values={"BY": 10}),
            "mended": node(
                "flow_nodes.mended.MendedNode", label=label, values={"FILE": str(marker)}
            ),
            "get": node("variables.get_variable", values={"VARIABLE": "counter"}),
            "return": "return",
        },
        "start > keep, start.value - keep.value, keep > count, count > mended,"
        "keep.value - mended.value, mended > get, get > return, mended.value - return.value,"
        "get.value - return.counter",
        variables={"counter": {"type": "int", "default": 0}},
    )


def _execute(
    flow: dict[str, Any], instance: DagsterInstance, value: Any = 7, *, on_ray: bool = False
) -> FlowRun:
    config = {"ops": {"start": {"config": {"value": value}}}}
    result = execute_job(_reconstructable(flow, on_ray), instance, run_config=config)
    return read_run(instance, result.run_id, compile_test_flow(flow))


def _from_failure(
    flow: dict[str, Any], instance: DagsterInstance, run: FlowRun, *, on_ray: bool = False
) -> FlowRun:
    parent = instance.get_run_by_id(run.run_id)
    assert parent is not None
    result = execute_job(
        _reconstructable(flow, on_ray),
        instance,
        run_config=parent.run_config,
        reexecution_options=ReexecutionOptions.from_failure(run.run_id, instance),
    )
    return read_run(instance, result.run_id, compile_test_flow(flow))


def test_a_rerun_from_failure_reads_stored_outputs_and_restores_variables(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = _flow(marker)
    failed = _execute(flow, instance, value={"rows": [1, 2]})
    assert failed.statuses["mended"] == "failed"
    assert failed.statuses["get"] == failed.statuses["return"] == "pending"

    marker.touch()
    rerun = _from_failure(flow, instance, failed)

    assert rerun.success
    ran = {"mended": "completed", "get": "completed", "return": "completed"}
    assert rerun.statuses == {"start": "pending", "keep": "pending", "count": "pending", **ran}
    # 10 from the run that failed, 1 from the second attempt; the failed attempt's own 1 is gone.
    assert rerun.result == {"value": {"rows": [1, 2]}, "counter": 11}


def test_a_rerun_of_a_rerun_finds_the_variables_of_the_first_run(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = _flow(marker)
    failed_again = _from_failure(flow, instance, _execute(flow, instance))
    assert not failed_again.success

    marker.touch()
    rerun = _from_failure(flow, instance, failed_again)

    assert rerun.result == {"value": 7, "counter": 11}


def test_a_rerun_of_a_flow_that_was_changed_refuses_and_says_so(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = _flow(marker)
    failed = _execute(flow, instance)

    changed = {**flow, "description": "changed"}
    rerun = _from_failure(changed, instance, failed)

    assert not rerun.success
    assert set(rerun.statuses.values()) == {"pending"}
    failure = next(e for e in rerun.events if e.event_type_value == "PIPELINE_FAILURE")
    text = str(failure.event_specific_data)
    assert "was changed since run" in text
    assert "launch a new run" in text


def test_a_stored_output_that_is_gone_is_named(instance: DagsterInstance, tmp_path: Path) -> None:
    marker = tmp_path / "mended"
    flow = _flow(marker)
    failed = _execute(flow, instance)
    (step_folder(instance, failed.run_id, "Keep") / "value.pkl").unlink()

    marker.touch()
    rerun = _from_failure(flow, instance, failed)

    assert rerun.statuses["mended"] == "failed"
    failure = next(e for e in rerun.events if e.is_step_failure)
    assert "is gone; run it all again" in str(failure.step_failure_data.error)


@pytest.mark.ray
def test_actors_store_and_read_outputs_themselves(
    ray_session: None, instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = _flow(marker)
    failed = _execute(flow, instance, on_ray=True)
    assert failed.statuses["mended"] == "failed"

    marker.touch()
    rerun = _from_failure(flow, instance, failed, on_ray=True)

    assert rerun.result == {"value": 7, "counter": 11}
