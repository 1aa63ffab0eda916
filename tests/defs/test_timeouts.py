"""``timeout`` of nodes, of regions and calls, and of flows: what is ended, and what is told."""

from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster_runs import MULTIPROCESS, FlowRun, run_job
from drawing import draw, node
from running import PROJECT, execute, outcomes, project_of

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.errors import TimeIsOverError, ValidationError
from rayflow_dagster.orchestrator import Connect, FlowOrchestrator
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process

SYNC, ASYNC = "odd_nodes.stuck.StuckNode", "odd_nodes.stuck.StuckAsyncNode"
SHORT = 0.3


@pytest.fixture(params=["fake", pytest.param("ray", marks=pytest.mark.ray)])
def connect(request: pytest.FixtureRequest) -> Connect | None:
    """Where nodes run; the fake behaves as Ray does, but for threads that go on unheard."""
    if request.param == "fake":
        return in_process
    request.getfixturevalue("ray_session")
    return None


@pytest.fixture
def limit(connect: Connect | None) -> float:
    """Seconds in which a node has begun for sure; on Ray it waits for a worker first."""
    return 5.0 if connect is None else SHORT


def orchestrator(connect: Connect | None, project: Project = PROJECT) -> FlowOrchestrator:
    return FlowOrchestrator(project, connect=connect)


def stuck(kind: str = SYNC, **data: Any) -> dict[str, Any]:
    values = data.pop("values", {})
    return node(kind, values={"value": 7, **values}, **data)


def one(**data: Any) -> dict[str, Any]:
    return draw({"start": "start", "it": stuck(**data), "end": "return"}, AT_ONE)


AT_ONE = "start > it, it > end, it.value - end.out"
IN_TIME = "took longer than its timeout of"


@pytest.mark.ray
@pytest.mark.parametrize("how", ["sleep", "loop", "native_code"])
def test_a_node_that_is_stuck_is_ended_and_its_slot_is_free(ray_session: None, how: str) -> None:
    """As many are stuck as there are slots, and what comes after them runs."""
    nodes = {f"stuck_{at}": stuck(timeout=SHORT, values={"HOW": how}) for at in range(2)}
    wires = "".join(f"start > {each}, {each}.error > after, " for each in nodes)
    wires += "after > end, after.value - end.out"
    after = node("identity", values={"value": 1})
    flow = draw({"start": "start", **nodes, "after": after, "end": "return"}, wires)
    outcome = execute(orchestrator(None), flow)
    assert (outcome["error"], outcome["result"]) == (None, {"out": 1})


def test_a_timeout_fails_a_node_by_name_and_keeps_none_that_is_in_time(connect) -> None:
    outcome = execute(orchestrator(connect), one(timeout=SHORT))
    assert outcome["error"] == f"Node it failed: node 'it' {IN_TIME} 0.3 s"
    outcome = execute(
        orchestrator(connect), one(timeout=60, values={"TIMES": 0, "FILE": "/dev/null"})
    )
    assert outcome["result"] == {"out": 7}


def test_a_node_that_was_too_late_is_tried_again(connect, limit: float, tmp_path: Path) -> None:
    values = {"TIMES": 1, "FILE": str(tmp_path / "noted")}
    retry = {"max": 2, "retry_on": ["timeout"]}
    outcome = execute(orchestrator(connect), one(timeout=limit, retry=retry, values=values))
    assert outcome["result"] == {"out": 7}
    assert (tmp_path / "noted").read_text() == "it\n" * 2


def test_each_attempt_has_the_whole_time_and_others_errors_are_no_timeout(connect) -> None:
    retry = {"max": 1, "retry_on": ["ValueError"]}
    run = orchestrator(connect)
    execute(run, one(timeout=SHORT, retry=retry))
    assert outcomes(run)["it"] == "failed"


