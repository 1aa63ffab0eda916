"""Regions in a direct run: what a body does, what it is handed, and what it hands on."""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import pytest
from drawing import draw, node
from running import PROJECT, execute, outcomes, result_of

from rayflow_dagster.errors import told
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.runner import log_of
from rayflow_dagster.testing import InProcessActors, in_process
from rayflow_dagster.values.crossing import Sent

START = node(
    "start",
    inputs={
        "xs": "list",
        "n": {"type": "int", "default": 0},
        "flag": {"type": "bool", "default": False},
    },
)
WHEN = "logic.choose"


def run(nodes: dict[str, Any], wires: str, /, **inputs: Any) -> dict[str, Any]:
    """What RETURN got, from a flow without findings that succeeds."""
    outcome = attempt(nodes, wires, **inputs)
    assert outcome["error"] is None
    result: dict[str, Any] = outcome["result"]
    return result


def attempt(nodes: dict[str, Any], wires: str, /, **inputs: Any) -> dict[str, Any]:
    return execute(FlowOrchestrator(PROJECT, connect=in_process), drawn(nodes, wires), **inputs)


def drawn(nodes: dict[str, Any], wires: str) -> dict[str, Any]:
    keys = {"variables": VARIABLES, "settings": SETTINGS}
    return draw({"start": START, "end": "return", **nodes}, wires, **keys)


SETTINGS: dict[str, Any] = {}


@pytest.fixture(params=["fused", "unfused"], autouse=True)
def settings(request, monkeypatch):
    """Nodes that ask for an actor of their own are not run together on one worker."""
    if request.param == "unfused":
        monkeypatch.setitem(SETTINGS, "ray", {"num_cpus": 0.5})


VARIABLES = {"attempts": {"type": "int", "default": 0}, "total": {"type": "int", "default": 0}}
LOOP = "start > loop, start.xs - loop.items, loop.done > end,"
FIRST = "loop.body > one, loop.item - one.value,"
MAYBE = "loop.body > one, loop.item - one.fail, loop.item - one.value,"


def test_a_value_that_leaves_is_the_list_of_what_came_in_the_order_of_the_items():
    nodes = {"loop": "control.for_each", "one": node("sleep", values={"SECONDS": 0})}
    wires = LOOP + FIRST + "one.value - end.out, loop.count - end.count, loop.errors - end.errors"
    assert run(nodes, wires, xs=list(range(20))) == {
        "out": list(range(20)),
        "count": 20,
        "errors": [],
    }
    assert run(nodes, wires, xs=[]) == {"out": [], "count": 0, "errors": []}


def test_large_values_and_values_of_any_class_leave_a_body():
    nodes = {"loop": "control.for_each", "one": "identity"}
    items = ["x" * 5000, {1, 2}, b"y" * 5000]
    assert run(nodes, LOOP + FIRST + "one.value - end.out", xs=items) == {"out": items}


def test_a_body_reads_what_is_outside_and_the_index():
    nodes = {"loop": "control.for_each", "one": "add", "two": "add", "n": "identity"}
    wires = (
        "start > n, start.n - n.value, n > loop, start.xs - loop.items, loop.done > end,"
        "loop.body > one, one > two, loop.item - one.x, n.value - one.y,"
        "one.result - two.x, loop.index - two.y, two.result - end.out"
    )
    assert run(nodes, wires, xs=[1, 2, 3], n=10) == {"out": [11, 13, 15]}


def test_a_data_driven_node_of_a_body_runs_for_each_item():
    nodes = {"loop": "control.for_each", "one": "identity", "plus": "add"}
    wires = LOOP + (
        "loop.body > one, loop.item - plus.x, start.n - plus.y, plus.result - one.value,"
        "one.value - end.out"
    )
    assert run(nodes, wires, xs=[1, 2], n=5) == {"out": [6, 7]}


