"""Actors that come up before their run."""

from typing import Any

import pytest
from dagster import DagsterInstance, job
from dagster_runs import PROJECT, compile_test_flow, run_job
from drawing import draw, node

from rayflow_dagster.defs import prestart
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.errors import ClusterError
from rayflow_dagster.testing import InProcessActors, in_process

FLOW = draw(
    {
        "start": node("start", inputs={"value": "any"}),
        "keep": node("identity", label="Keep"),
        "return": "return",
    },
    "start > keep, start.value - keep.value, keep > return, keep.value - return.value",
)


class _Connects:
    """Notes what it connected."""

    def __init__(self) -> None:
        self.made: list[InProcessActors] = []

    def __call__(self, orchestrator: Any) -> InProcessActors:
        self.made.append(in_process(orchestrator))
        return self.made[-1]


def _run(job_def: Any, instance: DagsterInstance) -> Any:
    return run_job(job_def, compile_test_flow(FLOW), {"value": 5}, instance)


def test_a_run_takes_over_the_actors_that_were_started_early(memory: DagsterInstance) -> None:
    connects = _Connects()
    job_def = build_job(FLOW, "test", project=PROJECT, connect=connects)

    prestart.start_early(job_def)
    prestart.start_early(job_def)
    first = _run(job_def, memory)

    assert first.result == {"value": 5}
    assert len(connects.made) == 1

    assert _run(job_def, memory).success
    assert len(connects.made) == 2


def test_a_run_says_what_kept_an_early_start_from_connecting(memory: DagsterInstance) -> None:
    def refuse(_orchestrator: Any) -> Any:
        raise ClusterError("there is no such cluster")

    job_def = build_job(FLOW, "test", project=PROJECT, connect=refuse)

    prestart.start_early(job_def)
    run = _run(job_def, memory)

    assert not run.success
    assert set(run.statuses.values()) == {"pending"}
    failure = next(e for e in run.events if e.event_type_value == "PIPELINE_FAILURE")
    assert "there is no such cluster" in str(failure.event_specific_data)


def test_a_run_connects_by_itself_where_its_early_start_failed(memory: DagsterInstance) -> None:
    connects = _Connects()

    def refuse_once(orchestrator: Any) -> Any:
        if not refused:
            refused.append(orchestrator)
            raise ZeroDivisionError("of the early start")
        return connects(orchestrator)

    refused: list[Any] = []
    job_def = build_job(FLOW, "test", project=PROJECT, connect=refuse_once)

    prestart.start_early(job_def)

    assert _run(job_def, memory).result == {"value": 5}
    assert len(refused) == len(connects.made) == 1


def test_an_early_start_that_fails_and_is_not_used_says_nothing() -> None:
    def refuse(_orchestrator: Any) -> Any:
        raise ZeroDivisionError("of the early start")

    job_def = build_job(FLOW, "test", project=PROJECT, connect=refuse)

    prestart.start_early(job_def)
    prestart.end_unused(job_def)

    assert prestart._started == {}


@job
def no_flow() -> None: ...


def test_a_job_that_is_no_flow_is_left_alone() -> None:
    assert prestart.flow_of(no_flow) is None
    prestart.start_early(no_flow)
    assert prestart._started == {}


@pytest.mark.ray
def test_actors_started_early_run_the_nodes(ray_session: None, memory: DagsterInstance) -> None:
    job_def = build_job(FLOW, "test", project=PROJECT)

    prestart.start_early(job_def)

    assert _run(job_def, memory).result == {"value": 5}


def test_what_a_run_did_not_come_to_use_is_ended(memory: DagsterInstance) -> None:
    connects = _Connects()
    job_def = build_job(FLOW, "test", project=PROJECT, connect=connects)
    prestart.start_early(job_def)

    prestart.end_unused(job_def)
    prestart.end_unused(job_def)

    (made,) = connects.made
    with pytest.raises(RuntimeError, match="after shutdown"):
        made.dispatch("keep", {"value": 1})