def test_the_error_output_of_a_late_node_says_so(connect) -> None:
    flow = draw(
        {"start": "start", "it": stuck(timeout=SHORT), "end": "return"},
        "start > it, it.error > end, it.error - end.error",
    )
    (error,) = execute(orchestrator(connect), flow)["result"].values()
    assert error["type"] == "NodeTimeoutError"
    assert error["node_id"] == "it"


@pytest.mark.ray
@pytest.mark.parametrize("how", ["sleep", "loop", "refusal"])
def test_an_async_node_is_cancelled_and_one_that_blocks_the_loop_ends_with_it(
    ray_session: None, how: str, tmp_path: Path
) -> None:
    """The node after it runs, on the same event loop or on a new one."""
    first = stuck(ASYNC, timeout=SHORT, values={"HOW": how})
    second = stuck(ASYNC, values={"TIMES": 0, "FILE": str(tmp_path / "noted")})
    flow = draw(
        {"start": "start", "first": first, "second": second, "end": "return"},
        "start > first, first.error > second, second > end, second.value - end.out",
    )
    outcome = execute(orchestrator(None), flow)
    assert (outcome["error"], outcome["result"]) == (None, {"out": 7})


@pytest.mark.ray
def test_other_async_nodes_go_on_where_one_is_cancelled(ray_session: None, tmp_path: Path) -> None:
    slow = node("odd_nodes.stuck.SlowAsyncNode", values={"value": 1})
    flow = draw(
        {"start": "start", "late": stuck(ASYNC, timeout=SHORT), "slow": slow, "end": "return"},
        "start > late, start > slow, late.error > end, slow > end, slow.value - end.out",
    )
    assert execute(orchestrator(None), flow)["result"] == {"out": 1}


@pytest.mark.ray
@pytest.mark.parametrize("data", [{"ray": {"num_cpus": 0.5}}, {"resident": True}], ids=str)
def test_an_actor_of_its_own_and_a_resident_end_too(ray_session, data, tmp_path: Path) -> None:
    values = {"TIMES": 1, "FILE": str(tmp_path / "noted")}
    flow = one(timeout=5, retry={"max": 1}, values=values, **data)
    assert execute(orchestrator(None), flow)["result"] == {"out": 7}


@pytest.mark.ray
def test_what_shares_the_event_loop_with_one_that_blocks_it_hears_why(ray_session: None) -> None:
    late = stuck(ASYNC, timeout=1.0, values={"HOW": "loop"})
    end = node("return", values={"why": None, "late": None})
    flow = draw(
        {"start": "start", "late": late, "other": stuck(ASYNC), "end": end},
        "start > other, start > late, late.error > end, other.error > end, other.error - end.why, "
        "late.error - end.late",
    )
    outcome = execute(orchestrator(None), flow)
    assert outcome["error"] is None
    assert outcome["result"]["late"]["type"] == "NodeTimeoutError"
    why = outcome["result"]["why"]
    assert why["type"] == "NodeCrashedError"
    assert why["message"].startswith("another node blocked the event loop that all async nodes")
    assert "stuck.py, line " in why["message"]


@pytest.mark.ray
def test_a_cancelled_node_that_takes_its_time_to_end_harms_no_other(ray_session: None) -> None:
    """Though it refuses to end: the event loop is free."""
    late = stuck(ASYNC, timeout=SHORT, values={"HOW": "refusal"})
    slow = {f"slow_{at}": node("odd_nodes.stuck.SlowAsyncNode") for at in range(3)}
    end = node("return", values={"out": None})
    flow = draw(
        {"start": "start", "late": late, **slow, "end": end},
        "start > late, late.error > slow_0, start > slow_1, slow_0 > slow_2, slow_2 > end, "
        "slow_1 > end, slow_2.value - end.out",
    )
    outcome = execute(orchestrator(None), flow)
    assert (outcome["error"], outcome["result"]) == (None, {"out": 1})


