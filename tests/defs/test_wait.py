"""``control.wait``: what it waits for, and that no worker waits with it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster_runs import run_in_dagster
from drawing import draw, node
from running import PROJECT, execute, outcomes

from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import InProcessActors, in_process
from rayflow_dagster.zones import moment

LONG = 3600
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def one_worker(orchestrator: FlowOrchestrator) -> InProcessActors:
    assert orchestrator.graph is not None
    return InProcessActors(orchestrator, orchestrator.graph, workers=1)


def run(nodes: dict[str, Any], wires: str, **keys: Any) -> tuple[dict[str, Any], dict[str, str]]:
    orchestrator = FlowOrchestrator(PROJECT, connect=one_worker)
    drawn = draw({"start": "start", "end": "return", **nodes}, wires, **keys)
    outcome = execute(orchestrator, drawn)
    return outcome, outcomes(orchestrator) if orchestrator.state_tracker else {}


def wait(**values: Any) -> dict[str, Any]:
    return node("control.wait", values=values)


COUNTS = {"n": {"type": "int", "default": 0}}
ONE = "start > wait, wait > end"


def test_many_wait_beside_each_other_and_take_no_worker() -> None:
    """There is one worker, and a hundred waits beside the node that it runs."""
    names = [f"w{at}" for at in range(100)]
    wires = "".join(f"start > {name}, {name} > end, " for name in names)
    waits = {name: wait(seconds=1) for name in names}
    work = node("identity", values={"value": 1})
    wires += "start > work, work > end, work.value - end.out"
    outcome, _ = run({**waits, "work": work}, wires)
    assert outcome["result"] == {"out": 1}


@pytest.mark.parametrize("seconds", [0, -5, 0.01, None])
def test_seconds_come_as_a_constant_or_over_a_wire(seconds: Any) -> None:
    if seconds is not None:
        assert run({"wait": wait(seconds=seconds)}, ONE)[0]["error"] is None
        return
    given = node("constant", values={"VALUE": 0.01})
    outcome, _ = run({"given": given, "wait": wait()}, ONE + ", given.value - wait.seconds")
    assert outcome["error"] is None


@pytest.mark.parametrize(
    ("until", "zone", "expected"),
    [
        ("12:30", "UTC", "2026-11-30T12:30:00+00:00"),
        ("12:00", "UTC", "2026-12-01T12:00:00+00:00"),
        ("13:30", "Europe/Madrid", "2026-11-30T12:30:00+00:00"),
        ("13:30:10+01:00", "UTC", "2026-11-30T12:30:10+00:00"),
        ("00:15", "Asia/Tokyo", "2026-11-30T15:15:00+00:00"),
        ("2027-01-01T06:30", "Europe/Madrid", "2027-01-01T05:30:00+00:00"),
        ("2020-01-01 06:30+00:00", "Europe/Madrid", "2020-01-01T06:30:00+00:00"),
    ],
)
def test_a_time_of_day_is_the_next_one_and_a_date_is_of_its_zone(until, zone, expected) -> None:
    assert moment(until, zone, NOW).astimezone(UTC).isoformat() == expected


@pytest.mark.parametrize("until", ["", "noon", "0630", "06", "2027-01-01", "25:00", "06:30 or so"])
def test_what_is_no_time_fails_the_node_with_what_to_write(until: str) -> None:
    given = node("constant", values={"VALUE": until})
    outcome, _ = run({"given": given, "wait": wait()}, ONE + ", given.value - wait.until")
    assert f"{until!r} is no time; write one as 06:30 or 2027-01-01T06:30" in outcome["error"]


def test_a_time_that_is_over_is_not_waited_for() -> None:
    assert run({"wait": wait(until="2020-01-01T00:00")}, ONE)[0]["error"] is None


@pytest.mark.parametrize("condition", ["value >= 2", "value == 2 || value > 5"])
def test_it_goes_on_once_the_variable_is_what_the_condition_says(condition: str) -> None:
    nodes = {
        "wait": wait(VARIABLE="n", CONDITION=condition),
        "one": node("variables.increment_variable", values={"VARIABLE": "n"}),
        "pause": wait(seconds=0.2),
        "two": node("variables.increment_variable", values={"VARIABLE": "n"}),
        "seen": node("variables.get_variable", values={"VARIABLE": "n"}),
    }
    wires = (
        "start > one, one > pause, pause > two, start > wait, wait > seen, seen > end, two > end"
    )
    outcome, _ = run(nodes, wires + ", seen.value - end.n", variables=COUNTS)
    assert outcome["result"] == {"n": 2}


@pytest.mark.ray
def test_it_sees_what_a_node_on_a_worker_has_written(ray_session: None) -> None:
    """The variables are then those of an actor."""
    counts = node("count_up", values={"NAME": "n"})
    waits = wait(VARIABLE="n", CONDITION="value == 1")
    drawn = draw(
        {"start": "start", "end": "return", "counts": counts, "wait": waits},
        "start > wait, start > counts, counts > end, wait > end",
        variables=COUNTS,
    )
    assert execute(FlowOrchestrator(PROJECT), drawn)["error"] is None


def test_a_timeout_limits_it_and_its_error_output_says_so() -> None:
    waits = node("control.wait", timeout=0.2, values={"VARIABLE": "n", "CONDITION": "value > 0"})
    wires = "start > wait, wait.error > end, wait.error - end.error"
    outcome, _ = run({"wait": waits}, wires, variables=COUNTS)
    assert (
        outcome["result"]["error"]["message"] == "node 'wait' took longer than its timeout of 0.2 s"
    )


@pytest.mark.parametrize("values", [{}, {"seconds": 1, "until": "06:30"}])
def test_it_waits_for_one_thing(values: dict[str, Any]) -> None:
    outcome, _ = run({"wait": wait(**values)}, ONE)
    has = "seconds, until" if values else "nothing"
    assert f"node 'wait': it has {has} to wait for; set one of" in outcome["error"]


def test_a_wire_that_brings_nothing_to_wait_for_fails_the_node() -> None:
    nodes = {"given": node("constant"), "wait": wait()}
    outcome, _ = run(nodes, ONE + ", given.value - wait.seconds")
    assert "set one of 'seconds', 'until' and VARIABLE" in outcome["error"]


def test_a_return_that_is_reached_first_is_not_kept_waiting() -> None:
    outcome, nodes = run({"wait": wait(seconds=LONG)}, "start > end, start > wait")
    assert outcome["error"] is None
    assert nodes["wait"] == "skipped"


def test_a_failure_beside_it_is_not_kept_waiting() -> None:
    nodes = {"wait": wait(seconds=LONG), "boom": node("boom")}
    outcome, _ = run(nodes, "start > boom, boom > end, start > wait, wait > end")
    assert outcome["error"] == "Node boom failed: ValueError: boom: bang"


@pytest.mark.parametrize("way", ["break", "item"])
def test_in_a_loop_each_iteration_waits_by_itself(way: str) -> None:
    items = list(range(50))
    side_by_side = 50 if way == "item" else 1
    loop = node("control.for_each", parallel=side_by_side, values={"items": items})
    nodes = {"loop": loop, "wait": wait(seconds=0.5 if way == "item" else LONG)}
    wires = "start > loop, loop.body > wait, loop.done > end, loop.count - end.count"
    if way == "break":
        nodes["stop"] = node("control.break")
        wires += ", loop.body > stop"
    outcome, _ = run(nodes, wires)
    assert outcome["error"] is None
    assert outcome["result"]["count"] == side_by_side


@pytest.mark.parametrize(
    ("values", "rule", "text"),
    [
        ({"VARIABLE": "m"}, "variable_declared", "variable 'm' is not declared"),
        ({"VARIABLE": "n", "CONDITION": "value >"}, "expression", "constant 'CONDITION'"),
        ({"VARIABLE": "n"}, "expression", "bool"),
        ({"until": "6:30"}, "wait_time", "'6:30' is no time; write one as 06:30"),
        ({"until": "2027-02-30T06:30"}, "wait_time", "is no time"),
        ({"seconds": 1, "TIMEZONE": "Europe/Madri"}, "timezone", "did you mean 'Europe/Madrid'?"),
    ],
)
def test_what_is_drawn_wrong_is_found(loader, values, rule: str, text: str) -> None:
    validator = FlowValidator(loader)
    validator.validate(
        draw({"start": "start", "wait": wait(**values), "end": "return"}, ONE, variables=COUNTS)
    )
    (finding,) = validator.findings
    assert (finding.rule, finding.node) == (rule, "wait")
    assert text in finding.message


@pytest.mark.parametrize("first", ["wait", "return"])
def test_in_dagster_it_is_a_step_that_is_given_up_where_a_return_comes_first(
    memory: DagsterInstance, first: str
) -> None:
    nodes = {"start": "start", "wait": wait(seconds=0.1), "end": "return"}
    wires = ONE
    if first == "return":
        pause = {"pause": wait(seconds=0.5), "wait": wait(seconds=LONG)}
        nodes, wires = {**nodes, **pause}, "start > pause, pause > end, start > wait"
    found = run_in_dagster(draw(nodes, wires), {}, memory, connect=in_process)
    assert found.success
    assert found.statuses["wait"] == ("completed" if first == "wait" else "skipped")
    assert "STEP_FAILURE" not in found.of_step("wait")


def test_in_dagster_a_failure_beside_it_leaves_it_without_an_end(memory: DagsterInstance) -> None:
    """So that a re-execution from failure waits again."""
    nodes = {"start": "start", "wait": wait(seconds=LONG), "pause": wait(seconds=0.3)}
    drawn = draw(
        {**nodes, "boom": "boom", "end": "return"},
        "start > wait, wait > end, start > pause, pause > boom, boom > end",
    )
    found = run_in_dagster(drawn, {}, memory, connect=in_process)
    failed = {name for name, status in found.statuses.items() if status == "failed"}
    assert failed == {"boom"}
    assert "STEP_FAILURE" not in found.of_step("wait")
