"""Every way to draw a region wrongly that a rule knows, and drawings beside them that are right."""

from copy import deepcopy
from random import Random
from typing import Any

import pytest
from drawing import draw, node
from hypothesis import given, settings
from hypothesis import strategies as st
from running import PROJECT, execute

from rayflow_dagster.compiler.findings import Finding
from rayflow_dagster.compiler.graph import GraphBuilder
from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.errors import GraphBuildError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process

Flow = dict[str, Any]
START = node(
    "start",
    inputs={
        "xs": "list[int]",
        "n": {"type": "int", "default": 0},
        "flag": {"type": "bool", "default": False},
    },
)
ONE = {"type": "int", "default": 1}
COUNTED = {"x": ONE}
NO = node("constant", values={"VALUE": False})
FIVE = node("constant", values={"VALUE": 5})
WHEN = node("logic.choose", values={"CASES": {"big": "n > 1"}})
AT_A = "s > a, s.n - a.value, a > r"
LOOP = "s > loop, s.xs - loop.items, loop.done > r,"
BODY = "loop.body > a, loop.item - a.value,"
WHILE = "s > w, w.done > r, w.body > a,"


def flow(nodes: dict[str, Any], wires: str, **keys: Any) -> Flow:
    variables = {"total": {"type": "int", "default": 0}}
    return draw({"s": START, "r": "return", **nodes}, wires, variables=variables, **keys)


def looped(wires: str = "", nodes: dict[str, Any] | None = None, **data: Any) -> Flow:
    """A loop whose body begins with the node a."""
    loop = {"loop": node("control.for_each", **data), "a": "identity"}
    return flow({**loop, **(nodes or {})}, LOOP + BODY + wires)


def repeated(wires: str, nodes: dict[str, Any] | None = None, **data: Any) -> Flow:
    """A while whose body begins with the node a."""
    loop = {"w": node("control.while", **{"max_iterations": 3, **data}), "a": NO}
    return flow({**loop, **(nodes or {})}, WHILE + wires)


@pytest.fixture
def check(loader):
    """The findings about a flow."""

    def findings_of(drawn: Flow) -> list[Finding]:
        return list(FlowValidator(loader).check(drawn))

    return findings_of


@pytest.fixture
def only(check):
    """The one finding about a flow, which must be of the given rule."""

    def finding_of(rule: str, drawn: Flow) -> Finding:
        found = check(drawn)
        assert [finding.rule for finding in found] == [rule], found
        return found[0]

    return finding_of


@pytest.fixture
def result(check):
    """What RETURN got of a flow without findings."""

    def result_of(drawn: Flow, **inputs: Any) -> dict[str, Any]:
        assert [finding.message for finding in check(drawn) if finding.severity == "error"] == []
        outcome = run(drawn, **inputs)
        assert outcome["error"] is None
        found: dict[str, Any] = outcome["result"]
        return found

    return result_of


def run(drawn: Flow, **inputs: Any) -> dict[str, Any]:
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    return execute(orchestrator, drawn, **{"xs": [1, 2, 3], **inputs})


def said(finding: Finding, *texts: str) -> None:
    for text in texts:
        assert text in finding.message


# Where exec edges lead


def test_an_exec_edge_back_into_its_own_loop_is_a_circle(only):
    finding = only("no_cycles", looped("a > loop"))
    said(finding, "loop -> a -> loop", "delete edge 'e6', which leads back into 'loop'")


def test_the_edge_that_closes_a_circle_through_nested_loops_is_named(check):
    inner = {"i": "control.for_each", "b": "sleep"}
    wires = "a > i, s.xs - i.items, i.body > b, b > loop"
    drawn = looped(wires, inner)
    drawn["nodes"].insert(0, drawn["nodes"].pop(4))  # the inner loop is drawn first
    found = check(drawn)
    assert [f.rule for f in found] == ["no_cycles"], found
    (finding,) = found
    said(finding, "delete edge 'e9', which leads back into 'loop'")


def test_a_circle_beside_a_loop_is_not_called_one_of_its_body(only):
    drawn = looped("", {"b": "sleep", "c": "sleep"})
    drawn = flow(
        {"loop": "control.for_each", "a": "identity", "b": "sleep", "c": "sleep"},
        LOOP + BODY + "loop.done > b, b > c, c > b",
    )
    said(only("no_cycles", drawn), "b -> c -> b", "delete one of these edges")


@pytest.mark.parametrize(
    ("wires", "texts"),
    [
        ("a > b, s > b", ("'e6'", "the body of 'loop' (node 'a')", "'e7'", "outside of any body")),
        ("a > b, loop.done > b", ("'e6'", "'e7' from outside of any body (node 'loop')")),
        ("a > b, loop.error > b", ("'e6'", "'e7' from outside of any body (node 'loop')")),
        ("a > b, s > b, b > c, c > d, loop.item - d.value", ("node 'b'",)),
    ],
)
def test_a_node_that_is_entered_from_inside_and_outside_is_refused(only, wires, texts):
    drawn = looped(wires, {"b": "sleep", "c": "sleep", "d": "sleep"})
    drawn["nodes"] = [each for each in drawn["nodes"] if f"> {each['id']}" in LOOP + BODY + wires
                      or each["id"] == "s"]  # fmt: skip
    finding = only("entered_from_two_sides", drawn)
    assert (finding.node, finding.edge) == ("b", "e7")
    said(finding, "in one body or in none", "delete one", "behind its 'done'", *texts)