def test_what_is_skipped_leaves_no_entry_or_none_where_entries_are_aligned():
    when = node(WHEN, values={"CASES": {"big": "item > 1"}})
    wires = LOOP + (
        "loop.body > when, loop.item - when.item, when.big > one, loop.item - one.value,"
        "one.value - end.out"
    )
    nodes = {"loop": "control.for_each", "when": when, "one": "identity"}
    assert run(nodes, wires, xs=[1, 2, 0, 3]) == {"out": [2, 3]}
    nodes["loop"] = node("control.for_each", aligned=True)
    assert run(nodes, wires, xs=[1, 2, 0, 3]) == {"out": [None, 2, None, 3]}


def test_batches_are_lists_of_items():
    nodes = {"loop": node("control.for_each", batch=2), "one": "identity"}
    wires = LOOP + FIRST + "one.value - end.out, loop.count - end.count"
    assert run(nodes, wires, xs=[1, 2, 3]) == {"out": [[1, 2], [3]], "count": 2}


def test_carried_values_go_from_item_to_item():
    carry = {"total": {"type": "int", "default": 100}}
    nodes = {"loop": node("control.for_each", carry=carry), "one": "add"}
    wires = LOOP + (
        "loop.body > one, loop.item - one.x, loop.total - one.y, one.result - loop.next.total,"
        "loop.total - end.total, one.result - end.steps"
    )
    assert run(nodes, wires, xs=[1, 2, 3]) == {"total": 106, "steps": [101, 103, 106]}
    assert run(nodes, wires + ", start.n - loop.total", xs=[1, 2], n=5)["total"] == 8
    assert run(nodes, wires, xs=[])["total"] == 100


@pytest.mark.parametrize(
    ("on_item_error", "expected"),
    [
        ("skip", {"out": [False, False], "errors": []}),
        (
            "collect",
            {
                "out": [False, False],
                "errors": [
                    {"index": 1, "type": "ValueError", "message": "told to fail", "node_id": "one"}
                ],
            },
        ),
    ],
)
def test_an_item_that_fails_may_be_left_out(on_item_error, expected):
    nodes = {"loop": node("control.for_each", on_item_error=on_item_error), "one": "fragile"}
    wires = LOOP + MAYBE + "one.value - end.out, loop.errors - end.errors"
    assert run(nodes, wires, xs=[False, True, False]) == expected


def test_an_item_that_fails_fails_the_loop_and_no_other_begins():
    nodes = {"loop": node("control.for_each", parallel=1), "one": "fragile"}
    outcome = attempt(nodes, LOOP + MAYBE + "one.value - end.out", xs=[False, True, False])
    assert outcome["error"] == "Node loop failed: item 1, node 'one': ValueError: told to fail"


def test_a_failed_loop_is_handled_as_any_node():
    nodes = {"loop": "control.for_each", "one": "fragile", "other": "return"}
    wires = LOOP + MAYBE + "one.value - end.out, loop.error > other, loop.error - other.error"
    assert run(nodes, wires, xs=[True]) == {
        "error": {"type": "ValueError", "message": "told to fail", "node_id": "one"}
    }


def test_break_ends_the_loop_and_continue_an_iteration():
    when = node(WHEN, values={"CASES": {"stop": "item == 3", "pass": "item == 1"}})
    nodes = {
        "loop": node("control.for_each", parallel=1),
        "when": when,
        "one": "identity",
        "stop": "control.break",
        "pass": "control.continue",
    }
    wires = LOOP + (
        "loop.body > when, loop.item - when.item, when.stop > stop, when.pass > pass,"
        "when.default > one, loop.item - one.value, one.value - end.out, loop.count - end.count"
    )
    assert run(nodes, wires, xs=[0, 1, 2, 3, 4]) == {"out": [0, 2], "count": 4}


