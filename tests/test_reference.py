"""The reference interpreter says of small flows, a construct each, what a person reads in them; and
so does a direct run, of all constructs that it has."""

from typing import Any

import pytest
from drawing import CLASSES, draw, node
from reference import Ended, interpret
from running import PROJECT, execute, outcomes

from rayflow_dagster.compiler.spelling import short_names
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process

ANY = {"type": "any", "default": None}
known = {*short_names(), *CLASSES.values()}


def loop(**data: Any) -> dict[str, Any]:
    """One that runs its items one by one."""
    return node("control.for_each", parallel=1, **data)


def start(**values: Any) -> dict[str, Any]:
    return node("start", inputs={name: {"type": "any", "default": values[name]} for name in values})


def ports(*names: str) -> dict[str, Any]:
    return node("return", inputs=dict.fromkeys(names, ANY))


def choose(**cases: str) -> dict[str, Any]:
    return node("logic.choose", values={"CASES": cases})


def run(nodes: dict[str, Any], wires: str, **keys: Any) -> Ended:
    """What the reference says of a flow of those nodes that a wire names."""
    flow = draw(nodes, wires, **keys)
    named = {edge[end] for edge in flow["edges"] for end in ("source", "target")}
    flow["nodes"] = [each for each in flow["nodes"] if each["id"] in named]
    ended = interpret(flow, {})
    if all(each["type"] in known for each in flow["nodes"]):
        orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
        outcome = execute(orchestrator, flow)
        assert {**outcomes(orchestrator), **ended.statuses} == outcomes(orchestrator)
        assert (outcome["success"], outcome["result"]) == (ended.success, ended.result)
    return ended


COUNTER = {"counter": {"type": "int", "default": 0}}


# --- without regions ---


def test_a_join_waits_for_all_and_what_only_dead_edges_lead_to_is_skipped() -> None:
    ended = run(
        {
            "start": start(n=7),
            "both": node("control.parallel", values={"BRANCHES": 2}),
            "size": choose(big="n > 100", small="n < 10 && n != 3"),
            "big": node("constant", values={"VALUE": "big"}),
            "small": node("constant", values={"VALUE": "small"}),
            "log": node("identity", values={"value": 1}),
            "join": "collect",
            "return": "return",
        },
        "start > both, both.branch_1 > size, both.branch_2 > log, start.n - size.n,"
        "size.big > big, size.small > small, big > join, small > join, log > join,"
        "big.value - join.a, small.value - join.a, log.value - join.b,"
        "join > return, join.values - return.values",
    )
    assert ended.result == {"values": ["small", 1]}
    assert ended.statuses["big"] == "skipped"
    assert ended.order == ["start", "both", "size", "log", "small", "join", "return"]


@pytest.mark.parametrize(
    ("value", "fired"), [("404", "default"), (404, "404"), ("new", "new"), (True, "default")]
)
def test_a_switch_tells_texts_from_numbers(value: Any, fired: str) -> None:
    ended = run(
        {"start": start(v=value), "s": node("logic.switch", values={"CASES": ["new", 404, 1]}),
         "return": "return"},
        "start > s, start.v - s.value, s.new > return, s.404 > return, s.default > return",
    )  # fmt: skip
    assert ("s", fired) in ended.fired
    assert ended.result == {}


def test_choosing_all_fires_each_case_that_holds() -> None:
    values = {"CASES": {"a": "n > 1", "b": "n > 2", "c": "n > 3"}, "MATCH": "all"}
    ended = run(
        {"start": start(n=3), "all": node("logic.choose", values=values), "return": "return"},
        "start > all, start.n - all.n, all.b > return",
    )
    assert {("all", "a"), ("all", "b")} == {end for end in ended.fired if end[0] == "all"}
    assert ended.success


def test_a_data_driven_node_runs_without_exec_wires_and_is_skipped_when_nothing_comes() -> None:
    ended = run(
        {
            "start": start(n=1, go=False),
            "sum": "add",
            "if": "logic.branch",
            "yes": node("identity", values={"value": 1}),
            "more": node("add", values={"y": 1}),
            "return": ports("sum", "more"),
        },
        "start.n - sum.x, start.n - sum.y, start > if, start.go - if.condition, if.true > yes,"
        "yes.value - more.x, if.false > return, sum.result - return.sum, more.result - return.more",
    )
    assert ended.result == {"sum": 2, "more": None}
    assert ended.statuses["more"] == "skipped"