def test_an_exec_edge_from_one_body_into_another_is_refused_once(only):
    more = {"m": "control.for_each", "b": "identity"}
    wires = "s > m, s.xs - m.items, m.body > b, m.item - b.value, m.done > r, a > b"
    finding = only("entered_from_two_sides", looped(wires, more))
    said(finding, "node 'b'", "the body of 'm' (node 'm')", "the body of 'loop' (node 'a')")


def test_a_return_in_a_body_is_refused(only):
    finding = only("return_in_body", looped("a > r2", {"r2": "return"}))
    assert finding.node == "r2"
    said(finding, "in the body of 'loop'", "'control.break'", "behind 'done'")


def test_a_list_that_left_a_body_is_told_where_one_item_would_fit(only):
    nodes = {"b": "convert.to_int", "r": node("return", inputs={"n": "int"})}
    drawn = looped("a > b, loop.item - b.value, b.value - r.n", nodes)
    finding = only("type_compatibility", drawn)
    said(finding, "it is a list because it leaves the body of 'loop'", "data.carry")


def test_a_return_in_a_group_is_not_told_of_a_loop(only):
    nodes = {"g": "control.group", "a": NO, "r2": "return"}
    finding = only("return_in_body", flow(nodes, "s > g, g.body > a, g.done > r, a > r2"))
    assert finding.message.endswith("is in the body of 'g'; wire RETURN behind 'done'")


@pytest.mark.parametrize("kind", ["control.break", "control.continue"])
def test_what_ends_an_iteration_stands_in_a_loop(only, kind):
    outside = flow({"b": kind}, "s > r, s > b", settings={"ends": "all_settled"})
    said(only("outside_of_loop", outside), "node 'b'", "in the body of none", "or delete it")
    only("outside_of_loop", looped("loop.done > b", {"b": kind}))
    grouped = flow({"g": "control.group", "b": kind}, "s > g, g.body > b, g.done > r")
    only("outside_of_loop", grouped)


def test_a_region_without_a_body_is_refused(only):
    finding = only("region_without_body", flow({"loop": "control.for_each"}, LOOP))
    assert (finding.node, finding.port) == ("loop", "body")
    said(finding, "nothing is wired to its exec output 'body'", "wire the nodes")


def test_a_region_that_no_exec_edge_leads_to_runs_when_its_values_are_there(result):
    nodes = {"loop": "control.for_each", "a": "identity", "b": "identity"}
    wires = "s.xs - loop.items, loop.done > b, b > r, s.n - b.value, a.value - r.x,"
    assert result(flow(nodes, wires + BODY)) == {"x": [1, 2, 3]}


def test_a_region_that_nothing_leads_to_is_refused_with_its_body(check):
    drawn = flow({"w": node("control.while", max_iterations=2), "a": NO},
                 "s > r, w.body > a, a.value - w.again")  # fmt: skip
    found = check(drawn)
    assert [(f.rule, f.node) for f in found] == [
        ("all_nodes_reachable", "w"), ("all_nodes_reachable", "a"),
    ]  # fmt: skip


def test_the_error_of_a_group_that_nothing_fails_in_to_see_is_not_there(only):
    drawn = flow(
        {"g": "control.group", "a": FIVE, "j": "identity"},
        "s > g, g.body > a, g.done > j, g.error - j.value, j > r, j.value - r.x",
    )
    finding = only("skipped_source", drawn)
    assert (finding.node, finding.port) == ("j", "value")


def test_regions_stand_in_each_other_as_deep_as_people_draw(result, only):
    def nested(count: int) -> Flow:
        nodes: dict[str, Any] = {f"n{at}": node("control.for_each", values={"items": [1]})
                                 for at in range(count)}  # fmt: skip
        wires = [f"n{at}.body > n{at + 1}" for at in range(count)]
        wires += ["s > n0", "n0.done > r", f"n{count}.value - r.x"]
        return flow({**nodes, f"n{count}": FIVE}, ",".join(wires))

    found = result(nested(20))["x"]
    for _ in range(20):
        (found,) = found
    assert found == 5
    finding = only("nested_too_deep", nested(21))
    assert finding.node == "n20"
    said(finding, "more than 20 regions", "draw fewer")
    with pytest.raises(GraphBuildError, match="'n20' stands too deep"):
        GraphBuilder({}).build_graph(nested(21))  # type: ignore[arg-type]


def test_a_flow_without_one_start_is_not_told_about_its_bodies(only, loader):
    drawn = looped("s2 > loop", {"s2": "start"})
    only("single_start", drawn)
    drawn["nodes"] = [each for each in drawn["nodes"] if each["type"] != "start"]
    rules = {finding.rule for finding in FlowValidator(loader).check(drawn)}
    assert rules == {"single_start", "unknown_node", "required_input"}
    with pytest.raises(GraphBuildError):
        GraphBuilder({}).build_graph(drawn)  # type: ignore[arg-type]


