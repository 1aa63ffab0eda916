"""Joins of some of the exec edges: alike in a direct run and in Dagster, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, in_process_executor, multiprocess_executor
from dagster_runs import FlowRun, run_in_dagster
from drawing import draw, node
from engine.test_machine import checked, failed, ran, starts
from running import PROJECT, execute, outcomes
from shapes import test_loader as make_loader

from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.defs.executor import flow_executor
from rayflow_dagster.defs.jobs import build_job
from rayflow_dagster.engine.machine import Begun, Due, Wait
from rayflow_dagster.errors import ValidationError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process


def run_both(flow: dict[str, Any], **inputs: Any) -> FlowRun:
    """The Dagster run, to which the direct run agrees."""
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    outcome = execute(orchestrator, flow, **inputs)
    with DagsterInstance.ephemeral() as instance:
        run = run_in_dagster(flow, inputs, instance, None, in_process)
    assert run.statuses == outcomes(orchestrator), outcome["error"]
    assert (run.success, run.result) == (outcome["success"], outcome["result"])
    return run


def findings(flow: dict[str, Any], *rules: str) -> list[str]:
    found = list(FlowValidator(make_loader()).check(flow))
    assert [each.rule for each in found] == list(rules), found
    return [each.message for each in found]


def meeting(join: Any, folder: Path) -> dict[str, Any]:
    """``late`` ends only once ``after``, which is behind the join, has begun."""

    def meet(mine: str, theirs: str) -> dict[str, Any]:
        files = {"MINE": str(folder / mine), "THEIRS": str(folder / theirs)}
        return node("flow_nodes.meet.MeetNode", values=files)

    given = node("identity", values={"value": 1})
    return draw(
        {"start": "start", "late": meet("late", "after"), "one": given, "two": given,
         "join": node("sleep", join=join), "after": meet("after", "late"), "r": "return"},
        "start > late, start > one, start > two, one > join, two > join, late > join, "
        "join > after, after > r, late > r",
    )  # fmt: skip


@pytest.mark.parametrize("join", ["any", {"at_least": 2}])
def test_a_join_starts_while_what_it_needs_no_more_is_at_work(join: Any, tmp_path: Path) -> None:
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    assert execute(orchestrator, meeting(join, tmp_path))["error"] is None
    assert set(outcomes(orchestrator).values()) == {"completed"}


@pytest.mark.parametrize("join", ["any", {"at_least": 2}])
def test_a_join_starts_early_in_dagster(join: Any, tmp_path: Path) -> None:
    with DagsterInstance.ephemeral() as instance:
        run = run_in_dagster(meeting(join, tmp_path), {}, instance, None, in_process)
    assert run.success
    assert set(run.statuses.values()) == {"completed"}
    assert run.of_step("join").count("STEP_START") == 1


@pytest.mark.ray
def test_a_join_starts_early_on_ray_actors(
    ray_session: None, instance: DagsterInstance, tmp_path: Path
) -> None:
    run = run_in_dagster(meeting("any", tmp_path), {}, instance)
    assert run.success
    assert set(run.statuses.values()) == {"completed"}


def voting(join: Any) -> dict[str, Any]:
    """A join of three, each of which START's inputs have fire or not."""
    nodes: dict[str, Any] = {"start": node("start", inputs=dict.fromkeys("abc", "bool"))}
    nodes |= {"join": node("sleep", join=join), "r": "return"}
    wires = ""
    for name in "abc":
        nodes |= {f"if_{name}": "logic.branch", name: "sleep"}
        wires += f"start.{name} - if_{name}.condition, start > if_{name}, if_{name}.true > {name},"
        wires += f"{name} > join, {name} > r,"
    return draw(nodes, f"{wires} join > r, start > r", settings={"ends": "all_settled"})


@pytest.mark.parametrize(
    ("join", "fires", "status"),
    [
        ("any", "", "skipped"),
        ("any", "b", "completed"),
        ({"at_least": 2}, "b", "skipped"),
        ({"at_least": 2}, "ac", "completed"),
        ({"at_least": 3}, "ac", "skipped"),
        ({"at_least": 3}, "abc", "completed"),
        ("all", "c", "completed"),
    ],
)
def test_a_join_runs_where_so_many_have_fired_and_is_skipped_where_so_many_cannot(
    join: Any, fires: str, status: str
) -> None:
    run = run_both(voting(join), **{name: name in fires for name in "abc"})
    assert run.success
    assert run.statuses["join"] == status


def test_a_join_waits_for_the_values_that_it_reads() -> None:
    flow = draw(
        {"start": "start", "fast": "identity", "slow": node("sleep", values={"SECONDS": 0.3}),
         "value": node("sleep", values={"SECONDS": 0.2, "value": 5}),
         "join": node("identity", join="any"), "r": "return"},
        "start > fast, start > slow, start > value, fast > join, slow > join, "
        "value.value - join.value, join.value - r.x, join > r, slow > r",
    )  # fmt: skip
    flow["nodes"][1]["data"]["constantValues"] = {"value": 1}
    assert run_both(flow).result == {"x": 5}