def test_a_node_is_tried_again_and_only_then_its_error_is_handled() -> None:
    def flaky(failures: int) -> Ended:
        values = {"value": 5, "FAILURES": failures, "COUNTER": "counter"}
        return run(
            {
                "start": "start",
                "flaky": node("flaky", values=values, retry={"max": 2}),
                "return": ports("value", "error"),
            },
            "start > flaky, flaky > return, flaky.error > return,"
            "flaky.value - return.value, flaky.error - return.error",
            variables=COUNTER,
        )

    mended, handled = flaky(2), flaky(3)

    assert (mended.attempts["flaky"], mended.result) == (3, {"value": 5, "error": None})
    told = {"type": "ConnectionError", "message": "attempt 3 fails", "node_id": "flaky"}
    assert handled.result == {"value": None, "error": told}
    assert handled.success


@pytest.mark.parametrize("on_error", ["stop", "continue"])
def test_what_depends_on_a_failed_node_stays_pending(on_error: str) -> None:
    ended = run(
        {
            "start": start(n=0),
            "sure": node("logic.assert", values={"CONDITION": "n > 0", "MESSAGE": "{n} is low"}),
            "after": node("identity", values={"value": 1}),
            "beside": node("identity", values={"value": 1}),
            "behind": node("identity", values={"value": 1}),
            "return": "return",
        },
        "start > sure, start.n - sure.n, sure > after, start > beside, beside > behind,"
        "after > return, behind > return",
        on_error=on_error,
    )
    assert ended.failure is not None
    assert ended.failure.told() == {
        "type": "FlowAssertionError", "message": "0 is low (n > 0 does not hold with n = 0)",
        "node_id": "sure",
    }  # fmt: skip
    behind = "completed" if on_error == "continue" else "pending"
    assert ended.statuses == {
        "start": "completed", "sure": "failed", "after": "pending", "beside": "completed",
        "behind": behind, "return": "pending",
    }  # fmt: skip


@pytest.mark.parametrize("ends", ["first_return", "all_settled"])
def test_the_first_return_ends_a_flow_or_is_at_least_its_result(ends: str) -> None:
    ended = run(
        {
            "start": "start",
            "return": node("return", inputs={"v": {"type": "int", "default": 1}}),
            "audit": node("constant"),
            "mail": node("constant"),
            "late": "return",
        },
        "start > return, start > audit, audit > mail, mail > late",
        settings={"ends": ends},
    )
    assert ended.result == {"v": 1}
    assert ended.statuses["audit"] == "completed"
    assert ended.statuses["mail"] == ("completed" if ends == "all_settled" else "skipped")
    assert ended.statuses["late"] == "skipped"


def test_control_fail_tells_what_its_author_wrote() -> None:
    ended = run(
        {
            "start": start(n=3),
            "size": choose(few="n < 5"),
            "stop": node("control.fail", values={"MESSAGE": "{n} are too few"}),
            "return": "return",
        },
        "start > size, start.n - size.n, size.few > stop, start.n - stop.n, size.default > return",
    )
    assert ended.failure is not None
    assert ended.failure.told()["message"] == "3 are too few"
    assert ended.statuses["return"] == "skipped"


# --- for_each ---


def test_values_leave_a_for_each_as_a_list_and_data_driven_nodes_are_in_its_body() -> None:
    ended = run(
        {
            "start": start(items=[10, 20, 30]),
            "each": loop(),
            "sum": "add",
            "pass": "identity",
            "return": "return",
        },
        "start > each, start.items - each.items, each.body > pass, each.item - sum.x,"
        "each.index - sum.y, sum.result - pass.value, each.done > return,"
        "pass.value - return.passed, sum.result - return.sums, each.count - return.count",
    )
    assert ended.result == {"passed": [10, 21, 32], "sums": [10, 21, 32], "count": 3}
    assert set(ended.statuses) == {"start", "each", "return"}
    assert [set(each.statuses) for each in ended.inside["each"]] == [{"sum", "pass"}] * 3


def test_a_for_each_over_nothing_is_done_at_once() -> None:
    ended = run(
        {"start": start(items=[]), "each": loop(carry={"n": {"type": "int", "default": 4}}),
         "pass": "identity", "return": "return"},
        "start > each, start.items - each.items, each.body > pass, each.item - pass.value,"
        "each.done > return, pass.value - return.v, each.count - return.count, each.n - return.n",
    )  # fmt: skip
    assert ended.result == {"v": [], "count": 0, "n": 4}