def test_wires_to_nodes_that_are_not_there_are_told_as_without_regions(check):
    found = check(looped("a > gone, gone > a, gone.value - a.value, a.value - gone.x"))
    assert [finding.rule for finding in found] == ["unknown_node"] * 4


# What is switched off


def test_a_disabled_region_is_skipped_with_its_body(check, result):
    nodes = {"loop": node("control.for_each", disabled=True), "a": "identity"}
    drawn = flow(nodes, LOOP + BODY + "s > r")
    found = check(drawn)
    assert [(f.rule, f.severity, f.node) for f in found] == [
        ("disabled", "warning", "loop"), ("disabled", "warning", "a"),
    ]  # fmt: skip
    assert result(drawn) == {}


def test_a_region_behind_a_disabled_node_is_skipped(result):
    nodes = {"loop": "control.for_each", "a": "identity", "d": node("sleep", disabled=True)}
    wires = "s > d, d > loop, s.xs - loop.items, s > c, a.value - c.a, c > r, c.values - r.c,"
    assert result(flow({**nodes, "c": "collect"}, wires + BODY))["c"] == []


def test_a_disabled_node_of_a_body_is_skipped_for_each_item(result):
    nodes = {"d": node("sleep", disabled=True), "e": "sleep"}
    drawn = looped("a > d, d > e, a.value - r.a, e.value - r.e", nodes)
    assert result(drawn) == {"a": [1, 2, 3], "e": []}


# Values in and out


@pytest.mark.parametrize("port", ["item", "index"])
def test_what_only_the_body_sees_is_not_read_outside(only, port):
    finding = only("inner_output", looped(f"loop.{port} - r.x"))
    assert (finding.node, finding.edge) == ("r", "e6")
    said(finding, f"'loop' output '{port}'", "node 'r' is not in it", "comes as a list")


def test_the_index_of_a_while_is_not_read_outside(only):
    finding = only("inner_output", repeated("a.value - w.again, w.index - r.x"))
    said(finding, "read a carried value (data.carry), or 'count'")


@pytest.mark.parametrize("port", ["count", "errors"])
def test_what_is_there_when_a_region_has_ended_is_not_read_in_its_body(only, port):
    finding = only("outer_output", looped(f"a > b, loop.{port} - b.value", {"b": "sleep"}))
    assert (finding.node, finding.edge) == ("b", "e7")
    said(finding, f"output '{port}'", "node 'b' is in its body", "behind the region")


def test_the_error_of_a_region_is_not_read_in_its_body(only):
    wires = "a > b, loop.error - b.value, loop.error > h, h > r"
    assert only("outer_output", looped(wires, {"b": "sleep", "h": "sleep"})).node == "b"


@pytest.mark.parametrize(
    ("wires", "edge"),
    [
        ("s.n - loop.next.x", "e6"),
        ("s.n - b.value, b.value - loop.next.x", "e7"),
        ("loop.count - loop.next.x", "e6"),
        ("loop.done > b, b > r, s.n - b.value, b.value - loop.next.x", "e9"),
    ],
)
def test_an_inner_input_takes_nothing_from_outside(check, wires, edge):
    drawn = looped(wires, {"b": "identity"} if "b." in wires else {}, carry=COUNTED)
    errors = [finding for finding in check(drawn) if finding.severity == "error"]
    assert [(f.rule, f.node, f.port, f.edge) for f in errors] == [
        ("inner_input", "loop", "next.x", edge)
    ]
    said(errors[0], "takes what its own body hands it", "wire it from a node of the body")


def test_again_is_wired_from_the_body(only):
    finding = only("inner_input", repeated("s.flag - w.again"))
    assert (finding.port, finding.edge) == ("again", "e4")


def test_again_is_a_bool(only):
    length = node("data.list_length", values={"items": [1]})
    drawn = repeated("a.length - w.again", {"a": length})
    finding = only("type_compatibility", drawn)
    said(finding, "gives int", "node 'w' input 'again' takes bool", "convert.to_bool")


def test_a_while_that_is_not_told_to_go_on_is_refused(only):
    finding = only("loop_without_end", repeated(""))
    assert (finding.node, finding.port) == ("w", "again")
    said(finding, "would run once", "wire a bool", "'control.break'")


def test_a_while_may_end_by_break_alone(check):
    assert check(repeated("a > b", {"b": "control.break"})) == []


@pytest.mark.parametrize("value", ["a.value", "d.value"])
def test_only_carried_values_leave_a_while(only, value):
    wires = f"a.value - w.again, a.value - d.value, {value} - r.x"
    finding = only("left_while", repeated(wires, {"d": "identity"}))
    said(finding, "to node 'r'", "the body of 'w'", "data.carry", "'next.' input")


def test_a_value_of_an_inner_loop_that_leaves_a_while_is_one_finding(only):
    nodes = {"i": "control.for_each", "b": "identity"}
    wires = "a > i, s.xs - i.items, i.body > b, i.item - b.value, a.value - w.again, b.value - r.x"
    assert only("left_while", repeated(wires, nodes)).node == "b"


def test_a_value_wired_back_into_the_carried_input_is_told_where_it_belongs(only):
    finding = only("no_cycles", looped("a.value - loop.x", carry=COUNTED))
    said(finding, "wire edge 'e6' into 'next.x' of 'loop' instead")