def test_a_return_that_is_a_join_ends_the_flow_at_the_first() -> None:
    flow = draw(
        {"start": "start", "fast": "sleep", "slow": node("sleep", values={"SECONDS": 0.5}),
         "after": "sleep", "r": node("return", join="any")},
        "start > fast, start > slow, slow > after, fast > r, after > r",
    )  # fmt: skip
    assert run_both(flow).statuses["after"] == "skipped"


def test_a_join_that_waits_to_be_tried_again_is_not_started_by_another_edge() -> None:
    flow = draw(
        {"start": "start", "a": "sleep", "b": "sleep",
         "join": node("boom", join="any", retry={"max": 1, "delay": 5}), "r": "return"},
        "start > a, start > b, a > join, b > join, join > r",
    )  # fmt: skip
    run = checked(flow)
    run.tell(Begun())
    run.tell(ran("start"))
    assert starts(run.tell(ran("a"))) == [("join", 0)]
    assert run.tell(failed("join")) == [Wait("join", 5)]
    assert starts(run.tell(ran("b"))) == []
    assert starts(run.tell(Due("join"))) == [("join", 1)]


def test_a_return_that_is_a_join_has_one_turn() -> None:
    flow = draw(
        {"start": "start", "a": "sleep", "b": "sleep", "r": node("return", join="any"),
         "first": "return"},
        "start > a, start > b, a > r, b > r, start > first", settings={"ends": "all_settled"},
    )  # fmt: skip
    run = checked(flow)
    run.tell(Begun())
    assert ("first", 0) in starts(run.tell(ran("start")))
    assert starts(run.tell(ran("a"))) == []
    assert starts(run.tell(ran("b"))) == []
    assert starts(run.tell(failed("first")._replace(again=False))) == []
    assert run.outcome == "failed"


def test_a_failed_node_holds_up_only_a_join_that_needs_it() -> None:
    flow = draw(
        {"start": "start", "bad": "boom", "good": "sleep", "one": node("sleep", join="any"),
         "two": node("sleep", join={"at_least": 2}), "r": "return"},
        "start > bad, start > good, bad > one, good > one, bad > two, good > two, one > r, two > r",
        on_error="continue",
    )  # fmt: skip
    run = run_both(flow)
    assert not run.success
    assert (run.statuses["one"], run.statuses["two"]) == ("completed", "pending")


def test_a_sequence_waits_for_all_that_leads_to_a_join() -> None:
    flow = draw(
        {"start": "start", "it": "control.sequence", "a": "sleep",
         "slow": node("sleep", values={"SECONDS": 0.3}), "join": node("sleep", join="any"),
         "next": "sleep", "r": "return"},
        "start > it, it.then_1 > a, it.then_1 > slow, a > join, slow > join, it.then_2 > next, "
        "next > r, join > r",
    )  # fmt: skip
    run = run_both(flow)
    keys = [event.step_key for event in run.events if event.is_step_success]
    assert keys.index("join") < keys.index("slow") < keys.index("next")


def test_a_variable_that_a_join_needs_is_read_when_the_join_starts(tmp_path: Path) -> None:
    """Not after ``late``, which ends only once the join's follower has begun."""
    files = {"MINE": str(tmp_path / "1"), "THEIRS": str(tmp_path / "2")}
    back = {"MINE": str(tmp_path / "2"), "THEIRS": str(tmp_path / "1")}
    flow = draw(
        {"start": "start", "late": node("flow_nodes.meet.MeetNode", values=files), "a": "sleep",
         "get": node("variables.get_variable", values={"VARIABLE": "n"}),
         "join": node("identity", join="any"), "r": "return",
         "after": node("flow_nodes.meet.MeetNode", values=back)},
        "start > late, start > a, a > join, late > join, get.value - join.value, join > after, "
        "join.value - after.value, after.value - r.n, after > r, late > r",
        variables={"n": {"type": "int", "default": 7}},
    )  # fmt: skip
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    assert execute(orchestrator, flow)["result"] == {"n": 7}


# --- what is refused ------------------------------------------------------------------------------


def branched(join: Any) -> dict[str, Any]:
    return draw(
        {"start": node("start", inputs={"flag": "bool"}), "if": "logic.branch", "a": "sleep",
         "b": "sleep", "c": "sleep", "join": node("sleep", join=join), "r": "return"},
        "start.flag - if.condition, start > if, start > c, if.true > a, if.false > b, a > join, "
        "b > join, c > join, join > r",
        settings={"ends": "all_settled"},
    )  # fmt: skip


def test_a_join_that_can_never_fire_names_the_branch_that_prevents_it() -> None:
    assert findings(branched({"at_least": 3}), "join") == [
        "node 'join' data.join: it asks for 3 exec edges to fire, and no run fires so many, as "
        "node 'if' fires 'true' or 'false', never both; ask for less"
    ]