@pytest.mark.parametrize(
    ("settings", "passed", "errors"),
    [
        ({"on_item_error": "skip"}, [1, 3], []),
        ({"on_item_error": "skip", "aligned": True}, [1, None, 3], []),
        ({"on_item_error": "collect"}, [1, 3], [1]),
    ],
)
def test_a_loop_may_go_on_when_an_item_fails(
    settings: dict[str, Any], passed: list[Any], errors: list[int]
) -> None:
    ended = run(
        {
            "start": start(items=[1, 2, 3]),
            "each": loop(**settings),
            "sure": node("logic.assert", values={"CONDITION": "n != 2"}),
            "pass": "identity",
            "return": "return",
        },
        "start > each, start.items - each.items, each.body > sure, each.item - sure.n,"
        "sure > pass, each.item - pass.value, each.done > return, pass.value - return.passed,"
        "each.errors - return.errors, each.count - return.count",
    )
    assert (ended.result["passed"], ended.result["count"]) == (passed, 3)
    assert [error["index"] for error in ended.result["errors"]] == errors
    assert all(error["node_id"] == "sure" for error in ended.result["errors"])
    assert ended.inside["each"][1].statuses == {"sure": "failed", "pass": "pending"}


@pytest.mark.parametrize("is_handled", [True, False])
def test_a_failed_item_fails_its_loop_which_may_be_handled(is_handled: bool) -> None:
    ended = run(
        {
            "start": start(items=[1, 2, 3]),
            "each": loop(),
            "sure": node("logic.assert", values={"CONDITION": "n != 2"}),
            "return": "return",
            "handled": ports("error", "count"),
        },
        "start > each, start.items - each.items, each.body > sure, each.item - sure.n,"
        "each.done > return"
        + (
            ", each.error > handled, each.error - handled.error, each.count - handled.count"
            if is_handled
            else ""
        ),
    )
    assert len(ended.inside["each"]) == 2
    if is_handled:
        assert ended.result["count"] is None
        assert ended.result["error"]["node_id"] == "sure"
        assert ended.statuses["return"] == "skipped"
    else:
        assert (ended.statuses["each"], ended.statuses["return"]) == ("failed", "pending")


def test_a_fold_carries_a_value_from_item_to_item_past_what_fails_or_is_left() -> None:
    """Sum the numbers but 2, which fails, and 3, which is left out."""
    ended = run(
        {
            "start": start(items=[1, 2, 3, 4]),
            "each": loop(on_item_error="skip", carry={"sum": {"type": "int", "default": 100}}),
            "which": node("logic.switch", values={"CASES": [2, 3]}),
            "fail": node("control.fail", values={"MESSAGE": "no"}),
            "leave": "control.continue",
            "add": "add",
            "return": "return",
        },
        "start > each, start.items - each.items, each.body > which, each.item - which.value,"
        "which.2 > fail, which.3 > leave, which.default > add, each.item - add.x, each.sum - add.y,"
        "add.result - each.next.sum, each.done > return, each.sum - return.sum,"
        "add.result - return.sums",
    )
    assert ended.result == {"sum": 105, "sums": [101, 105]}
    assert ended.inside["each"][2].statuses["add"] == "skipped"


def test_a_batch_is_an_item_that_is_a_list() -> None:
    ended = run(
        {"start": start(items=[1, 2, 3, 4, 5]), "each": loop(batch=2), "c": "collect",
         "return": "return"},
        "start > each, start.items - each.items, each.body > c, each.item - c.a, each.index - c.b,"
        "each.done > return, c.values - return.v, each.count - return.count",
    )  # fmt: skip
    assert ended.result == {"v": [[[1, 2], 0], [[3, 4], 1], [[5], 2]], "count": 3}


def test_values_from_two_loops_deep_are_lists_of_lists() -> None:
    ended = run(
        {
            "start": start(rows=[[1, 2], [], [3]]),
            "rows": loop(),
            "cells": loop(),
            "sum": "add",
            "pass": node("identity"),
            "return": "return",
        },
        "start > rows, start.rows - rows.items, rows.body > cells, rows.item - cells.items,"
        "cells.body > sum, cells.item - sum.x, rows.index - sum.y, cells.done > pass,"
        "sum.result - pass.value, rows.done > return,"
        "sum.result - return.sums, pass.value - return.passed, cells.count - return.counts",
    )
    sums = [[1, 2], [], [5]]
    assert ended.result == {"sums": sums, "passed": sums, "counts": [2, 0, 1]}
    assert [len(row.inside["cells"]) for row in ended.inside["rows"]] == [2, 0, 1]