def test_a_value_wired_back_into_another_input_is_told_of_carry(only):
    drawn = flow({"loop": "control.for_each", "a": "identity"},
                 "s > loop, loop.done > r, a.value - loop.items," + BODY)  # fmt: skip
    said(only("no_cycles", drawn), "delete edge 'e3'", "declared under data.carry")


def test_an_inner_input_that_is_not_there_is_told_with_the_likely_one(only):
    finding = only("unknown_port", looped("a.value - loop.next.y", carry=COUNTED))
    said(finding, "'next.y'", "next.x", "did you mean 'next.x'?")


def test_two_wires_into_an_inner_input_come_from_branches_that_exclude_each_other(only, result):
    nodes = {"a": WHEN, "b": NO, "c": NO}
    wires = "s.n - a.n, a.big > b, a.default > c, b.value - w.again, c.value - w.again"
    assert result(repeated(wires, nodes)) == {}
    wires = "a > b, a > c, b.value - w.again, c.value - w.again"
    finding = only("two_data_edges", repeated(wires, {"b": NO, "c": NO}))
    assert (finding.node, finding.port, finding.edge) == ("w", "again", "e7")
    said(finding, "edges 'e6' (from 'b') and 'e7' (from 'c')", "one run can fire both")


def test_the_same_wire_into_an_inner_input_twice_is_one_finding(only):
    only("repeated_edge", repeated("a.value - w.again, a.value - w.again"))


def test_a_value_that_waits_for_a_loop_is_not_read_in_it(check):
    nodes = {"loop": "control.for_each", "a": "collect", "b": "identity"}
    wires = "s > loop, s.xs - loop.items, loop.body > a, loop.done > b, b > r, s.n - b.value,"
    (finding,) = check(flow(nodes, wires + "b.value - a.a"))
    assert (finding.rule, finding.node, finding.port, finding.edge) == (
        "circle_through_region", "a", "a", "e7",
    )  # fmt: skip
    said(finding, "in the body of 'loop'", "edge 'e7' brings it 'b.value'", "data.carry")


def test_two_loops_that_read_from_each_other_are_refused(check):
    nodes = {"m": "control.for_each", "b": "collect", "b2": "identity", "a2": "collect"}
    wires = (
        "s > m, s.xs - m.items, m.body > b, m.body > b2, m.item - b2.value, loop.body > a2,"
        "a.value - b.a, b2.value - a2.a, m.done > r"
    )
    (finding,) = check(looped(wires, nodes))
    assert (finding.rule, finding.node) == ("circle_through_region", "a2")


def test_a_node_without_exec_edges_is_not_in_two_bodies(only, result):
    nodes = {"m": "control.for_each", "b": "identity", "d": "collect"}
    loops = (
        "s > loop, s.xs - loop.items, loop.done > m, s.xs - m.items, m.body > b, m.item - b.value,"
        "a.value - d.a, b.value - d.b, d.values - r.d," + BODY
    )
    nodes = {"loop": "control.for_each", "a": "identity", **nodes}
    finding = only("between_bodies", flow(nodes, loops + "m.done > r"))
    assert finding.node == "d"
    said(finding, "the body of 'loop' (edge 'e7')", "the body of 'm' (edge 'e8')",
         "wire an exec edge")  # fmt: skip
    listed = [[1, 2, 3], [1, 2, 3]]
    assert result(flow(nodes, loops + "m.done > d, d > r")) == {"d": listed}


def test_a_node_without_exec_edges_is_in_the_innermost_body_of_its_sources(result):
    nodes = {"i": "control.for_each", "b": "identity", "d": "add"}
    wires = (
        "a > i, s.xs - i.items, i.body > b, i.item - d.x, loop.item - d.y, d.result - b.value,"
        "b.value - r.x"
    )
    assert result(looped(wires, nodes), xs=[1, 2]) == {"x": [[2, 3], [3, 4]]}


def test_a_constant_without_exec_edges_is_where_it_is_needed(result):
    nodes = {"a": "add", "b": "add", "k": FIVE}
    wires = "loop.body > a, loop.item - a.x, k.value - a.y, a.result - r.x,"
    loop = {"loop": "control.for_each", **nodes}
    behind = "loop.done > b, b > r, k.value - b.x, s.n - b.y, b.result - r.y"
    drawn = flow(loop, "s > loop, s.xs - loop.items," + wires + behind)
    assert result(drawn) == {"x": [6, 7, 8], "y": 5}


def test_an_absent_value_of_a_group_needs_a_stand_in(only, result):
    nodes = {"g": "control.group", "c": WHEN, "a": "identity", "b": "identity"}
    wires = "s > g, g.body > c, s.n - c.n, c.big > a, s.n - a.value, g.done > r, a.value - r.v"
    del nodes["b"]
    finding = only("skipped_source", flow(nodes, wires))
    said(finding, "node 'r' input 'v'", "its source 'a' may be skipped")
    both = wires + ", c.default > b, s.n - b.value, b.value - r.v"
    assert result(flow({**nodes, "b": "identity"}, both), n=1) == {"v": 1}