@pytest.mark.parametrize("seconds", [1e10, 1e300])
def test_a_limit_that_is_far_away_keeps_no_other_from_being_kept(seconds: float) -> None:
    nodes = {"far": node("constant", timeout=seconds), "near": stuck(timeout=SHORT)}
    flow = draw(
        {"start": "start", **nodes, "end": "return"},
        "start > far, far > near, near > end",
        settings={"timeout": seconds},
    )
    error = execute(orchestrator(in_process), flow)["error"]
    assert error == f"Node near failed: node 'near' {IN_TIME} 0.3 s"


LOOP = "start > loop, loop.body > it, loop.done > end, "


@pytest.fixture(params=["fused", "unfused"])
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {} if request.param == "fused" else {"ray": {"num_cpus": 0.5}}


@pytest.mark.parametrize("kind", ["group", "for_each", "while"])
def test_a_region_that_takes_too_long_ends_what_is_at_work_in_it(connect, settings, kind) -> None:
    data = {
        "group": node("control.group", timeout=SHORT),
        "for_each": node("control.for_each", timeout=SHORT, values={"items": [1, 2, 3]}),
        "while": node("control.while", timeout=SHORT, max_iterations=3),
    }[kind]
    asks = "it.value - loop.again" if kind == "while" else ""
    it = stuck(values={"value": True})
    flow = draw(
        {"start": "start", "loop": data, "it": it, "end": "return"}, LOOP + asks, settings=settings
    )
    outcome = execute(orchestrator(connect), flow)
    assert outcome["error"] == f"Node loop failed: node 'loop' {IN_TIME} 0.3 s"


def test_what_is_in_a_region_neither_retries_nor_handles_that_it_is_over(
    connect, settings, limit: float, tmp_path: Path
) -> None:
    """Not a ``retry`` and an ``error`` output of the node, nor ``on_item_error`` of a loop."""
    it = stuck(retry={"max": 5}, values={"FILE": str(tmp_path / "noted")})
    inner = node("control.for_each", on_item_error="skip", parallel=1, values={"items": [1, 2, 3]})
    flow = draw(
        {"start": "start", "outer": node("control.group", timeout=limit), "loop": inner, "it": it,
         "caught": node("constant"), "end": "return"},
        "start > outer, outer.body > loop, loop.body > it, it.error > caught, outer.error > end, "
        "outer.error - end.error",
        settings=settings,
    )  # fmt: skip
    outcome = execute(orchestrator(connect), flow)
    assert outcome["result"]["error"]["type"] == "NodeTimeoutError"
    assert len((tmp_path / "noted").read_text().splitlines()) == 1


def test_a_region_is_tried_again_as_a_node_is(
    connect, settings, limit: float, tmp_path: Path
) -> None:
    it = stuck(values={"TIMES": 1, "FILE": str(tmp_path / "noted")})
    group = node("control.group", timeout=limit, retry={"max": 1, "retry_on": ["timeout"]})
    flow = draw(
        {"start": "start", "loop": group, "it": it, "end": "return"},
        LOOP + "it.value - end.out",
        settings=settings,
    )
    assert execute(orchestrator(connect), flow)["result"] == {"out": 7}


@pytest.mark.parametrize(
    "waiting",
    [
        {"it": node("flaky", retry={"max": 1, "delay": 3600})},
        {"it": node("constant"), "loop": node("control.for_each", interval=3600, timeout=SHORT,
                                              values={"items": [1, 2]})},
        {"it": node("constant", values={"VALUE": True}),
         "loop": node("control.while", interval=3600, timeout=SHORT, max_iterations=2)},
    ],
    ids=["retry", "for_each", "while"],
)  # fmt: skip
def test_what_waits_in_a_region_is_over_with_it(waiting: dict[str, Any]) -> None:
    nodes = {"start": "start", "loop": node("control.group", timeout=SHORT), "end": "return"}
    asks = "it.value - loop.again" if waiting.get("loop", {}).get("type") == "control.while" else ""
    values = waiting["it"]["data"].setdefault("constantValues", {})
    if waiting["it"]["type"].endswith("FlakyNode"):
        values["value"] = 1
    variables = {"attempts": {"type": "int", "default": 0}}
    flow = draw({**nodes, **waiting}, LOOP + asks, variables=variables)
    outcome = execute(orchestrator(in_process), flow)
    assert outcome["error"].startswith(f"Node loop failed: node 'loop' {IN_TIME} 0.3 s")