def test_break_ends_the_nearest_loop_alone() -> None:
    ended = run(
        {
            "start": start(rows=[[1, 2, 3], [5, 4]]),
            "rows": loop(),
            "cells": loop(),
            "is": choose(two="n == 2"),
            "stop": "control.break",
            "pass": "identity",
            "return": "return",
        },
        "start > rows, start.rows - rows.items, rows.body > cells, rows.item - cells.items,"
        "cells.body > is, cells.item - is.n, is.two > stop, is.default > pass,"
        "cells.item - pass.value, rows.done > return, pass.value - return.v,"
        "cells.count - return.counts",
    )
    assert ended.result == {"v": [[1], [5, 4]], "counts": [2, 2]}


def test_a_value_from_outside_is_there_before_the_loop_starts() -> None:
    ended = run(
        {
            "start": start(items=[1, 2]),
            "slow": node("identity", values={"value": 10}),
            "each": loop(),
            "sum": "add",
            "return": "return",
        },
        "start > each, start > slow, start.items - each.items, each.body > sum, each.item - sum.x,"
        "slow.value - sum.y, each.done > return, sum.result - return.v",
    )
    assert ended.order == ["start", "slow", "each", "return"]
    assert ended.result == {"v": [11, 12]}


def test_another_attempt_of_a_loop_begins_where_it_failed() -> None:
    ended = run(
        {
            "start": start(items=[1, 2, 3]),
            "each": loop(retry={"max": 1}, carry={"n": {"type": "int", "default": 0}}),
            "count": "count_up",
            "flaky": node("flaky", values={"COUNTER": "failures", "FAILURES": 1}),
            "add": node("add", values={"y": 1}),
            "return": "return",
        },
        "start > each, start.items - each.items, each.body > count, count > flaky,"
        "each.item - flaky.value, flaky > add, each.n - add.x, add.result - each.next.n,"
        "each.done > return, flaky.value - return.v, count.value - return.counts,"
        "each.n - return.n",
        variables={**COUNTER, "failures": {"type": "int", "default": 0}},
    )
    assert ended.result == {"v": [1, 2, 3], "counts": [2, 3, 4], "n": 3}
    assert ended.attempts["each"] == 2


# --- while ---

PAGES = {
    "start": start(last=3),
    "while": node("control.while", max_iterations=5, carry={"page": {"type": "int", "default": 1}}),
    "next": node("add", values={"y": 1}),
    "more": node("logic.compare", values={"OPERATOR": "<="}),
    "return": ports("page", "count"),
    "too_many": ports("page", "count"),
}
PAGING = (
    "start > while, while.body > next, while.page - next.x, next.result - while.next.page,"
    "next > more, next.result - more.a, start.last - more.b, more.result - while.again,"
    "while.done > return, while.page - return.page, while.count - return.count"
)


def test_a_while_goes_on_as_its_body_says() -> None:
    ended = run(PAGES, PAGING)
    assert ended.result == {"page": 4, "count": 3}


def test_a_while_that_is_not_over_in_time_is_exhausted() -> None:
    many = {**PAGES, "start": start(last=99)}
    wires = ", while.exhausted > too_many, while.page - too_many.page, while.count - too_many.count"

    handled, failed = run(many, PAGING + wires), run(many, PAGING)

    assert handled.result == {"page": 6, "count": 5}
    assert handled.statuses["return"] == "skipped"
    assert failed.failure is not None
    assert failed.failure.told()["message"] == "stopped after 5 iterations"
    assert failed.statuses["while"] == "failed"


@pytest.mark.parametrize(("leave", "count"), [("control.break", 2), ("control.continue", 5)])
def test_a_while_is_left_with_break_and_goes_on_after_continue(leave: str, count: int) -> None:
    """At page 2 the loop is left before the body has said whether to go on."""
    nodes = {**PAGES, "is": choose(two="page >= 2"), "leave": leave}
    wires = PAGING.replace("next > more", "next > is, while.page - is.page, is.default > more")
    ended = run(nodes, f"{wires}, is.two > leave, while.exhausted > too_many,"
                "while.count - too_many.count")  # fmt: skip
    assert ended.result["count"] == count
    assert ended.inside["while"][1].statuses["more"] == "skipped"


