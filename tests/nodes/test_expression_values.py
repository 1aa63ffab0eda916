"""Inputs whose value is ``{"$expr": "..."}``: what they get, in a direct run and in Dagster, and
what is refused.
"""

from typing import Any

import pytest
from dagster import DagsterInstance, in_process_executor
from dagster_runs import run_in_dagster
from drawing import draw, node
from running import PROJECT, execute, outcomes, result_of
from shapes import test_loader as make_loader

from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.errors import ExpressionError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process


def expr(text: Any) -> dict[str, Any]:
    return {"$expr": text}


def run(flow: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    """What both engines and a stock executor make of a flow that succeeds."""
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    outcome = execute(orchestrator, flow, **inputs)
    assert outcome["error"] is None
    for executor in (None, in_process_executor):
        with DagsterInstance.ephemeral() as instance:
            found = run_in_dagster(flow, inputs, instance, executor, in_process)
        assert (found.success, found.result) == (True, outcome["result"])
        assert found.statuses == outcomes(orchestrator)
    result: dict[str, Any] = outcome["result"]
    return result


def failed(flow: dict[str, Any], **inputs: Any) -> tuple[str, FlowOrchestrator]:
    """How a flow fails, alike in both engines."""
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    outcome = execute(orchestrator, flow, **inputs)
    with DagsterInstance.ephemeral() as instance:
        found = run_in_dagster(flow, inputs, instance, None, in_process)
    assert not found.success
    assert found.statuses == outcomes(orchestrator)
    return str(outcome["error"]), orchestrator


def findings(flow: dict[str, Any], *rules: str) -> list[str]:
    """The errors about a flow, which are of these rules."""
    found = [each for each in FlowValidator(make_loader()).check(flow) if each.severity == "error"]
    assert [each.rule for each in found] == list(rules), found
    return [each.message for each in found]


ORDER = {"order": "dict", "n": {"type": "int", "default": 3}}
WIRES = "start > it, it > r, it.value - r.value"


def flow_of(text: Any, wires: str = WIRES, **keys: Any) -> dict[str, Any]:
    nodes = {
        "start": node("start", inputs=ORDER),
        "it": node("identity", values={"value": expr(text)}),
        "r": "return",
    }
    return draw(nodes, wires, **keys)


# --- what a name stands for -----------------------------------------------------------------------


def test_an_expression_reads_the_inputs_of_the_flow():
    assert run(flow_of("order.total * 1.5"), order={"total": 4.0}) == {"value": 6.0}
    assert run(flow_of("{'a': [n, 1], 'b': null}"), order={}) == {"value": {"a": [3, 1], "b": None}}
    assert run(flow_of("'the same each time'"), order={}) == {"value": "the same each time"}


def test_a_name_is_first_what_is_wired_into_the_node_then_an_input_of_the_flow():
    nodes = {
        "start": node("start", inputs={"x": "float", "y": "float"}),
        "one": node("math.add", values={"y": expr("x * 2.0")}),
        "two": node("math.add", values={"x": expr("x * 2.0"), "y": 0.5}),
        "three": node("math.add", values={"x": expr("y + 1.0"), "y": 0.5}),
        "r": "return",
    }
    wires = "start > r, start.y - one.x, one.result - r.one, two.result - r.two, three.result - r.3"
    assert run(draw(nodes, wires), x=100, y=1) == {"one": 3.0, "two": 200.5, "3": 2.0}


def test_a_constant_or_default_of_the_node_is_a_name_where_its_wire_brings_nothing():
    nodes = {
        "start": node("start", inputs={"flag": "bool"}),
        "if": "logic.branch",
        "one": node("constant", values={"VALUE": 1.5}),
        "sum": node("math.add", values={"x": 5, "y": expr("x + 1.0")}),
        "r": "return",
    }
    wires = (
        "start > if, start.flag - if.condition, if.true > one, one > sum, if.false > sum,"
        "one.value - sum.x, sum > r, sum.result - r.sum"
    )
    assert run(draw(nodes, wires), flag=False) == {"sum": 11.0}
    assert run(draw(nodes, wires), flag=True) == {"sum": 4.0}


def test_an_expression_stands_in_where_a_wire_brings_nothing():
    nodes = {
        "start": node("start", inputs={"flag": "bool", "n": "int"}),
        "if": "logic.branch",
        "one": node("identity", values={"value": "wired"}),
        "it": node("identity", values={"value": expr("'no ' + string(n)")}),
        "r": "return",
    }
    wires = (
        "start > if, start.flag - if.condition, if.true > one, one > it, if.false > it,"
        "one.value - it.value, it > r, it.value - r.value"
    )
    assert run(draw(nodes, wires), flag=False, n=1) == {"value": "no 1"}
    assert run(draw(nodes, wires), flag=True, n=1) == {"value": "wired"}


def test_a_variable_is_read_when_its_node_is_about_to_run():
    nodes = {
        "start": node("start", inputs={"n": "int"}),
        "set": node("variables.set_variable", values={"VARIABLE": "last"}),
        "one": node("identity", values={"value": expr("last + 1")}),
        "more": node("variables.set_variable", values={"VARIABLE": "last", "value": 50}),
        "two": node("identity", values={"value": expr("[last, n, last]")}),
        "r": node("return"),
    }
    wires = (
        "start > set, start.n - set.value, set > one, one > more, more > two, two > r,"
        "one.value - r.one, two.value - r.two"
    )
    flow = draw(nodes, wires, variables={"last": {"type": "int", "default": 0}})
    assert run(flow, n=7) == {"one": 8, "two": [50, 7, 50]}


def test_return_and_control_nodes_take_expressions():
    nodes = {
        "start": node("start", inputs={"n": "int"}),
        "which": node("logic.switch", values={"CASES": [0, 1], "value": expr("n % 2")}),
        "even": node("return", inputs={"half": "int"}, values={"half": expr("n / 2")}),
        "odd": node("return", inputs={"half": "float"}, values={"half": expr("double(n) / 2.0")}),
    }
    wires = "start > which, which.0 > even, which.1 > odd, which.default > odd"
    assert run(draw(nodes, wires), n=4) == {"half": 2}
    assert run(draw(nodes, wires), n=5) == {"half": 2.5}


def test_a_step_tells_of_its_expressions_and_there_are_no_more_steps():
    job = build_job(flow_of("order.total * n"), "test", project=PROJECT, connect=in_process)
    assert sorted(each.name for each in job.nodes) == ["it", "r", "start"]
    told = job.get_node_named("it").definition.description or ""
    assert "`value` is what the expression `order.total * n` gives." in told


# --- in bodies ------------------------------------------------------------------------------------


def test_a_body_has_item_and_index():
    nodes = {
        "start": node("start", inputs={"xs": "list[int]", "n": "int"}),
        "loop": "control.for_each",
        "it": node("identity", values={"value": expr("item * n + index")}),
        "r": "return",
    }
    wires = (
        "start > loop, start.xs - loop.items, loop.body > it, loop.done > r, it.value - r.values"
    )
    assert run(draw(nodes, wires), xs=[1, 2, 3], n=10) == {"values": [10, 21, 32]}


def test_a_name_in_nested_bodies_is_that_of_the_innermost_loop():
    nodes = {
        "start": node("start", inputs={"xs": "list[list[int]]"}),
        "outer": "control.for_each",
        "try": "control.group",
        "inner": node("control.for_each", values={"items": expr("item + [index]")}),
        "it": node("identity", values={"value": expr("item * 10 + index")}),
        "r": "return",
    }
    wires = (
        "start > outer, start.xs - outer.items, outer.body > try, try.body > inner,"
        "inner.body > it, outer.done > r, it.value - r.values"
    )
    assert run(draw(nodes, wires), xs=[[1], [2, 3]]) == {"values": [[10, 1], [20, 31, 12]]}


def test_a_loop_whose_items_an_expression_gives_is_run_whole_by_one_worker():
    nodes = {
        "start": node("start", inputs={"xs": "list[int]"}),
        "loop": node("control.for_each", values={"items": expr("xs.filter(x, x > 1)")}),
        "it": "identity",
        "r": "return",
    }
    wires = "start > loop, loop.body > it, loop.item - it.value, loop.done > r, it.value - r.values"
    flow = draw(nodes, wires)
    assert run(flow, xs=[1, 2, 3]) == {"values": [2, 3]}
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    assert orchestrator.load(flow)["nodes"]["loop"]["region"]["fused"]


def test_a_carried_value_is_a_name_in_the_body_of_its_loop():
    nodes = {
        "start": "start",
        "loop": node(
            "control.while", max_iterations=9, carry={"total": {"type": "int", "default": 1}}
        ),
        "it": node("identity", values={"value": expr("total * 2")}),
        "more": node("identity", values={"value": expr("total < 4 && index < 5")}),
        "r": "return",
    }
    wires = (
        "start > loop, loop.body > it, it > more, it.value - loop.next.total,"
        "more.value - loop.again, loop.done > r, loop.total - r.total"
    )
    assert run(draw(nodes, wires)) == {"total": 8}


def test_a_node_without_exec_edges_is_where_its_value_is_needed():
    nodes = {
        "start": node("start", inputs={"xs": "list[int]"}),
        "loop": "control.for_each",
        "sum": node("math.add", values={"x": expr("double(index)"), "y": 0.5}),
        "it": "identity",
        "r": "return",
    }
    wires = (
        "start > loop, start.xs - loop.items, loop.body > it, sum.result - it.value,"
        "loop.done > r, it.value - r.values"
    )
    assert run(draw(nodes, wires), xs=[7, 7]) == {"values": [0.5, 1.5]}


def test_a_body_reads_a_variable_in_each_iteration():
    nodes = {
        "start": node("start", inputs={"xs": "list[int]"}),
        "loop": node("control.for_each", parallel=1),
        "up": node("variables.increment_variable", values={"VARIABLE": "seen"}),
        "it": node("identity", values={"value": expr("[item, seen]")}),
        "r": "return",
    }
    wires = (
        "start > loop, start.xs - loop.items, loop.body > up, up > it, loop.done > r,"
        "it.value - r.values"
    )
    flow = draw(nodes, wires, variables={"seen": {"type": "int", "default": 0}})
    assert run(flow, xs=[5, 6]) == {"values": [[5, 1], [6, 2]]}


# --- failing --------------------------------------------------------------------------------------


def test_an_expression_without_a_value_fails_its_node():
    told, orchestrator = failed(flow_of("order.total"), order={})
    why = (
        "input 'value': the expression 'order.total' has no value: Key not found in map : \"total\""
    )
    assert told == f"Node it failed: {why}"
    assert isinstance(result_of(orchestrator, "it").get("exception"), ExpressionError)


def test_the_error_output_of_the_node_handles_it_and_retry_does_not():
    flow = flow_of(
        "order.total",
        WIRES + ", it.error > bad, it.error - bad.error",
    )
    flow["nodes"].append({"id": "bad", **node("return")})
    flow["nodes"][1]["data"]["retry"] = {"max": 3, "delay": 0}
    error = run(flow, order={})["error"]
    assert (error["type"], error["node_id"]) == ("ExpressionError", "it")
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    execute(orchestrator, flow, order={})
    assert result_of(orchestrator, "it")["details"]["attempts"] == 1


def test_an_expression_of_a_branch_that_is_not_taken_is_not_worked_out():
    nodes = {
        "start": node("start", inputs={"n": "int"}),
        "if": node("logic.choose", values={"CASES": {"any": "n > 0"}}),
        "it": node("identity", values={"value": expr("10 / n")}),
        "r": "return",
        "none": "return",
    }
    wires = "start > if, start.n - if.n, if.any > it, it > r, it.value - r.share, if.default > none"
    assert run(draw(nodes, wires), n=0) == {}
    assert run(draw(nodes, wires), n=5) == {"share": 2}


def test_a_value_of_another_type_than_the_input_fails_the_node():
    nodes = {
        "start": node("start", inputs={"x": "any"}),
        "it": node("math.add", values={"x": expr("x"), "y": 1}),
        "r": "return",
    }
    flow = draw(nodes, "start > it, it > r, it.result - r.sum")
    assert run(flow, x=1.5) == {"sum": 2.5}
    told, _ = failed(flow, x="one")
    assert told.endswith("has no value: it gave str, not float")


def test_a_secret_that_comes_by_a_run_is_refused_in_it():
    told, _ = failed(flow_of("order"), order={"key": {"$env": "SHOP_KEY"}})
    assert "'order' has the secret 'SHOP_KEY', which no expression may read" in told


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("n +", "column 4: mismatched input '<EOF>'"),
        ("n + 1.5", "column 3: '+' does not take int, double"),
        ("nn + 1", "column 1: 'nn' is not known here (known: n, order); did you mean 'n'?"),
        ("nope(n)", "column 5: there is no function 'nope'"),
        ("item", "column 1: 'item' is not known here"),
        ("timestamp('2020-01-01T00:00:00Z')", "it gives a value of type timestamp, which no port"),
        ("x" * 1001, "it has 1,001 characters; an expression may have 1,000"),
        (5, "{'$expr': 5} is no expression; write"),
        (" ", "{'$expr': ' '} is no expression; write"),
    ],
)
def test_a_mistake_is_told_with_its_column(text, told):
    (message,) = findings(flow_of(text), "expression")
    assert message.startswith("node 'it' input 'value': ")
    assert told in message