def test_a_call_that_takes_too_long_ends_what_is_at_work_in_it(connect, tmp_path: Path) -> None:
    called = draw({"s": "start", "it": stuck(), "r": "return"}, "s > it, it > r")
    flow = draw(
        {"start": "start", "call": node("flow", flow="slow", timeout=SHORT), "end": "return"},
        "start > call, call > end",
    )
    outcome = execute(orchestrator(connect, project_of({"slow": called})), flow)
    assert outcome["error"] == f"Node call failed: node 'call' {IN_TIME} 0.3 s"


TOO_LATE: dict[str, Any] = {"timeout": SHORT}


def test_a_flow_that_takes_too_long_ends(connect) -> None:
    flow = {**one(), "settings": TOO_LATE}
    outcome = execute(orchestrator(connect), flow)
    assert outcome["error"].startswith(f"the flow {IN_TIME} 0.3 s")
    assert outcome["result"] == {}


def test_a_flow_that_waits_to_try_again_is_over_in_time() -> None:
    it = node("flaky", retry={"max": 1, "delay": 3600}, values={"value": 1})
    flow = draw(
        {"start": "start", "it": it, "end": "return"}, AT_ONE, settings=TOO_LATE,
        variables={"attempts": {"type": "int", "default": 0}},
    )  # fmt: skip
    assert execute(orchestrator(in_process), flow)["error"] == f"the flow {IN_TIME} 0.3 s"


@pytest.mark.parametrize(
    ("error", "is_late"), [(TimeIsOverError("the flow", 1), True), (ValueError("no"), False)]
)
def test_a_node_may_fail_with_the_limit_before_the_run_hears_of_it(error, is_late) -> None:
    run = orchestrator(in_process)
    run.load({**one(), "settings": {"timeout": 1e-6}})  # type: ignore[arg-type]
    run.connect()
    assert run.too_long("failed") is None
    run.error_handler.handle_node_error("it", error, run.require_tracker().get_state())
    assert (run.too_long("failed") is not None) == is_late
    assert run.too_long("returned") is None
    run.close()


def recorded(flow: dict[str, Any], memory: DagsterInstance, connect: Connect | None) -> FlowRun:
    job = build_job(flow, "test", project=PROJECT, connect=connect)
    return run_job(job, compile_flow(flow, "test", PROJECT), {}, memory)


def test_a_step_that_takes_too_long_fails_and_is_tried_again(
    connect, limit: float, memory: DagsterInstance, tmp_path: Path
) -> None:
    values = {"TIMES": 1, "FILE": str(tmp_path / "noted")}
    found = recorded(one(timeout=limit, retry={"max": 1}, values=values), memory, connect)
    assert found.result == {"out": 7}
    kinds = found.of_step("it")
    assert [kinds.count(each) for each in ("STEP_UP_FOR_RETRY", "STEP_SUCCESS")] == [1, 1]


def test_a_run_that_takes_too_long_has_failed(connect, limit, memory: DagsterInstance) -> None:
    found = recorded({**one(), "settings": {"timeout": limit}}, memory, connect)
    assert not found.success
    assert found.statuses == {"start": "completed", "it": "failed", "end": "pending"}
    (failure,) = [event for event in found.events if event.event_type_value == "PIPELINE_FAILURE"]
    assert f"the flow {IN_TIME} {limit:g} s" in failure.event_specific_data.error.message


def test_another_executor_cannot_end_a_run() -> None:
    with pytest.raises(ValidationError, match=r"settings.timeout: only the executor of rayflow"):
        build_job(
            {**one(), "settings": TOO_LATE}, "test", project=PROJECT, executor_def=MULTIPROCESS
        )