@pytest.mark.parametrize("end", ["control.break", "control.continue"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("parallel", [{}, {"parallel": 1}])
def test_what_begins_behind_another_node_does_not_begin_once_the_iteration_has_ended(
    end: str, first: bool, parallel: dict[str, int]
):
    chain = {"one": node("sleep", values={"SECONDS": 0.2}), "two": "identity"}
    ends = {"stop": end}
    nodes = {
        "loop": node("control.for_each", **parallel),
        **(ends | chain if first else chain | ends),
    }
    wires = LOOP + FIRST + "one > two, one.value - two.value, two.value - end.out, loop.body > stop"
    assert run(nodes, wires, xs=[1]) == {"out": []}


def test_a_body_is_run_whole_where_what_ends_it_excludes_what_it_does_not_wait_for():
    nodes = {
        "loop": node("control.for_each", parallel=1),
        "which": node("logic.switch", values={"CASES": [3]}),
        "one": "identity",
        "stop": "control.break",
    }
    wires = LOOP + "loop.body > which, loop.item - which.value, which.3 > stop,"
    apart = wires + "which.default > one, loop.item - one.value"
    beside = wires + "loop.body > one, loop.item - one.value"
    assert is_fused(nodes, apart) is (SETTINGS == {})
    assert not is_fused(nodes, beside)


def is_fused(nodes: dict[str, Any], wires: str) -> bool:
    graph = FlowOrchestrator(PROJECT).load(drawn(nodes, wires))
    return bool(graph["nodes"]["loop"]["region"]["fused"])


def test_a_while_goes_on_as_long_as_its_body_says():
    carry = {"page": {"type": "int", "default": 1}}
    less = node("logic.compare", values={"b": 4, "OPERATOR": "<"})
    nodes = {
        "loop": node("control.while", carry=carry, max_iterations=10),
        "one": "add",
        "less": less,
    }
    wires = (
        "start > loop, loop.done > end, loop.body > one, one > less, loop.page - one.x,"
        "start.n - one.y, one.result - loop.next.page, one.result - less.a,"
        "less.result - loop.again, loop.page - end.page, loop.count - end.count"
    )
    assert run(nodes, wires, xs=[], n=1) == {"page": 4, "count": 3}


def test_a_while_that_reaches_its_limit_is_exhausted_or_fails():
    nodes = {
        "loop": node("control.while", max_iterations=3),
        "yes": node("constant", values={"VALUE": True}),
    }
    wires = "start > loop, loop.done > end, loop.body > yes, yes.value - loop.again"
    outcome = attempt(nodes, wires, xs=[])
    assert "stopped after 3 iterations" in outcome["error"]
    nodes["late"] = "return"
    more = ", loop.exhausted > late, loop.count - late.count"
    assert run(nodes, wires + more, xs=[]) == {"count": 3}


def test_a_while_that_is_not_asked_goes_on_until_it_is_broken():
    which = node("logic.choose", values={"CASES": {"stop": "n >= 3"}})
    carry = {"n": {"type": "int", "default": 0}}
    nodes = {
        "loop": node("control.while", max_iterations=10, carry=carry),
        "one": node("add", values={"y": 1}),
        "which": which,
        "stop": "control.break",
    }
    wires = (
        "start > loop, loop.body > one, loop.n - one.x, one.result - loop.next.n, one > which,"
        "one.result - which.n, which.stop > stop, loop.done > end, loop.count - end.count"
    )
    assert run(nodes, wires, xs=[]) == {"count": 3}


def test_a_while_in_a_loop_breaks_only_itself():
    nodes = {
        "loop": "control.for_each",
        "inner": node("control.while", max_iterations=5),
        "stop": "control.break",
        "one": "identity",
    }
    wires = LOOP + (
        "loop.body > inner, inner.body > stop, inner.done > one, loop.item - one.value,"
        "one.value - end.out"
    )
    assert run(nodes, wires, xs=[1, 2]) == {"out": [1, 2]}


def test_loops_in_loops_give_lists_of_lists():
    nodes = {"loop": "control.for_each", "inner": "control.for_each", "one": "add"}
    wires = LOOP + (
        "loop.body > inner, loop.item - inner.items, inner.body > one, inner.item - one.x,"
        "loop.index - one.y, one.result - end.out"
    )
    assert run(nodes, wires, xs=[[1, 2], [], [3]]) == {"out": [[1, 2], [], [5]]}


def test_a_value_of_an_inner_body_is_a_list_in_the_outer_one():
    nodes = {
        "loop": "control.for_each",
        "inner": "control.for_each",
        "one": "identity",
        "all": "identity",
    }
    wires = LOOP + (
        "loop.body > inner, loop.item - inner.items, inner.body > one, inner.item - one.value,"
        "inner.done > all, one.value - all.value, all.value - end.out"
    )
    assert run(nodes, wires, xs=[[1, 2], [3]]) == {"out": [[1, 2], [3]]}


def test_a_value_goes_from_one_body_into_another():
    nodes = {
        "loop": "control.for_each",
        "one": "identity",
        "again": "control.for_each",
        "two": "add",
    }
    wires = (
        "start > loop, start.xs - loop.items, loop.body > one, loop.item - one.value,"
        "loop.done > again, start.xs - again.items, again.body > two, again.item - two.x,"
        "one.value - two.y, again.done > end, two.result - end.out"
    )
    assert run(nodes, wires, xs=[[1], [2]]) == {"out": [[1, [1], [2]], [2, [1], [2]]]}


def test_a_group_hands_on_the_value_itself():
    nodes = {"group": "control.group", "one": "identity"}
    wires = (
        "start > group, group.body > one, start.n - one.value, group.done > end,one.value - end.out"
    )
    assert run(nodes, wires, xs=[], n=7) == {"out": 7}


def test_a_group_catches_what_fails_in_it():
    nodes = {"group": "control.group", "one": "boom", "two": "identity", "bad": "return"}
    wires = (
        "start > group, group.body > one, one > two, start.n - two.value, group.done > end,"
        "group.error > bad, group.error - bad.error"
    )
    assert run(nodes, wires, xs=[]) == {
        "error": {"type": "ValueError", "message": "boom: bang", "node_id": "one"}
    }


def test_what_hangs_on_always_runs_where_the_flow_is_about_to_fail():
    nodes = {
        "group": "control.group",
        "one": "boom",
        "tidy": node("count_up", values={"NAME": "total"}),
        "more": "identity",
        "beside": "identity",
    }
    wires = (
        "start > group, group.body > one, group.done > end, group.always > tidy, tidy > more,"
        "tidy.value - more.value, group.done > beside, start.n - beside.value"
    )
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    outcome = execute(orchestrator, drawn(nodes, wires), xs=[])
    assert outcome["error"] == "Node group failed: node 'one': ValueError: boom: bang"
    found = outcomes(orchestrator)
    assert (found["tidy"], found["more"]) == ("completed", "completed")
    assert (found["end"], found["beside"]) == ("pending", "pending")


def test_always_fires_beside_done_and_beside_a_handled_error():
    nodes = {"group": "control.group", "one": "fragile", "tidy": "count_up"}
    nodes["tidy"] = node("count_up", values={"NAME": "total"})
    wires = (
        "start > group, group.body > one, start.flag - one.fail, start.n - one.value,"
        "group.always > tidy, group.done > end, group.error > end, tidy > end,"
        "tidy.value - end.tidy"
    )
    for flag in (False, True):
        assert run(nodes, wires, xs=[], flag=flag) == {"tidy": 1}


def test_a_group_is_tried_again_as_a_whole():
    nodes = {
        "group": node("control.group", retry={"max": 2}),
        "first": node("count_up", values={"NAME": "total"}),
        "one": "flaky",
    }
    wires = (
        "start > group, group.body > first, first > one, start.n - one.value, group.done > end,"
        "first.value - end.first, one.attempts - end.attempts"
    )
    assert run(nodes, wires, xs=[]) == {"first": 2, "attempts": 2}


def test_a_node_of_a_body_is_tried_again_by_itself():
    nodes = {
        "loop": node("control.for_each", parallel=1),
        "first": node("count_up", values={"NAME": "total"}),
        "one": node("flaky", retry={"max": 1}),
    }
    wires = LOOP + (
        "loop.body > first, first > one, loop.item - one.value, first.value - end.first,"
        "one.attempts - end.attempts"
    )
    assert run(nodes, wires, xs=["a"]) == {"first": [1], "attempts": [2]}


def test_break_and_always_in_a_group_in_a_loop():
    when = node(WHEN, values={"CASES": {"stop": "item == 2"}})
    nodes = {
        "loop": node("control.for_each", parallel=1),
        "group": "control.group",
        "when": when,
        "stop": "control.break",
        "one": "identity",
        "tidy": node("count_up", values={"NAME": "total"}),
        "after": "identity",
    }
    wires = LOOP + (
        "loop.body > group, group.body > when, loop.item - when.item, when.stop > stop,"
        "when.default > one, loop.item - one.value, group.always > tidy, group.done > after,"
        "loop.item - after.value, one.value - end.out, after.value - end.after,"
        "tidy.value - end.tidy"
    )
    found = run(nodes, wires, xs=[1, 2, 3])
    assert found == {"out": [1], "after": [1], "tidy": [1, 2]}


def test_a_sequence_in_a_body_goes_on_one_output_after_another():
    """Each iteration adds its item to the total, and then reads what that has become."""
    nodes = {
        "loop": node("control.for_each", parallel=1),
        "steps": "control.sequence",
        "read": "identity",
        "total": node("variables.get_variable", values={"VARIABLE": "total"}),
        "slow": node("sleep", values={"SECONDS": 0.02}),
        "count": node("count_up", values={"NAME": "total"}),
    }
    wires = LOOP + (
        "loop.body > steps, steps.then_2 > read, total.value - read.value, steps.then_1 > slow,"
        "slow > count, read.value - end.out"
    )
    assert run(nodes, wires, xs=[1, 2, 3]) == {"out": [1, 2, 3]}


def test_a_sequence_waits_for_a_loop_as_for_any_node():
    nodes = {
        "steps": "control.sequence",
        "loop": node("control.for_each", parallel=1),
        "one": node("count_up", values={"NAME": "total"}),
        "last": node("count_up", values={"NAME": "total"}),
    }
    wires = (
        "start > steps, steps.then_2 > last, steps.then_1 > loop, start.xs - loop.items,"
        "loop.body > one, one.value - end.out, last.value - end.last, loop.done > end, last > end"
    )
    assert run(nodes, wires, xs=[1, 2]) == {"out": [1, 2], "last": 3}


@pytest.mark.parametrize("on_error", ["stop", "continue"])
def test_a_sequence_does_not_go_on_behind_a_failed_group_whose_always_did(on_error):
    nodes = {
        "steps": "control.sequence",
        "group": "control.group",
        "one": "boom",
        "tidy": "sleep",
        "last": "sleep",
    }
    wires = (
        "start > steps, steps.then_1 > group, group.body > one, group.always > tidy,"
        "steps.then_2 > last, tidy > end, last > end"
    )
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    execute(orchestrator, {**drawn(nodes, wires), "on_error": on_error}, xs=[])
    found = outcomes(orchestrator)
    assert (found["group"], found["tidy"], found["last"]) == ("failed", "completed", "pending")


def test_each_iteration_counts_for_itself_what_leads_to_a_join():
    """Items side by side, of which each third fires two of three edges and the others one."""
    when = node(WHEN, values={"CASES": {"third": "item % 3 == 0"}})
    nodes = {
        "loop": node("control.for_each", parallel=8),
        "both": "control.parallel",
        "when": when,
        "one": node("sleep", values={"SECONDS": 0.01}),
        "two": "identity",
        "join": node("identity", join={"at_least": 2}),
        "first": node("identity", join="any"),
    }
    wires = LOOP + (
        "loop.body > both, both.branch_1 > one, loop.item - one.value, both.branch_2 > when,"
        "loop.item - when.item, when.third > two, loop.item - two.value, one > join, two > join,"
        "one > first, two > first, loop.item - join.value, loop.item - first.value,"
        "join.value - end.joined, first.value - end.first"
    )
    items = list(range(30))
    assert run(nodes, wires, xs=items) == {"joined": items[::3], "first": items}


def test_a_break_that_is_a_join_ends_the_loop_around_its_group():
    when = node(WHEN, values={"CASES": {"stop": "item == 2"}})
    nodes = {
        "loop": node("control.for_each", parallel=1),
        "group": "control.group",
        "when": when,
        "both": "control.parallel",
        "one": "identity",
        "two": "identity",
        "stop": node("control.break", join={"at_least": 2}),
        "after": "identity",
    }
    wires = LOOP + (
        "loop.body > group, group.body > when, loop.item - when.item, when.stop > both,"
        "both.branch_1 > one, both.branch_2 > two, loop.item - one.value, loop.item - two.value,"
        "one > stop, two > stop, group.done > after, loop.item - after.value,"
        "after.value - end.out, loop.count - end.count"
    )
    assert run(nodes, wires, xs=[1, 2, 3]) == {"out": [1], "count": 2}


def test_a_break_in_a_group_of_a_sequence_whose_always_leads_on_is_no_circle():
    nodes = {
        "loop": node("control.for_each", parallel=1),
        "steps": "control.sequence",
        "group": "control.group",
        "stop": "control.break",
        "tidy": "identity",
    }
    wires = LOOP + (
        "loop.body > steps, steps.then_1 > group, group.body > stop, steps.then_2 > tidy,"
        "group.always > tidy, loop.item - tidy.value, tidy.value - end.out"
    )
    assert run(nodes, wires, xs=[1, 2]) == {"out": [1]}


def test_what_hangs_on_always_does_not_take_a_break_back():
    nodes = {
        "loop": node("control.for_each", parallel=1),
        "group": "control.group",
        "stop": "control.break",
        "tidy": node("count_up", values={"NAME": "total"}),
        "pass": "control.continue",
    }
    wires = LOOP + (
        "loop.body > group, group.body > stop, group.always > tidy, tidy > pass,"
        "loop.count - end.count, tidy.value - end.tidy"
    )
    assert run(nodes, wires, xs=[1, 2, 3]) == {"count": 1, "tidy": [1]}


def test_the_log_of_a_body_says_how_much_of_it_is_left_out():
    nodes = {
        "outer": node("control.for_each", parallel=1),
        "loop": node("control.for_each", parallel=1),
        "one": "debug.log",
    }
    wires = (
        "start > outer, start.xs - outer.items, outer.done > end, outer.body > loop,"
        "outer.item - loop.items, loop.body > one, loop.item - one.value"
    )
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    execute(orchestrator, drawn(nodes, wires), xs=[["a", "b"], list(range(1003)), ["c"]])
    logs = [each["message"] for each in log_of(result_of(orchestrator, "outer")["details"])]
    assert logs[:3] == [
        "[item 0, loop] [item 0, one] a",
        "[item 0, loop] [item 1, one] b",
        "[item 1, loop] [item 0, one] 0",
    ]
    assert logs[999:] == [
        "[item 1, loop] [item 997, one] 997",
        "a step shows 1000 log records; it has left out 6 more",
    ]


BAD = node("fragile", values={"value": 1, "fail": True})
SAID = "node 'one': ValueError: told to fail"
TAKEN = "its 'error' output handles that"
NESTED = (
    "start > outer, outer.done > end, outer.body > loop, start.xs - loop.items, loop.body > one"
)


@pytest.mark.parametrize(
    ("nodes", "wires", "expected"),
    [
        (
            {"outer": "control.group", "loop": "control.group", "one": BAD, "two": "sleep"},
            "start > outer, outer.done > end, outer.body > loop, loop.body > one, loop.error > two,"
            "start.n - two.value",
            [f"{SAID}; {TAKEN}"],
        ),
        (
            {"outer": node("control.for_each", parallel=1), "one": BAD, "two": "collect"},
            "start > outer, start.xs - outer.items, outer.done > end, outer.body > one,"
            "one.error > two, one.error - two.a, outer.item - two.b",
            [f"item 0, {SAID}; {TAKEN}", f"item 1, {SAID}; {TAKEN}"],
        ),
        *(
            (
                {
                    "outer": "control.group",
                    "loop": node("control.for_each", parallel=1, on_item_error=on_item_error),
                    "one": BAD,
                },
                NESTED,
                [f"item 0, {SAID}; the loop goes on", f"item 1, {SAID}; the loop goes on"],
            )
            for on_item_error in ("skip", "collect")
        ),
    ],
    ids=["group", "error", "skip", "collect"],
)
def test_what_is_handled_in_a_body_is_told_at_the_outermost_region(nodes, wires, expected):
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    assert execute(orchestrator, drawn(nodes, wires), xs=["a", "b"])["error"] is None
    details = result_of(orchestrator, "outer")["details"]
    assert [f"{told(error)}; {how}" for error, how in details["handled"]] == expected
    assert details["handled"][0].error.previews == {"value": "1", "fail": "True"}
    assert details["totals"]["one"]["failed"] == len(expected)


def test_of_many_failures_that_are_handled_the_first_are_kept_and_all_are_counted():
    nodes = {
        "outer": "control.group",
        "loop": node("control.for_each", parallel=1, on_item_error="skip"),
        "one": "fragile",
    }
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    wires = f"{NESTED}, loop.item - one.fail, loop.item - one.value"
    execute(orchestrator, drawn(nodes, wires), xs=[False, *[True] * 120])
    details = result_of(orchestrator, "outer")["details"]
    places = [each.error.where for each in details["handled"]]
    assert places == [f"item {number}, node 'one'" for number in range(1, 101)]
    assert details["totals"]["one"]["failed"] == 120


def test_a_failed_loop_has_the_inputs_of_the_node_that_failed():
    nodes = {"outer": "control.group", "loop": "control.for_each", "one": BAD}
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    execute(orchestrator, drawn(nodes, NESTED), xs=["a"])
    failed = result_of(orchestrator, "outer")
    assert failed["status"] == "error"
    assert failed["details"]["input_previews"] == {"value": "1", "fail": "True"}


def test_variables_and_log_lines_of_a_body_are_those_of_the_run():
    nodes = {
        "loop": node("control.for_each", parallel=1),
        "one": node("count_up", values={"NAME": "total"}),
        "read": node("variables.get_variable", values={"VARIABLE": "total"}),
    }
    wires = LOOP + "loop.body > one, read.value - end.total"
    assert run(nodes, wires, xs=[1, 2, 3]) == {"total": 3}


def test_a_time_limit_ends_a_loop():
    nodes = {
        "loop": node("control.for_each", parallel=1, time_limit=0.001),
        "one": node("sleep", values={"SECONDS": 0.01}),
    }
    outcome = attempt(nodes, LOOP + FIRST + "one.value - end.out", xs=list(range(1000)))
    assert "stopped after 0.001 s" in outcome["error"]


def test_a_large_value_leaves_a_group_as_it_came():
    opened: list[str] = []

    class Opening(InProcessActors):
        def fetch(self, values: Mapping[str, Any]) -> "Future[dict[str, Any]]":
            opened.extend(name for name, value in values.items() if isinstance(value, Sent))
            return super().fetch(values)

    nodes = {"group": "control.group", "one": node("identity", values={"value": "x" * 5000})}
    wires = "start > group, group.body > one, group.done > two, one.value - two.value, two > end"
    flow = drawn({**nodes, "two": "identity"}, wires)
    found = execute(FlowOrchestrator(PROJECT, connect=lambda o: Opening(o, o.graph)), flow, xs=[])

    assert (found["error"], opened) == (None, [])


@pytest.mark.parametrize("again", ["false", 1, None])
def test_a_loop_goes_on_for_a_bool_alone(again: Any):
    nodes = {"loop": node("control.while", max_iterations=3),
             "one": node("identity", values={"value": again})}  # fmt: skip
    wires = "start > loop, loop.body > one, one.value - loop.again, loop.done > end"
    error = attempt(nodes, wires, xs=[])["error"]
    assert "iteration 0, node 'loop': TypeError: input 'again' of node 'loop' takes bool" in error


CARRYING = {"loop": node("control.for_each", carry={"t": {"type": "int", "default": 0}}),
            "one": "identity"}  # fmt: skip


def test_what_an_item_hands_on_is_of_the_declared_type():
    wires = LOOP + FIRST + "one.value - loop.next.t, loop.t - end.t"
    assert run(CARRYING, wires, xs=[1, 2]) == {"t": 2}
    error = attempt(CARRYING, wires, xs=[1, "text"])["error"]
    assert "item 1, node 'loop': TypeError: input 'next.t' of node 'loop' takes int" in error


def test_what_a_loop_carries_first_is_of_the_declared_type():
    nodes = {**CARRYING, "first": node("identity", values={"value": "text"})}
    wires = "start > first, first > loop, start.xs - loop.items, loop.done > end," + FIRST
    error = attempt(nodes, wires + "first.value - loop.t", xs=[1])["error"]
    assert "input 't' of node 'loop' takes int, but got 'text'" in error