def test_what_hangs_on_always_cannot_count_on_what_hangs_on_done(check):
    when = node("logic.choose", values={"CASES": {"stop": "item == 2"}})
    nodes = {"loop": "control.for_each", "g": "control.group", "c": when, "b": "control.break",
             "a": "identity", "t": "identity"}  # fmt: skip
    wires = LOOP + (
        "loop.body > g, g.body > c, loop.item - c.item, c.stop > b, g.done > a,"
        "loop.item - a.value,"
        "g.always > t, a.value - t.value"
    )
    found = check(flow(nodes, wires))
    assert [(f.rule, f.node) for f in found] == [("skipped_source", "t")]


def test_ids_like_those_of_the_compiler_are_an_authors_own(result):
    nodes = {"loop": "control.for_each", "g": "control.group", "b": "control.break",
             "g.break": "identity"}  # fmt: skip
    drawn = flow(nodes, "s > loop, s.xs - loop.items, loop.body > g, g.body > b, loop.count - r.c")
    for number, (source, target) in enumerate([("loop", "g.break"), ("g.break", "r")]):
        drawn["edges"].append(
            {"id": f"x{number}", "source": source, "target": target, "type": "exec",
             "sourceHandle": "done" if source == "loop" else "exec_out", "targetHandle": "exec_in"}
        )  # fmt: skip
    drawn["nodes"][-1]["data"]["constantValues"] = {"value": 1}
    assert result(drawn)["c"] >= 1


# Settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("parallel", 0), ("parallel", "4"), ("parallel", True), ("parallel", 10_001),
        ("batch", 0), ("batch", 1.5), ("on_item_error", "skp"), ("aligned", "yes"),
        ("interval", -1), ("interval", "x"), ("time_limit", 0), ("time_limit", [1]),
        ("carry", [1]), ("carry", "x"), ("carry", 5),
    ],
)  # fmt: skip
def test_a_setting_of_for_each_that_is_wrong_is_told_with_its_place(only, key, value):
    finding = only("node_options", looped(**{key: value}))
    assert finding.node == "loop"
    said(finding, f"node 'loop' data.{key}: ", repr(value))


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_iterations", 0), ("max_iterations", "3"), ("interval", "x"), ("time_limit", -1)],
)
def test_a_setting_of_while_that_is_wrong_is_told_with_its_place(only, key, value):
    finding = only("node_options", repeated("a.value - w.again", **{key: value}))
    said(finding, f"node 'w' data.{key}: ")


def test_a_while_has_a_limit(only):
    finding = only("max_iterations", repeated("a.value - w.again", max_iterations=None))
    said(finding, "node 'w' data.max_iterations", "needs a limit", "the most iterations")


def test_items_that_hand_on_values_are_not_run_side_by_side(only):
    finding = only("parallel_carry", looped(carry=COUNTED, parallel=3))
    said(finding, "'loop' data.parallel: it is 3", "one after another", "leave one of the two out")


@pytest.mark.parametrize(
    ("kind", "key", "owner"),
    [
        ("control.group", "parallel", "'control.for_each'"),
        ("control.group", "max_iterations", "'control.while'"),
        ("control.group", "carry", "'control.for_each' and 'control.while'"),
        ("control.while", "on_item_error", "'control.for_each'"),
        ("control.for_each", "max_iterations", "'control.while'"),
    ],
)
def test_a_setting_of_another_kind_of_region_is_warned_of(check, kind, key, owner):
    values = {"parallel": 2, "max_iterations": 2, "carry": COUNTED, "on_item_error": "skip"}
    own = {"max_iterations": 3} if kind == "control.while" else {}
    ends = ", a.value - g.again" if own else ", s.xs - g.items" if "each" in kind else ""
    nodes = {"g": node(kind, **own, **{key: values[key]}), "a": NO}
    (finding,) = check(flow(nodes, "s > g, g.body > a, g.done > r" + ends))
    assert (finding.rule, finding.severity, finding.node) == ("foreign_setting", "warning", "g")
    said(finding, f"data.{key}", owner, f"at a '{kind}'", "delete it")
    assert run(flow(nodes, "s > g, g.body > a, g.done > r" + ends))["error"] is None


@pytest.mark.parametrize(("key", "value"), [("parallel", 2), ("carry", COUNTED)])
def test_a_setting_of_loops_at_another_node_is_warned_of(only, key, value):
    finding = only("foreign_setting", flow({"a": node("identity", **{key: value})}, AT_A))
    assert (finding.severity, finding.node) == ("warning", "a")
    said(finding, f"data.{key}: this is a setting of 'control.for_each'", "at another node")


@pytest.mark.parametrize(
    ("key", "value", "owner"), [("flow", "other", "'flow'"), ("variables", "shared", "'flow'")]
)
def test_a_setting_of_calls_at_a_loop_is_warned_of(only, key, value, owner):
    finding = only("foreign_setting", looped(**{key: value}))
    said(finding, f"node 'loop' data.{key}: this is a setting of {owner}", "'control.for_each'")


def test_a_node_of_a_users_class_may_have_what_a_call_calls_its_own(check):
    assert check(flow({"a": node("identity", flow="main", variables={})}, AT_A)) == []