def test_an_expression_must_give_what_its_input_takes():
    nodes = {
        "start": node("start", inputs={"n": "int", "t": "str", "ns": "list[int]"}),
        "it": node("math.add", values={"x": expr("t + '!'"), "y": expr("n + 1")}),
        "r": node("return", inputs={"a": "list[str]"}, values={"a": expr("ns.map(i, i * 2)")}),
    }
    assert findings(draw(nodes, "start > it, it > r"), "expression", "expression") == [
        "node 'it' input 'x': \"t + '!'\": it gives str, not float",
        "node 'r' input 'a': 'ns.map(i, i * 2)': it gives list[int], not list[str]",
    ]


def test_an_item_has_the_type_of_what_is_wired():
    nodes = {
        "start": node("start", inputs={"xs": "list[str]"}),
        "loop": "control.for_each",
        "it": node("identity", values={"value": expr("item + 1")}),
        "r": "return",
    }
    wires = "start > loop, start.xs - loop.items, loop.body > it, loop.done > r"
    (message,) = findings(draw(nodes, wires), "expression")
    assert "column 6: '+' does not take string, int" in message


def test_no_expression_reads_what_another_gives():
    nodes = {
        "start": node("start", inputs={"x": "float"}),
        "it": node("math.add", values={"x": expr("1.5"), "y": expr("x * 2.0")}),
        "r": "return",
    }
    (message,) = findings(draw(nodes, "start > it, it > r"), "expression")
    assert message.startswith(
        "node 'it' input 'y': 'x * 2.0': it reads 'x', whose value an expression gives, too;"
    )


