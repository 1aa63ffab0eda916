"""Dagster's hooks on jobs of flows: what they see, and what goes on while they run."""

from typing import Any

import numpy as np
import pytest
from dagster import DagsterInstance, HookContext, in_process_executor, success_hook
from dagster_runs import TESTS, run_job
from drawing import draw, node

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.project import Project

PROJECT = Project.at(TESTS, ["flow_nodes", "odd_nodes"])
Seen = dict[str, Any]


def _recording(seen: Seen) -> Any:
    @success_hook
    def record(context: HookContext) -> None:
        seen[context.step_key] = dict(context.op_output_values)

    return record


@pytest.mark.ray
@pytest.mark.parametrize("executor_def", [None, in_process_executor], ids=["ours", "stock"])
@pytest.mark.parametrize("durable", [True, False], ids=["durable", "not durable"])
def test_a_success_hook_sees_the_values_themselves(
    ray_session: None, memory: DagsterInstance, executor_def: Any, durable: bool
) -> None:
    flow = draw(
        {
            "start": {"type": "start", "data": {"inputs": {"few": "list[int]"}}},
            "make": node("odd_nodes.frames.MakeLargeNode", label="Make", values={"KIND": "array"}),
            "small": node("identity", label="Small"),
            "return": node("return", label="Return"),
        },
        "start > make, make > small, start.few - small.value, small > return,"
        "make.value - return.large, small.value - return.small",
        settings={"durable": durable},
    )
    seen: Seen = {}
    job = build_job(flow, "test", project=PROJECT, executor_def=executor_def)

    run = run_job(
        job.with_hooks({_recording(seen)}),
        compile_flow(flow, "test", PROJECT),
        {"few": [1, 2]},
        memory,
    )

    assert run.success
    assert run.of_step("Make")[-1] == "HOOK_COMPLETED"
    assert seen["start"]["few"] == [1, 2]
    assert seen["Small"]["value"] == [1, 2]
    assert isinstance(seen["Make"]["value"], np.ndarray)
    assert seen["Make"]["value"].sum() == 200_000 * 199_999 / 2
    assert seen["Return"]["result"]["small"] == [1, 2]