@pytest.mark.parametrize(
    ("key", "value"), [("ray", {"num_cpus": 2}), ("resident", True), ("resident_ttl", 5.0)]
)
@pytest.mark.parametrize("where", ["loop", "choose", "s", "r"])
def test_what_is_asked_of_an_actor_where_there_is_none_is_warned_of(check, key, value, where):
    wires = "loop.body > choose, s.n - choose.n, choose.big > b, s.n - b.value"
    drawn = deepcopy(looped(wires, {"choose": WHEN, "b": "identity"}))
    next(each for each in drawn["nodes"] if each["id"] == where)["data"][key] = value
    (finding,) = (f for f in check(drawn) if f.rule == "actor_setting")
    assert (finding.severity, finding.node) == ("warning", where)
    whose = "the nodes of its body" if where == "loop" else "the nodes that do the work"
    said(finding, f"node '{where}' data.{key}", "the run's own process", f"give it to {whose}")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("Crash", "crash"), ("TIMEOUT", "timeout"), ("valueerror", "ValueError"), ("crsh", "crash"),
     ("conection_error", "ConnectionError")],
)  # fmt: skip
def test_a_misspelled_error_to_retry_after_is_warned_of(only, name, meant):
    retry = {"max": 1, "retry_on": ["OSError", name]}
    finding = only("unknown_error", flow({"a": node("identity", retry=retry)}, AT_A))
    assert (finding.severity, finding.node) == ("warning", "a")
    said(finding, f"node 'a' data.retry.retry_on: no error of Python is called '{name}'")
    said(finding, f"did you mean '{meant}'?")
    of_all = flow({"a": "identity"}, AT_A, settings={"retry": retry})
    said(only("unknown_error", of_all), "flow key settings.retry.retry_on")


def test_a_misspelled_error_of_the_projects_settings_is_told_of_there(loader):
    settings = {"retry": {"max": 1, "retry_on": ["crsh"]}}
    validator = FlowValidator(loader, settings=settings)
    validator.validate(flow({"a": "identity"}, AT_A))
    (finding,) = validator.findings
    said(finding, "pyproject.toml [tool.rayflow_dagster.settings].retry.retry_on: no error")


@pytest.mark.parametrize("name", ["timeout", "crash", "KeyError", "ConnectError", "httpx.HTTPError",
                                  "my.errors.crashes", "Timeouts"])  # fmt: skip
def test_an_error_of_a_package_may_have_any_name(check, name):
    retry = {"max": 1, "retry_on": [name]}
    assert check(flow({"a": node("identity", retry=retry)}, AT_A)) == []


@pytest.mark.parametrize("way", [{}, {"on_item_error": "skip"}])
def test_failed_items_read_where_nothing_collects_them_are_warned_of(only, way):
    finding = only("errors_not_collected", looped("loop.errors - r.failed", **way))
    assert (finding.severity, finding.node, finding.port) == ("warning", "loop", "errors")
    said(
        finding,
        "'loop' output 'errors': it is empty in every run",
        'only where data.on_item_error is "collect"',
    )


def test_failed_items_that_are_collected_are_read(check):
    assert check(looped("loop.errors - r.failed", on_item_error="collect")) == []


def test_a_value_read_on_the_error_path_of_its_loop_may_be_missing(only):
    finding = only("skipped_source", looped("loop.error > r2, loop.count - r2.n", {"r2": "return"}))
    said(finding, "node 'r2' input 'n': its source 'loop' may fail or be skipped while")


@pytest.mark.parametrize("key", ["parallel", "retry"])
def test_a_setting_among_the_constants_is_told_where_it_belongs(only, key):
    finding = only("unknown_constant", looped(values={key: 3}))
    said(finding, f"constantValues '{key}'", "write it in data, beside constantValues")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("paralel", "parallel"), ("batchs", "batch"), ("on_item_err", "on_item_error"),
        ("alligned", "aligned"), ("intervall", "interval"), ("timelimit", "time_limit"),
        ("carri", "carry"),
    ],
)  # fmt: skip
def test_a_misspelled_setting_of_a_region_is_warned_of(only, key, meant):
    finding = only("misspelled_option", looped(**{key: 1}))
    said(finding, f"node 'loop' data.{key}", f"did you mean '{meant}'?")


@pytest.mark.parametrize("kind", ["intt", 5, ["int"]])
def test_a_carried_value_of_a_type_that_is_none_is_refused(check, kind):
    found = check(looped("s.n - loop.x", carry={"x": {"type": kind}}))
    assert [(f.rule, f.node, f.port) for f in found] == [("declared_type", "loop", "x")]


def test_the_default_of_a_carried_value_is_of_its_type(only):
    finding = only("declared_default", looped(carry={"x": {"type": "int", "default": "no"}}))
    assert (finding.node, finding.port) == ("loop", "x")
    said(finding, "its default 'no' is not int")


@pytest.mark.parametrize(
    "name", ["items", "item", "index", "count", "errors", "error", "again", "a b", "", "1st", "n.x"]
)
def test_a_carried_value_has_a_name_of_its_own(only, name):
    carry = {name: {"type": "int", "default": 1}}
    finding = only("carried_name", looped(carry=carry))
    assert (finding.node, finding.port) == ("loop", name)
    said(finding, f"data.carry '{name}'", "letters, digits and _", "count, error, errors")


