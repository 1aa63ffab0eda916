"""Our executor: steps in parallel, ends of flows, Terminate, and Dagster's own features."""

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    HookContext,
    failure_hook,
    in_process_executor,
    success_hook,
)
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster_runs import (
    PROJECT,
    compile_test_flow,
    read_run,
    run_and_interrupt,
    run_in_dagster,
    run_job,
)
from drawing import draw, node

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import InProcessActors, in_process

MEET = "flow_nodes.meet.MeetNode"


def _meeting(folder: Path) -> dict[str, Any]:
    """Two parallel nodes that can only end if they run at the same time."""
    a, b = str(folder / "a"), str(folder / "b")
    return draw(
        {
            "start": "start",
            "one": node(MEET, values={"MINE": a, "THEIRS": b}),
            "two": node(MEET, values={"MINE": b, "THEIRS": a}),
            "return": "return",
        },
        "start > one, start > two, one > return, two > return",
    )


@pytest.mark.ray
def test_independent_nodes_run_at_the_same_time(
    ray_session: None, instance: DagsterInstance, tmp_path: Path
) -> None:
    assert run_in_dagster(_meeting(tmp_path), {}, instance).success


def test_a_fast_branch_never_waits_for_a_slow_sibling(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    flow = draw(
        {
            "start": "start",
            "slow": node(MEET, values={"MINE": a, "THEIRS": b}),
            "fast": "identity",
            "last": node(MEET, values={"MINE": b, "THEIRS": a}),
            "value": "constant",
            "return": "return",
        },
        "start > slow, start > fast, value.value - fast.value, fast > last, slow > return,"
        "last > return",
    )

    assert run_in_dagster(flow, {}, instance, connect=in_process).success


def test_a_retry_does_not_hold_up_other_steps(instance: DagsterInstance, tmp_path: Path) -> None:
    """The retried node's delay only ends after the other one has run its whole chain."""
    done = tmp_path / "done"
    flow = draw(
        {
            "start": "start",
            "flaky": node(
                "flaky",
                values={"value": 1, "FAILURES": 1},
                retry={"max": 1, "delay": 0.5},
            ),
            "other": node(MEET, values={"MINE": str(done), "THEIRS": str(done)}),
            "return": "return",
        },
        "start > flaky, start > other, flaky > return, other > return, flaky.attempts - return.n",
        variables={"attempts": {"type": "int", "default": 0}},
    )

    run = run_in_dagster(flow, {}, instance, connect=in_process)

    assert run.result == {"n": 2}
    kinds = [(event.event_type_value, event.step_key) for event in run.events]
    retried, other = ("STEP_UP_FOR_RETRY", "flaky"), ("STEP_SUCCESS", "other")
    assert kinds.index(retried) < kinds.index(("STEP_RESTARTED", "flaky"))
    assert kinds.index(other) < kinds.index(("STEP_RESTARTED", "flaky"))


def test_after_a_return_the_rest_is_recorded_as_skipped_with_the_reason(
    instance: DagsterInstance,
) -> None:
    flow = draw(
        {
            "start": "start",
            "slow": node("sleep", values={"SECONDS": 0.3}),
            "late": "identity",
            "return": "return",
        },
        "start > return, start > slow, slow > late, slow.value - late.value",
    )

    run = run_in_dagster(flow, {}, instance, connect=in_process)

    assert run.success
    assert run.statuses["slow"] == "completed"
    assert run.statuses["late"] == "skipped"
    reasons = [e.user_message for e in instance.all_logs(run.run_id) if e.step_key == "late"]
    assert "Skipping step late: a RETURN was reached first." in reasons


def test_a_flow_that_reaches_no_return_fails_and_names_the_loose_end(
    instance: DagsterInstance,
) -> None:
    flow = draw(
        {"start": "start", "branch": node("logic.branch", values={"condition": False}),
         "return": "return"},
        "start > branch, branch.true > return",
    )  # fmt: skip

    run = run_in_dagster(flow, {}, instance, connect=in_process)

    assert not run.success
    failure = next(e for e in run.events if e.event_type_value == "PIPELINE_FAILURE")
    assert "'false' of node 'branch' led nowhere" in str(failure.event_specific_data)


@pytest.mark.ray
def test_terminate_ends_running_nodes_and_starts_nothing_more(
    ray_session: None, instance: DagsterInstance, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    flow = draw(
        {
            "start": "start",
            "stuck": node(MEET, values={"MINE": str(mine), "THEIRS": str(tmp_path / "never")}),
            "after": "identity",
            "return": "return",
        },
        "start > stuck, stuck > after, stuck.value - after.value, after > return",
    )

    run = run_and_interrupt(build_job(flow, "test", project=PROJECT), instance, mine.exists)

    assert run.status == DagsterRunStatus.CANCELED
    assert read_run(instance, run.run_id, compile_test_flow(flow)).statuses == {
        "start": "completed", "stuck": "failed", "after": "pending", "return": "pending",
    }  # fmt: skip


def test_terminate_ends_a_loop_and_what_its_iterations_had_brought_is_kept(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    stop = tmp_path / "stop"
    flow = draw(
        {
            "start": "start",
            "loop": node("control.for_each", parallel=1, values={"items": list(range(1000))}),
            "one": node("sleep", values={"SECONDS": 0.02}),
            "seen": node("flow_nodes.meet.MeetNode", values={"MINE": str(stop), "THEIRS": "/"}),
            "return": "return",
        },
        "start > loop, loop.body > one, one > seen, loop.item - one.value, loop.done > return",
    )
    job = build_job(flow, "test", project=PROJECT, connect=in_process)

    run = run_and_interrupt(job, instance, stop.exists)

    assert run.status == DagsterRunStatus.CANCELED
    found = read_run(instance, run.run_id, compile_test_flow(flow))
    assert found.statuses == {"start": "completed", "loop": "failed", "return": "pending"}


def test_terminate_while_a_step_is_at_work_ends_the_others_too(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    over = tmp_path / "over"
    waits = node(MEET, values={"MINE": str(tmp_path / "waits"), "THEIRS": str(over)})
    flow = draw(
        {"start": "start", "waits": waits, "works": "sleep", "return": "return"},
        "start > waits, start > works, works > return",
    )

    class Terminated(InProcessActors):
        def dispatch(self, node_id: str, *given: Any, **options: Any) -> Any:
            if node_id == "works":
                instance.report_run_canceling(run)
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                finally:
                    over.touch()
            return super().dispatch(node_id, *given, **options)

    def connect(orchestrator: FlowOrchestrator) -> Terminated:
        assert orchestrator.graph is not None
        return Terminated(orchestrator, orchestrator.graph)

    job = build_job(flow, "test", project=PROJECT, connect=connect)
    run = instance.create_run_for_job(job)
    execute_run(InMemoryJob(job), run, instance)

    recorded = instance.get_run_by_id(run.run_id)
    assert recorded is not None
    assert recorded.status == DagsterRunStatus.CANCELED
    ended = read_run(instance, run.run_id, compile_test_flow(flow))
    assert (ended.statuses["waits"], ended.statuses["works"]) == ("failed", "failed")
    errors = [e.step_failure_data.error for e in ended.events if e.is_step_failure]
    assert {each and each.cls_name for each in errors} == {"DagsterExecutionInterruptedError"}


def _hooks(seen: list[tuple[str, str]]) -> Any:
    @success_hook
    def on_success(context: HookContext) -> None:
        seen.append(("success", context.step_key))

    @failure_hook
    def on_failure(context: HookContext) -> None:
        seen.append(("failure", context.step_key))

    return on_success, on_failure


@pytest.mark.parametrize("executor_def", [None, in_process_executor], ids=["ours", "stock"])
def test_hooks_run_as_under_dagsters_executors(
    instance: DagsterInstance, executor_def: Any
) -> None:
    hooked: list[tuple[str, str]] = []
    flow = draw(
        {"start": "start", "boom": "boom", "return": "return"},
        "start > boom, boom > return",
    )
    job = build_job(flow, "test", project=PROJECT, executor_def=executor_def, connect=in_process)

    run_job(job.with_hooks(set(_hooks(hooked))), compile_test_flow(flow), {}, instance)

    assert hooked == [("success", "start"), ("failure", "boom")]


@pytest.mark.parametrize("limit", ["max_concurrent", "tag", "pool"])
def test_limits_keep_steps_apart(instance: DagsterInstance, limit: str) -> None:
    spec: dict[str, Any] = {"tags": {"kind": "slow"}}
    if limit == "pool":
        spec["pool"] = "lonely"
    flow = draw(
        {
            "start": "start",
            "one": node("sleep", values={"SECONDS": 0.2}, **spec),
            "two": node("sleep", values={"SECONDS": 0.2}, **spec),
            "return": "return",
        },
        "start > one, start > two, one > return, two > return",
    )
    instance.event_log_storage.set_concurrency_slots("lonely", 1)
    config: dict[str, Any] = {
        "max_concurrent": {"max_concurrent": 1},
        "tag": {"tag_concurrency_limits": [{"key": "kind", "value": "slow", "limit": 1}]},
        "pool": {},
    }[limit]
    job = build_job(flow, "test", project=PROJECT, connect=in_process)

    run = run_job(job, compile_test_flow(flow), {}, instance, {"execution": {"config": config}})

    assert run.success
    order = [
        (event.event_type, event.step_key)
        for event in run.events
        if event.step_key in ("one", "two")
        and event.event_type in (DagsterEventType.STEP_START, DagsterEventType.STEP_SUCCESS)
    ]
    starts_and_ends = [kind for kind, _ in order]
    assert starts_and_ends == [DagsterEventType.STEP_START, DagsterEventType.STEP_SUCCESS] * 2


def test_a_return_ends_a_run_in_which_a_step_waits_for_a_pool(instance: DagsterInstance) -> None:
    flow = draw(
        {"start": "start", "waits": node("sleep", pool="lonely"), "return": "return"},
        "start > waits, start > return",
    )
    pools = instance.event_log_storage
    pools.set_concurrency_slots("lonely", 1)
    assert pools.claim_concurrency_slot("lonely", "another run", "step").is_claimed
    job = build_job(flow, "test", project=PROJECT, connect=in_process)

    run = run_job(job, compile_test_flow(flow), {}, instance)

    assert run.success
    assert run.statuses["waits"] == "skipped"
    assert pools.get_concurrency_info("lonely").pending_step_count == 0


def test_the_node_of_higher_priority_starts_first(instance: DagsterInstance) -> None:
    flow = draw(
        {
            "start": "start",
            "low": node("sleep", priority=-1),
            "high": node("sleep", priority=5),
            "return": "return",
        },
        "start > low, start > high, low > return, high > return",
    )
    job = build_job(flow, "test", project=PROJECT, connect=in_process)
    config = {"execution": {"config": {"max_concurrent": 1}}}

    run = run_job(job, compile_test_flow(flow), {}, instance, config)

    starts = [e.step_key for e in run.events if e.event_type == DagsterEventType.STEP_START]
    assert starts.index("high") < starts.index("low")


def test_a_node_of_higher_priority_goes_before_those_that_wait_for_a_worker(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    waits = tmp_path / "high waits"
    flow = draw(
        {"start": "start", "a": "sleep",
         "b": node(MEET, values={"MINE": str(tmp_path / "b"), "THEIRS": str(waits)}),
         "c": "sleep", "high": node("sleep", priority=5), "return": "return"},
        "start > a, start > b, start > c, a > high, high > return, c > return",
    )  # fmt: skip

    class OneWorker(InProcessActors):
        """Its second node ends when the one of higher priority waits, behind the third."""

        def reserve(self, node_id: str) -> Any:
            reserved = super().reserve(node_id)
            if node_id == "high":
                waits.touch()
            return reserved

    def one_worker(orchestrator: FlowOrchestrator) -> OneWorker:
        assert orchestrator.graph is not None
        return OneWorker(orchestrator, orchestrator.graph, workers=1)

    run = run_in_dagster(flow, {}, instance, connect=one_worker)

    starts = [e.step_key for e in run.events if e.event_type == DagsterEventType.STEP_START]
    assert starts.index("high") < starts.index("c")


def test_what_waits_for_a_worker_says_so_once(memory: DagsterInstance) -> None:
    def one_worker(orchestrator: FlowOrchestrator) -> InProcessActors:
        assert orchestrator.graph is not None
        return InProcessActors(orchestrator, orchestrator.graph, workers=1)

    names = ["a", "b", "c"]
    nodes = {name: node("sleep", values={"SECONDS": 2.5}) for name in names}
    wires = ", ".join(f"start > {name}, {name} > return" for name in names)
    flow = draw({"start": "start", **nodes, "return": "return"}, wires)
    found = run_in_dagster(flow, {}, memory, connect=one_worker)
    told = [e.message for e in found.events if e.is_engine_event and "for a worker" in e.message]
    assert told == ["2 steps wait, b first, for a worker: it asks for one of 1 threads"]


def test_a_failure_leaves_what_waits_for_a_worker_unstarted(memory: DagsterInstance) -> None:
    nodes: dict[str, Any] = {"start": "start", "boom": "boom", "return": "return"}
    wires = "start > boom, boom > return"
    for number in range(40):
        nodes[f"n{number}"] = node("sleep", values={"SECONDS": 1.0})
        wires += f", start > n{number}, n{number} > return"

    run = run_in_dagster(draw(nodes, wires), {}, memory, connect=in_process)

    statuses = Counter(run.statuses.values())
    assert statuses["failed"] == 1
    assert statuses["pending"] > 30
    assert not any(run.of_step(f"n{n}") for n in range(40) if run.statuses[f"n{n}"] == "pending")