# --- group ---


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("is_handled", [False, True])
def test_always_fires_whatever_came_of_a_group(fails: bool, is_handled: bool) -> None:
    ended = run(
        {
            "start": start(fails=fails),
            "try": "control.group",
            "make": node("constant", values={"VALUE": "a file"}),
            "risky": node("fragile", values={"value": 1}),
            "clean": node("collect"),
            "log": node("identity", values={"value": 1}),
            "caught": "identity",
            "after": "identity",
            "return": ports("v", "error", "log"),
        },
        "start > try, try.body > make, make > risky, start.fails - risky.fail, try.always > clean,"
        "make.value - clean.a, try.error - clean.b, clean > log, try.done > after,"
        "risky.value - after.value, after > return, after.value - return.v,"
        "try.error - return.error, log.value - return.log"  # which waits for it
        + (", try.error > caught, try.error - caught.value, caught > return" if is_handled else ""),
    )
    told = [{"type": "ValueError", "message": "told to fail", "node_id": "risky"}] if fails else []
    assert ended.values["clean", "values"] == ["a file", *told]
    assert (ended.statuses["clean"], ended.statuses["log"]) == ("completed", "completed")
    if not fails:
        assert ended.result == {"v": 1, "error": None, "log": 1}
    elif is_handled:
        assert ended.result == {"v": None, "error": told[0], "log": 1}
        assert (ended.statuses["try"], ended.statuses["after"]) == ("completed", "skipped")
    else:
        assert (ended.statuses["try"], ended.statuses["after"]) == ("failed", "pending")
        assert ended.failure is not None
        assert ended.failure.node_id == "risky"


def test_what_hangs_on_always_waits_in_vain_for_a_node_that_failed_outside_of_the_group() -> None:
    ended = run(
        {
            "start": "start",
            "both": node("control.parallel", values={"BRANCHES": 2}),
            "boom": "boom",
            "try": "control.group",
            "in": "boom",
            "clean": "collect",
            "other": "collect",
            "return": "return",
        },
        "start > both, both.branch_1 > boom, both.branch_2 > try, try.body > in,"
        "try.always > clean, try.always > other, boom.value - clean.a, try.done > return,"
        "boom > return, in.value - other.a",
    )
    assert ended.statuses["clean"] == "pending"
    assert ended.values["other", "values"] == []


def test_a_group_in_a_loop_catches_what_fails_and_lets_break_through() -> None:
    """2 fails and is caught; at 3 the group is left, what is behind `always` runs, nothing else."""
    ended = run(
        {
            "start": start(items=[1, 2, 3, 4]),
            "each": loop(carry={"n": {"type": "int", "default": 0}}),
            "try": "control.group",
            "which": node("logic.switch", values={"CASES": [2, 3]}),
            "fail": node("control.fail", values={"MESSAGE": "two"}),
            "stop": "control.break",
            "pass": "identity",
            "caught": "identity",
            "clean": node("add", values={"y": 1}),
            "done": node("identity", values={"value": 1}),
            "return": "return",
        },
        "start > each, start.items - each.items, each.body > try, try.body > which,"
        "each.item - which.value, which.2 > fail, which.3 > stop, which.default > pass,"
        "each.item - pass.value, try.error > caught, try.error - caught.value, try.done > done,"
        "try.always > clean, each.n - clean.x, clean.result - each.next.n, each.done > return,"
        "pass.value - return.passed, caught.value - return.caught, each.n - return.n,"
        "done.value - return.done, each.count - return.count",
    )
    told = {"type": "FlowRaisedError", "message": "two", "node_id": "fail"}
    assert ended.result == {"passed": [1], "caught": [told], "n": 3, "done": [1], "count": 3}
    assert ended.inside["each"][2].statuses == {
        "try": "completed", "caught": "skipped", "clean": "completed", "done": "skipped",
    }  # fmt: skip


def test_a_group_is_where_a_retry_holds_for_several_nodes() -> None:
    ended = run(
        {
            "start": "start",
            "try": node("control.group", retry={"max": 2}),
            "count": "count_up",
            "flaky": node("flaky", values={"COUNTER": "failures", "FAILURES": 2, "value": 1}),
            "return": "return",
        },
        "start > try, try.body > count, count > flaky, try.done > return,"
        "count.value - return.count, flaky.attempts - return.attempts",
        variables={**COUNTER, "failures": {"type": "int", "default": 0}},
    )
    assert ended.result == {"count": 3, "attempts": 3}


def test_a_group_that_is_not_entered_brings_nothing() -> None:
    ended = run(
        {"start": start(go=False), "if": "logic.branch", "try": "control.group",
         "in": "constant", "after": "constant", "return": ports("in", "after")},
        "start > if, start.go - if.condition, if.true > try, try.body > in, try.always > after,"
        "if.false > return, in.value - return.in, after.value - return.after",
    )  # fmt: skip
    assert ended.result == {"in": None, "after": None}
    assert (ended.statuses["try"], ended.statuses["after"]) == ("skipped", "skipped")
    assert ended.inside == {}