def test_a_carried_value_has_a_first_value(only, result):
    finding = only("required_input", looped(carry={"x": "int"}))
    assert (finding.node, finding.port) == ("loop", "x")
    assert result(looped("loop.x - r.x, s.n - loop.x", carry={"x": "int"}), n=4) == {"x": 4}
    drawn = looped("loop.x - r.x", carry={"x": "int"}, values={"x": 7})
    assert result(drawn) == {"x": 7}


def test_items_are_a_list(only):
    nodes = {"loop": "control.for_each", "a": "identity"}
    wires = "s > loop, loop.done > r," + BODY
    assert only("required_input", flow(nodes, wires)).port == "items"
    said(only("type_compatibility", flow(nodes, wires + "s.n - loop.items")), "takes list")
    nodes["loop"] = node("control.for_each", values={"items": "abc"})
    said(only("constant_value", flow(nodes, wires)), "'abc'", "is not list")


def test_an_asset_or_a_pool_is_for_steps(check):
    drawn = looped(nodes={"a": node("identity", pool="p", asset={"key": "k"})})
    found = check(drawn)
    assert [(f.rule, f.node) for f in found] == [("asset_in_body", "a"), ("pool_in_body", "a")]
    said(found[0], "in the body of 'loop'", "no step of its own", "behind 'done' of 'loop'")
    said(found[1], "give the pool to 'loop'")


def test_options_of_the_nodes_of_a_body_are_theirs(result):
    nodes = {
        "a": node("identity", ray={"num_cpus": 1}, resident=True, retry={"max": 1}),
        "b": "flow_nodes.async_identity.AsyncIdentityNode",
    }
    drawn = looped("a > b, a.value - b.value, b.value - r.x", nodes)
    assert result(drawn) == {"x": [1, 2, 3]}


# Boxes in the drawing


def parented(drawn: Flow, **parents: Any) -> Flow:
    for each in drawn["nodes"]:
        if each["id"] in parents:
            each["parentId"] = parents[each["id"]]
    return drawn


TWO = ("a > b, a.value - b.value", {"b": "identity"})


def test_a_body_may_be_drawn_inside_its_region(check):
    assert check(parented(looped(*TWO), a="loop", b="loop")) == []
    assert check(parented(looped(*TWO), a=5, b=["loop"], loop="s")) == []


def test_the_editors_form_with_parents_means_the_same(check, result):
    drawn = parented(looped("a.value - r.x, loop.count - r.n"), a="loop")
    for each in drawn["nodes"]:
        style = each["type"] if each["type"] in ("start", "return") else "rayflow"
        each["data"] = {**each["data"], "path": each["type"]}
        each |= {"type": style, "position": {"x": 0, "y": 0}}
    exported = {"flow": {key: drawn[key] for key in ("nodes", "edges")}}
    assert check(exported) == []
    assert result(exported) == {"x": [1, 2, 3], "n": 3}


def test_a_node_of_a_body_that_is_drawn_outside_is_told(only):
    finding = only("parent_and_body", parented(looped(*TWO), a="loop"))
    assert finding.node == "b"
    said(finding, "node 'loop': of its body, 'b' stands outside", "draw the whole body inside")


def test_a_node_outside_of_a_body_that_is_drawn_inside_is_told(only):
    drawn = looped("s > b, s.n - b.value, b > r", {"b": "identity"})
    finding = only("parent_and_body", parented(drawn, a="loop", b="loop"))
    assert finding.node == "b"
    said(finding, "drawn inside 'loop' (parentId), and not in its body", "or draw it outside")


def test_boxes_that_are_no_nodes_are_looked_through(only, check):
    boxed = {"b": "identity", "box": "groupNode"}
    only("decoration", parented(looped(TWO[0], boxed), a="box", b="loop", box="loop"))
    only("decoration", parented(looped(TWO[0], boxed), a="box", b="box", box="box"))
    found = check(parented(looped(TWO[0], boxed), a="loop", b="box"))
    assert [finding.rule for finding in found] == ["decoration", "parent_and_body"]


def test_what_is_drawn_in_an_inner_region_is_not_in_the_outer_one(check, only):
    nodes = {"loop": "control.for_each", "g": "control.group", "a": "identity"}
    wires = LOOP + "loop.body > g, g.body > a, loop.item - a.value"
    assert check(parented(flow(nodes, wires), g="loop", a="g")) == []
    assert only("parent_and_body", parented(flow(nodes, wires), g="loop", a="loop")).node == "a"


def test_a_constant_is_drawn_where_it_looks_best(check):
    drawn = looped("a > b, k.value - b.value", {"b": "sleep", "k": FIVE})
    assert check(parented(drawn, a="loop", b="loop")) == []


# Drawings that somebody got wrong at random

