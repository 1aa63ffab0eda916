"""Fused bodies on real workers: all that comes of them comes as of nodes by themselves."""

from typing import Any

import pytest
from drawing import draw, node
from running import ODD, PROJECT, execute, result_of

from rayflow_dagster.errors import told
from rayflow_dagster.orchestrator import FlowOrchestrator

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
START = node("start", inputs={"xs": "list"})
EACH = "start > loop, start.xs - loop.items, loop.done > end, loop.body > one,"


def run(one: Any, wires: str, xs: list[Any], *, fused: bool, **loop: Any) -> dict[str, Any]:
    """Run a loop over ``xs`` whose body begins with ``one``."""
    nodes = {"start": START, "loop": node("control.for_each", **loop), "one": one, "end": "return"}
    settings = {} if fused else {"ray": {"num_cpus": 0.5}}
    return execute(FlowOrchestrator(PROJECT), draw(nodes, EACH + wires, settings=settings), xs=xs)


@pytest.mark.parametrize("fused", [True, False])
def test_values_of_any_size_and_class_go_in_and_come_out(fused: bool) -> None:
    xs = [1, "x" * 10_000, b"y" * 3_000_000, {1, 2}, 3 + 4j]
    wires = "loop.item - one.value, one.value - end.out, loop.count - end.count"
    outcome = run("identity", wires, xs, fused=fused)
    assert outcome["error"] is None
    assert outcome["result"] == {"out": xs, "count": 5}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("how", ["value", "cause", "unpicklable", "exit", "killed"])
def test_whatever_an_item_fails_with_is_collected(how: str, fused: bool) -> None:
    one = node(ODD + "FailNode", values={"HOW": how})
    outcome = run(one, "loop.errors - end.errors", [1], fused=fused, on_item_error="collect")
    assert outcome["error"] is None
    (error,) = outcome["result"]["errors"]
    kinds = {
        "value": "ValueError",
        "cause": "KeyError",
        "unpicklable": "UnpicklableError",
        "exit": "SystemExit",
        "killed": "NodeCrashedError",
    }
    assert (error["index"], error["type"]) == (0, kinds[how])


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("how", ["value", "unpicklable"])
def test_whatever_is_handled_in_a_body_is_told_at_the_region(how: str, fused: bool) -> None:
    nodes = {
        "start": START,
        "loop": "control.for_each",
        "one": node(ODD + "FailNode", values={"HOW": how}),
        "two": "identity",
        "end": "return",
    }
    wires = EACH + "one.error > two, loop.item - two.value"
    settings = {} if fused else {"ray": {"num_cpus": 0.5}}
    orchestrator = FlowOrchestrator(PROJECT)
    outcome = execute(orchestrator, draw(nodes, wires, settings=settings), xs=[1])
    assert outcome["error"] is None
    ((error, said),) = result_of(orchestrator, "loop")["details"]["handled"]
    kinds = {"value": "ValueError", "unpicklable": "UnpicklableError"}
    assert told(error).startswith(f"item 0, node 'one': {kinds[how]}")
    assert said == "its 'error' output handles that"
    assert error.__traceback__ is not None


@pytest.mark.parametrize("fused", [True, False])
def test_expressions_are_worked_out_in_the_runs_process(fused: bool) -> None:
    nodes = {
        "start": START,
        "large": node("identity", values={"value": {"$expr": "xs.map(x, 'y' + x)"}}),
        "loop": node("control.for_each", values={"items": {"$expr": "xs.filter(x, size(x) > 1)"}}),
        "one": node("add", values={"x": {"$expr": "[size(item), index]"}}),
        "two": node("add", values={"y": {"$expr": "[x[0]]"}}),
        "end": "return",
    }
    wires = (
        "start > large, large > loop, loop.body > one, large.value - one.y, one > two,"
        "one.result - two.x, loop.done > end, two.result - end.out"
    )
    settings = {} if fused else {"ray": {"num_cpus": 0.5}}
    xs = ["a", "b" * 30_000, "c" * 10]
    large = ["ya", "y" + xs[1], "y" + xs[2]]
    outcome = execute(FlowOrchestrator(PROJECT), draw(nodes, wires, settings=settings), xs=xs)
    assert outcome["error"] is None
    assert outcome["result"] == {
        "out": [[30_000, 0, *large, 30_000], [10, 1, *large, 10]],
    }


def test_short_items_are_run_by_one_process_several_at_a_time() -> None:
    one = node(ODD + "GiveNode", values={"WHAT": "pid"})
    outcome = run(one, "one.value - end.pids", list(range(50)), fused=True, parallel=1)
    assert len(set(outcome["result"]["pids"])) == 1
    assert len(outcome["result"]["pids"]) == 50


@pytest.mark.parametrize("settings", [{}, {"ray": {"num_cpus": 0.5}}], ids=["fused", "unfused"])
def test_each_line_that_a_body_prints_has_its_place(settings: dict[str, Any]) -> None:
    nodes = {
        "start": START,
        "outer": node("control.for_each", parallel=1),
        "loop": node("control.for_each", parallel=1),
        "one": "flow_nodes.printer.PrinterNode",
        "end": "return",
    }
    wires = (
        "start > outer, start.xs - outer.items, outer.done > end, outer.body > loop,"
        "outer.item - loop.items, loop.body > one, loop.item - one.value"
    )
    orchestrator = FlowOrchestrator(PROJECT)
    execute(orchestrator, draw(nodes, wires, settings=settings), xs=[["a", "b\nc"], ["d"]])
    details = result_of(orchestrator, "outer")["details"]
    assert details["stdout"] == (
        "[item 0, loop] [item 0, one] printed: a\n"
        "[item 0, loop] [item 1, one] printed: b\n"
        "[item 0, loop] [item 1, one] c\n"
        "[item 1, loop] [item 0, one] printed: d\n"
    )
    assert details["stderr"].startswith("[item 0, loop] [item 0, one] to stderr: a\n")