@pytest.mark.parametrize(
    ("join", "told"),
    [
        ({"at_least": 4}, "asks for 4 exec edges to fire, and 3 lead to it; wire more, or ask"),
        ("first", 'must be "all", "any" or {"at_least": 2}, not \'first\''),
        ({"at_least": 0}, 'must be "all", "any" or {"at_least": 2}, not {\'at_least\': 0}'),
        ({"at_lest": 1}, 'must be "all", "any" or {"at_least": 2}, not {\'at_lest\': 1}'),
        (2, 'must be "all", "any" or {"at_least": 2}, not 2'),
    ],
)
def test_what_is_no_join_is_told(join: Any, told: str) -> None:
    validator = FlowValidator(make_loader())
    flow = branched(join)
    flow["edges"].append({**draw({}, "start > r")["edges"][0], "id": "last"})
    valid, errors = validator.validate(flow)  # type: ignore[arg-type]
    assert not valid
    (error,) = errors
    assert told in error


def test_a_join_of_data_is_told() -> None:
    flow = draw(
        {"start": node("start", inputs={"x": "int"}), "it": node("identity", join="any"),
         "r": "return"},
        "start > r, start.x - it.value, it.value - r.x",
    )  # fmt: skip
    (told,) = findings(flow, "join")
    assert told.endswith("asks for 1 exec edge to fire, and none lead to it; wire more, or ask "
                         "for less")  # fmt: skip


def test_an_input_whose_source_need_not_have_run_is_told() -> None:
    flow = branched({"at_least": 2})
    flow["edges"] += draw({}, "a.value - r.x, c.value - r.y, join.value - r.z")["edges"]
    for number, edge in enumerate(flow["edges"]):
        edge["id"] = f"e{number}"
    (told,) = findings(flow, "skipped_source")
    assert "node 'r' input 'x': its source 'a' may be skipped" in told


def test_a_join_that_a_disabled_node_keeps_from_running_is_skipped_and_told() -> None:
    flow = draw(
        {"start": "start", "a": "sleep", "b": node("sleep", disabled=True),
         "join": node("sleep", join={"at_least": 2}), "r": "return"},
        "start > a, start > b, a > join, b > join, a > r",
        settings={"ends": "all_settled"},
    )  # fmt: skip
    _, told = findings(flow, "disabled", "disabled")
    assert told == (
        "node 'join': it asks for 2 exec edges to fire, and disabled nodes leave it fewer, so "
        "every run skips it"
    )
    assert run_both(flow).statuses["join"] == "skipped"
    flow = branched({"at_least": 2})
    flow["nodes"][4]["data"]["disabled"] = True
    findings(flow, "disabled")


def test_a_stock_executor_is_refused_where_a_join_does_not_wait_for_all() -> None:
    for executor in (in_process_executor, multiprocess_executor.configured({"max_concurrent": 2})):
        with pytest.raises(ValidationError, match="starts before all that leads to it"):
            build_job(branched("any"), project=PROJECT, executor_def=executor)
        build_job(branched("all"), project=PROJECT, executor_def=executor)
    ours = flow_executor.configured({"max_concurrent": 1}, name="one_at_a_time")
    build_job(branched("any"), project=PROJECT, executor_def=ours)


def in_a_body(nodes: dict[str, Any], wires: str) -> dict[str, Any]:
    loop = {"start": "start", "loop": "control.for_each", "r": "return"}
    loop["loop"] = node("control.for_each", values={"items": [1, 2]})
    return draw({**loop, **nodes}, f"start > loop, loop.done > r, {wires}")


def test_what_cannot_be_in_a_body_is_told() -> None:
    nodes = {"both": "control.parallel", "a": "sleep", "j": node("sleep", join={"at_least": 3})}
    wires = "loop.body > both, both.branch_1 > a, a > j, both.branch_2 > j"
    (text,) = findings(in_a_body(nodes, wires), "join")
    assert "asks for 3 exec edges to fire, and 2 lead to it" in text
    nodes = {"it": "control.sequence", "a": "identity", "b": node("constant", values={"VALUE": 1})}
    wires = "loop.body > it, it.then_1 > a, it.then_2 > b, b.value - a.value"
    (text,) = findings(in_a_body(nodes, wires), "sequence_order")
    assert text.startswith("node 'it' exec output 'then_2': it leads to node 'b'")


def test_a_body_with_a_join_is_fused_only_where_nothing_could_run_beside_it() -> None:
    short = node("text.split", values={"text": "x"})
    nodes = {"both": "control.parallel", "a": "sleep", "b": short, "j": "sleep"}
    wires = (
        "loop.body > both, both.branch_1 > a, both.branch_2 > b, a > j, b > j, loop.item - j.value"
    )
    loop = in_a_body(nodes, wires)
    next(each for each in loop["nodes"] if each["id"] == "loop")["data"]["parallel"] = 1
    assert is_fused(loop)
    next(each for each in loop["nodes"] if each["id"] == "j")["data"]["join"] = "any"
    assert not is_fused(loop)


def is_fused(flow: dict[str, Any]) -> bool:
    graph = FlowOrchestrator(PROJECT).load(flow)
    return graph["nodes"]["loop"]["region"]["fused"]