@pytest.mark.parametrize("value", [{"a": [expr("n")]}, [expr("n")], {"$expr": "n", "a": 1}])
def test_an_expression_is_the_whole_value(value):
    flow = flow_of("n")
    flow["nodes"][1]["data"]["constantValues"]["value"] = value
    (message,) = findings(flow, "expression_place")
    assert message.startswith(
        "node 'it' constantValues 'value': an expression within a value is not worked out"
    )


def test_no_constant_and_no_default_is_an_expression():
    nodes = {
        "start": node("start", inputs={"a": {"type": "any", "default": expr("1")}}),
        "it": node("sleep", values={"SECONDS": expr("a"), "value": 1}),
        "loop": node("control.while", carry={"c": {"type": "any", "default": [expr("1")]}},
                     max_iterations=1),
        "in": node("identity", values={"value": 1}),
        "r": node("return", inputs={"b": {"type": "any", "default": expr("1")}}),
    }  # fmt: skip
    wires = "start > it, it > loop, loop.body > in, in.value - loop.again, loop.done > r"
    wires += ", loop.exhausted > r"
    found = findings(draw(nodes, wires), *["expression_place"] * 4)
    assert [message.partition(":")[0] for message in found] == [
        "node 'start' input 'a'",
        "node 'it' constant 'SECONDS'",
        "node 'loop' input 'c'",
        "node 'r' input 'b'",
    ]
    assert "make it an input of the node's class" in found[1]
    assert "a default is no expression" in found[0]


