"""Dagster's multiprocess executor runs a flow too: a process per step, one variable store, the same
assets."""

import json
from typing import Any

import pytest
from dagster import DagsterInstance, build_reconstructable_job, execute_job
from dagster_runs import MULTIPROCESS, PROJECT, compile_test_flow, read_run
from drawing import draw, node

from rayflow_dagster.defs.build import build_job

pytestmark = pytest.mark.ray


def job_of(flow: str) -> Any:
    return build_job(json.loads(flow), "test", project=PROJECT, executor_def=MULTIPROCESS)


def test_variables_and_outputs_cross_the_processes_of_a_run_and_assets_are_reported(
    ray_session: None, instance: DagsterInstance
) -> None:
    flow = draw(
        {
            "start": node("start", inputs={"first": "int"}),
            "set": node("variables.set_variable", values={"VARIABLE": "counter"}),
            "count": node(
                "flow_nodes.count_up.CountUpNode", values={"BY": 100}, asset={"key": "raw/count"}
            ),
            "loop": node("control.for_each", values={"items": [1, 2, 3]}),
            "more": node("flow_nodes.count_up.CountUpNode", values={"BY": 1}),
            "return_": node("return", asset={"key": "counted"}),
        },
        "start > set, start.first - set.value, set > count, count > loop, loop.body > more,"
        "loop.done > return_, count.value - return_.counter, loop.count - return_.more",
        variables={"counter": {"type": "int", "default": 0}},
    )
    job = build_reconstructable_job("test_multiprocess", "job_of", (json.dumps(flow),))

    result = execute_job(job, instance, run_config={"ops": {"start": {"config": {"first": 1000}}}})

    run = read_run(instance, result.run_id, compile_test_flow(flow))
    assert run.success
    assert run.result == {"counter": 1100, "more": 3}
    reported = [
        event.asset_key.to_user_string()
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key is not None
    ]
    assert sorted(reported) == ["counted", "raw/count"]