STOP = node("logic.choose", values={"CASES": {"stop": "item == 2"}})
LESS = node("logic.compare", values={"b": 3, "OPERATOR": "<"})
TOTAL = {"VARIABLE": "total"}
RIGHT = [
    flow(
        {
            "loop": node("control.for_each", carry={"t": ONE}),
            "g": "control.group", "when": STOP, "stop": "control.break", "one": "identity",
            "tidy": "identity", "after": "collect", "sum": "add", "k": FIVE, "d": "collect",
        },
        "s > loop, s.xs - loop.items, loop.done > r, loop.body > g, g.body > when,"
        "loop.item - when.item, when.stop > stop, when.default > one, loop.item - one.value,"
        "g.always > tidy, loop.index - tidy.value, g.done > after, one.value - after.a,"
        "k.value - after.b, after > sum, loop.item - sum.x, loop.t - sum.y,"
        "sum.result - loop.next.t, loop.t - r.t, one.value - r.o, tidy.value - r.y,"
        "loop.item - d.a, loop.t - d.b, d.values - after.c, loop.count - r.c",
    ),
    flow(
        {
            "w": node("control.while", max_iterations=3, carry={"p": ONE}),
            "l": "control.for_each", "a": "identity", "cmp": LESS, "n": "add", "z": "collect",
            "late": "return", "i": "control.for_each", "b": "identity",
        },
        "s > w, w.done > l, s.xs - l.items, w.body > n, w.p - n.x, s.n - n.y, n.result - w.next.p,"
        "n > cmp, n.result - cmp.a, cmp.result - w.again, w.exhausted > late, w.count - late.c,"
        "l.body > a, l.item - a.value, a > i, s.xs - i.items, i.body > b, i.item - b.value,"
        "i.done > z, b.value - z.a, w.p - z.b, a.value - z.c, l.done > r, z.values - r.z,"
        "b.value - r.b, l.errors - r.e",
    ),
    flow(
        {
            "l1": node("control.for_each", on_item_error="collect"), "a": "fragile",
            "l2": "control.for_each", "b": "identity", "g": node("control.group", retry={"max": 1}),
            "c": "identity", "h": "identity", "j": "identity",
            "v": node("variables.set_variable", values=TOTAL),
            "q": node("variables.get_variable", values=TOTAL),
        },
        "s > l1, s.xs - l1.items, l1.body > a, l1.item - a.value, s.flag - a.fail, l1.done > g,"
        "g.body > l2, a.value - l2.items, l2.body > b, l2.item - b.value, b > c, b.value - c.value,"
        "b > v, l2.index - v.value, g.done > h, c.value - h.value, g.error > j, g.error - j.value,"
        "h > r, j > r, l1.errors - r.e, q.value - r.q",
    ),
]  # fmt: skip
OUTPUTS = ["exec_out", "body", "done", "error", "always", "exhausted", "item", "index", "value",
           "count", "errors", "t", "p", "result", "values", "stop", "default"]  # fmt: skip
INPUTS = ["exec_in", "items", "value", "a", "b", "x", "y", "again", "next.t", "next.p", "t", "p"]
EXPECTED = (
    "TypeError", "LimitReachedError", "input 'items' takes a list", "without reaching a RETURN",
    "START declares it without a default", "ValueError: told to fail",
)  # fmt: skip
"""What a flow may rightly fail of that is drawn at random."""


SPOILS = ["delete", "source", "target", "output", "input", "swap", "add", "disable", "remove"]


@st.composite
def spoilt(draw_: st.DrawFn) -> Flow:
    """A flow that was right, with a few wires or nodes changed."""
    rng = draw_(st.randoms(use_true_random=False))
    drawn = draw_(st.sampled_from(RIGHT))
    made = {**drawn, "nodes": [dict(each) for each in drawn["nodes"]],
            "edges": [dict(each) for each in drawn["edges"]]}  # fmt: skip
    for _ in range(draw_(st.sampled_from([1, 1, 1, 2, 3]))):
        _spoil(rng, made)
    return made


def _spoil(rng: Random, made: Flow) -> None:
    edge = rng.choice(made["edges"])
    ids = [each["id"] for each in made["nodes"]]
    like = rng.choice([each for each in made["edges"] if each["type"] == edge["type"]])
    match rng.choice(SPOILS):
        case "delete":
            made["edges"].remove(edge)
        case "source" | "target" as end:
            edge[end] = rng.choice(ids)
        case "output":
            edge["sourceHandle"] = rng.choice(OUTPUTS)
        case "input":
            edge["targetHandle"] = rng.choice(INPUTS)
        case "swap":
            for key in rng.choice([("source", "sourceHandle"), ("target", "targetHandle")]):
                edge[key] = like[key]
        case "add":
            made["edges"].append({**edge, "id": f"x{len(made['edges'])}", "source": like["source"],
                                  "sourceHandle": like["sourceHandle"]})  # fmt: skip
        case "disable":
            at = rng.randrange(len(made["nodes"]))
            data = {**made["nodes"][at]["data"], "disabled": True}
            made["nodes"][at] = {**made["nodes"][at], "data": data}
        case "remove":
            made["nodes"].pop(rng.randrange(len(made["nodes"])))


@pytest.mark.parametrize("drawn", RIGHT)
def test_the_flows_that_are_spoilt_below_are_right(drawn, result):
    result(drawn)


@given(drawn=spoilt(), flag=st.booleans())
@settings(max_examples=150, derandomize=True)
def test_a_flow_that_was_spoilt_is_refused_or_runs(drawn: Flow, flag: bool):
    validator = FlowValidator(PROJECT.loader)
    valid, _ = validator.validate(drawn)
    if valid:
        error = run(drawn, flag=flag)["error"]
        assert error is None or any(text in error for text in EXPECTED)