SECRET = {"$env": "HOME"}


def test_no_expression_reads_a_secret():
    nodes = {
        "start": node("start", inputs={"key": {"type": "str", "default": SECRET}}),
        "flow": node("identity", values={"value": expr("key + '!'")}),
        "own": node("data.list_append", values={"items": expr("[item]"), "item": SECRET}),
        "wired": node("data.list_append", values={"items": expr("[item]")}),
        "kept": node("identity", values={"value": expr("size(word)")}),
        "r": "return",
    }
    wires = "start > flow, flow > own, own > wired, start.key - wired.item, wired > kept, kept > r"
    variables = {"word": {"type": "any", "default": SECRET}}
    found = findings(draw(nodes, wires, variables=variables), *["expression_secret"] * 4)
    assert [message.partition(",")[0] for message in found] == [
        "node 'flow' input 'value': \"key + '!'\": 'key' has a secret",
        "node 'own' input 'items': '[item]': 'item' has a secret",
        "node 'wired' input 'items': '[item]': 'item' has a secret",
        "node 'kept' input 'value': 'size(word)': 'word' has a secret",
    ]


def test_expressions_in_a_broken_drawing_are_left_to_its_findings():
    nodes = {
        "start": node("start", inputs={"xs": "list"}),
        "loop": "control.for_each",
        "it": node("identity", values={"value": expr("item")}),
        "r": "return",
    }
    wires = "start > loop, start.xs - loop.items, loop.body > it, start > it, loop.done > r"
    rules = {each.rule for each in FlowValidator(make_loader()).check(draw(nodes, wires))}
    assert rules
    assert "expression" not in rules
