"""Control nodes: which way each goes, in the direct run and in Dagster, and what is refused."""

from typing import Any

import numpy as np
import pytest
from dagster import DagsterInstance, in_process_executor
from dagster_runs import run_in_dagster
from drawing import draw, node
from running import PROJECT, execute, outcomes, result_of
from shapes import test_loader as make_loader

from rayflow_dagster.compiler.loader import NodeLoader, builtin_registry
from rayflow_dagster.compiler.registry import BUILTIN_ROOT, NodeRegistry
from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.control_node import ControlNode
from rayflow_dagster.control_nodes import CONTROL_NODES
from rayflow_dagster.nodes.logic.switch import SwitchNode
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process


def flow_of(kind: str, inputs: dict[str, Any], ends: str, **values: Any) -> dict[str, Any]:
    """START's inputs wired into a node, and a RETURN behind each exec output in ``ends``."""
    nodes = {"start": node("start", inputs=inputs), "it": node(kind, values=values)}
    wires = ["start > it", *(f"start.{name} - it.{name}" for name in inputs)]
    for number, end in enumerate(ends.split()):
        nodes[f"r{number}"] = node("return", inputs={"end": {"type": "str", "default": end}})
        wires.append(f"it.{end} > r{number}")
    return draw(nodes, ", ".join(wires))


def end_of(flow: dict[str, Any], **inputs: Any) -> str:
    """The exec output that fired, which both engines and a stock executor agree on."""
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    outcome = execute(orchestrator, flow, **inputs)
    assert outcome["error"] is None
    for executor in (None, in_process_executor):
        with DagsterInstance.ephemeral() as instance:
            run = run_in_dagster(flow, inputs, instance, executor, in_process)
        assert (run.success, run.result) == (True, outcome["result"])
        assert run.statuses == outcomes(orchestrator)
    return str(outcome["result"]["end"])


def failure_of(flow: dict[str, Any], **inputs: Any) -> str:
    """How a flow fails, alike in both engines."""
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    outcome = execute(orchestrator, flow, **inputs)
    with DagsterInstance.ephemeral() as instance:
        run = run_in_dagster(flow, inputs, instance, None, in_process)
    assert not run.success
    assert run.statuses == outcomes(orchestrator)
    return str(outcome["error"])


def findings(flow: dict[str, Any], *rules: str) -> list[str]:
    """The errors about a flow, which are of these rules."""
    found = [each for each in FlowValidator(make_loader()).check(flow) if each.severity == "error"]
    assert [each.rule for each in found] == list(rules), found
    return [each.message for each in found]


# --- choose ---------------------------------------------------------------------------------------

TOTAL = {"total": "float", "vip": {"type": "bool", "default": False}}
CASES = {"big": "total > 100.0", "known": "vip || total > 1000.0"}


@pytest.mark.parametrize(
    ("inputs", "end"),
    [
        ({"total": 200}, "big"),
        ({"total": 200.5, "vip": True}, "big"),
        ({"total": 1, "vip": True}, "known"),
        ({"total": 1}, "default"),
    ],
)
def test_choose_goes_on_where_the_first_expression_holds(inputs, end):
    flow = flow_of("logic.choose", TOTAL, "big known default", CASES=CASES)
    assert end_of(flow, **inputs) == end


@pytest.mark.parametrize(
    ("inputs", "fired"),
    [
        ({"total": 200, "vip": True}, ["big", "known"]),
        ({"total": 200}, ["big"]),
        ({"total": 1}, ["default"]),
    ],
)
def test_choose_all_fires_each_output_whose_expression_holds(inputs, fired):
    drawn = draw(
        {"start": node("start", inputs=TOTAL),
         "it": node("logic.choose", values={"CASES": CASES, "MATCH": "all"}),
         "b": "sleep", "k": "sleep", "d": "sleep", "r": "return"},
        "start.total - it.total, start.vip - it.vip, it.big > b, it.known > k, it.default > d, "
        "b > r, k > r, d > r",
    )  # fmt: skip
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    assert execute(orchestrator, drawn, **inputs)["error"] is None
    assert result_of(orchestrator, "it")["exec_fired"] == fired
    with DagsterInstance.ephemeral() as instance:
        run = run_in_dagster(drawn, inputs, instance, None, in_process)
    assert run.statuses == outcomes(orchestrator)


def test_the_outputs_of_choose_exclude_each_other_where_the_first_fires():
    wires = (
        "start.total - it.total, start.vip - it.vip, it.big > b, it.known > k, it.default > d, "
        "b.value - r.x, k.value - r.x, d.value - r.x, b > r, k > r, d > r"
    )
    for match, rules in (("first", []), ("all", ["two_data_edges"])):
        drawn = draw(
            {"start": node("start", inputs=TOTAL),
             "it": node("logic.choose", values={"CASES": CASES, "MATCH": match}),
             "b": node("data.json_dump", values={"value": 1}),
             "k": node("data.json_dump", values={"value": 2}),
             "d": node("data.json_dump", values={"value": 3}), "r": "return"},
            wires.replace(".value", ".text"),
        )  # fmt: skip
        findings(drawn, *rules)


def test_an_expression_is_checked_with_the_types_of_its_wires():
    flow = flow_of("logic.choose", TOTAL, "default", CASES={"big": "total > 100 || vip > 1"})
    assert findings(flow, "expression", "expression") == [
        "node 'it' constant 'CASES': case 'big': 'total > 100 || vip > 1': column 7: '>' does not "
        "take double, int; write a whole number that meets a float with a point, as 1.0, or use "
        "double()",
        "node 'it' constant 'CASES': case 'big': 'total > 100 || vip > 1': column 20: '>' does not "
        "take bool, int",
    ]


def test_a_name_that_is_not_wired_is_told_with_the_one_that_was_meant():
    flow = flow_of("logic.choose", TOTAL, "default", CASES={"big": "totl > 1.0"})
    (told,) = findings(flow, "expression")
    assert told.endswith(
        "column 1: 'totl' is not known here (known: total, vip); did you mean 'total'?"
    )


@pytest.mark.parametrize(
    ("cases", "told"),
    [
        ({}, "has no case; add one"),
        ({"default": "vip"}, "no case can be called 'default', which fires where no case does"),
        ({"error": "vip"}, "no case can be called 'error', which fires where the node fails"),
        ({"exec_out": "vip"}, "no case can be called 'exec_out'"),
        ({"é": "vip"}, "'é' cannot be an exec output: ASCII letters"),
        ({" ": "vip"}, "' ' cannot be an exec output"),
        ({"exec-a": "vip"}, "'exec-a' cannot be an exec output"),
        ({"x" * 101: "vip"}, "cannot be an exec output"),
        ({"a-b": "vip", "a b": "vip"}, "'a-b' and 'a b' are too alike for two exec outputs"),
        ({str(n): "vip" for n in range(101)}, "has 101 cases; a node may have 100"),
    ],
)
def test_a_case_that_can_be_no_exec_output_is_told(cases, told):
    flow = flow_of("logic.choose", TOTAL, "default", CASES=cases)
    assert told in findings(flow, "cases")[0]


@pytest.mark.parametrize("expression", ["", "  ", 5, None, ["vip"]])
def test_what_is_no_expression_is_told(expression):
    flow = flow_of("logic.choose", TOTAL, "default", CASES={"a": expression})
    assert 'is no expression; write for example "total > 100.0"' in findings(flow, "expression")[0]


def test_a_wrong_match_and_constants_of_wrong_types_are_told():
    flow = flow_of("logic.choose", TOTAL, "default", CASES={"a": "vip"}, MATCH="any")
    assert "'MATCH': is 'any'; set it to first or all" in findings(flow, "cases")[0]
    for name, value in (("CASES", ["a"]), ("MATCH", 3)):
        flow = flow_of("logic.choose", TOTAL, "default", **{"CASES": {"a": "vip"}, name: value})
        findings(flow, "constant_value")


def test_a_wire_from_a_case_that_is_not_there_is_told():
    flow = flow_of("logic.choose", TOTAL, "bigg default", CASES=CASES)
    (told,) = findings(flow, "unknown_port")
    assert "(exec outputs: big, known, default, error); did you mean 'big'?" in told


def test_an_expression_that_has_no_value_fails_the_node_and_can_be_handled():
    inputs = {"a": "int", "b": "int"}
    flow = flow_of("logic.choose", inputs, "half error default", CASES={"half": "a / b == 2"})
    assert end_of(flow, a=4, b=2) == "half"
    assert end_of(flow, a=4, b=0) == "error"
    unhandled = flow_of("logic.choose", inputs, "half default", CASES={"half": "a / b == 2"})
    unhandled["nodes"][1]["data"]["retry"] = {"max": 3, "delay": 60}
    told = "the expression 'a / b == 2' has no value: divide by zero"
    assert failure_of(unhandled, a=4, b=0).endswith(told)


def test_values_of_other_nodes_are_read_with_their_types():
    drawn = draw(
        {"start": node("start", inputs={"text": "str"}), "split": "text.split",
         "count": "data.list_length",
         "it": node("logic.choose", values={"CASES": {
             "long": "n > 2 && words.exists(w, w.startsWith('x'))"}}),
         "a": node("return", inputs={"end": {"type": "str", "default": "long"}}),
         "b": node("return", inputs={"end": {"type": "str", "default": "default"}})},
        "start.text - split.text, split.parts - count.items, count.length - it.n, "
        "split.parts - it.words, it.long > a, it.default > b",
    )  # fmt: skip
    assert end_of(drawn, text="a b xyz") == "long"
    assert end_of(drawn, text="a b c") == "default"


# --- switch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "end"),
    [("new", "new"), ("in progress", "in progress"), (404, "404"), (404.0, "404"),
     ("404", "default"), (True, "default"), (None, "default"), (["new"], "default"),
     ("", "default")],
)  # fmt: skip
def test_switch_goes_on_at_the_case_that_the_value_is(value, end):
    cases = ["new", "in progress", 404, 1]
    flow = flow_of("logic.switch", {"value": "any"}, "new 404 1 default", CASES=cases)
    spaced = draw({"r": node("return", inputs={"end": {"type": "str", "default": cases[1]}})}, "")
    flow["nodes"] += spaced["nodes"]
    flow["edges"].append(
        {"id": "spaced", "source": "it", "sourceHandle": "in progress", "target": "r",
         "targetHandle": "exec_in", "type": "exec"}
    )  # fmt: skip
    assert end_of(flow, value=value) == end


@pytest.mark.parametrize(
    ("cases", "told"),
    [
        ([], "has no case"),
        (["default"], "no case can be called 'default'"),
        ([1.5], "1.5 is no case; a case is a text or a whole number from 0 on, and where others "
                "are to be told apart, draw a 'logic.choose'"),
        ([-1], "-1 is no case"),
        (["a", "a"], "'a' stands there twice; delete one of them"),
        ([True], "True is no case"),
        ([["a"]], "['a'] is no case"),
        (["1", 1], "the text '1' and the number of these digits would have one exec output"),
    ],
)  # fmt: skip
def test_a_case_of_a_switch_that_cannot_be_is_told(cases, told):
    flow = flow_of("logic.switch", {"value": "any"}, "default", CASES=cases)
    assert told in findings(flow, "cases")[0]


@pytest.mark.parametrize(
    ("kind", "case", "told"),
    [
        ("str", 404, "404 can never be the value, which is of type str"),
        ("int", "404", "'404' can never be the value, which is of type int"),
        ("bool", 1, "1 can never be the value, which is of type bool"),
        ("int | None", "none", "'none' can never be the value, which is of type int | None"),
        ("list[str]", "a", "'a' can never be the value, which is of type list[str]"),
        ("int", 404, None),
        ("float", 404, None),
        ("str | int", 404, None),
        ("any", 404, None),
        ("numpy.int64", 404, None),
    ],
)
def test_a_case_that_the_wired_type_can_never_be_is_warned_of(kind, case, told):
    flow = flow_of("logic.switch", {"value": kind}, f"{case} default", CASES=[case])
    found = list(FlowValidator(make_loader()).check(flow))
    assert [(each.rule, each.severity) for each in found] == (
        [("impossible_case", "warning")] if told else []
    )
    assert told is None or told in found[0].message


def test_switch_takes_a_number_of_numpy():
    assert SwitchNode.decide({"CASES": [404]}, {}, {"value": np.int64(404)}) == ["404"]


# --- assert and fail ------------------------------------------------------------------------------


def test_assert_goes_on_where_its_condition_holds():
    flow = flow_of("logic.assert", {"n": "int"}, "exec_out error", CONDITION="n > 0")
    assert end_of(flow, n=1) == "exec_out"
    assert end_of(flow, n=0) == "error"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("{n} is too few", "3 is too few (n > 5 does not hold with n = 3, items = [1, 2])"),
        ("", "n > 5 does not hold with n = 3, items = [1, 2]"),
        ("{n:.2f} {items}", "3.00 [1, 2] (n > 5 does not hold with n = 3, items = [1, 2])"),
        ("{n:s}", "{n:s} (ValueError: cannot fill in the template '{n:s}': Unknown format code 's' "
                  "for object of type 'int') (n > 5 does not hold with n = 3, items = [1, 2])"),
    ],
)  # fmt: skip
def test_assert_fails_with_its_message_and_its_inputs(message, told):
    inputs = {"n": "int", "items": "list[int]"}
    flow = flow_of("logic.assert", inputs, "exec_out", CONDITION="n > 5", MESSAGE=message)
    assert failure_of(flow, n=3, items=[1, 2]).endswith(f"{told}")


def test_fail_fails_the_flow_with_its_message_whatever_retry_says():
    flow = flow_of("control.fail", {"n": "int"}, "", MESSAGE="{n} orders are missing")
    flow["nodes"] += [{"id": "r", "type": "return", "data": {}}]
    flow["edges"] += draw({}, "start > r")["edges"]
    flow["edges"][-1]["id"] = "last"
    flow["settings"] = {"ends": "all_settled", "retry": {"max": 3, "delay": 60}}
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    outcome = execute(orchestrator, flow, n=3)
    assert outcome["error"].endswith("3 orders are missing")
    with DagsterInstance.ephemeral() as instance:
        run = run_in_dagster(flow, {"n": 3}, instance, None, in_process)
    assert not run.success
    assert run.statuses["it"] == "failed"
    assert "STEP_UP_FOR_RETRY" not in [event.event_type_value for event in run.events]


@pytest.mark.parametrize(
    ("kind", "values"),
    [("control.fail", {}), ("logic.assert", {"CONDITION": "n > 1"})],
)
@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("{m} is wrong", "it asks for {m}, which is not wired (wired: n)"),
        ("{n.real}", "it asks for {n.real}, which is not wired"),
        ("{", "Single '{' encountered in format string; write {{ and }} for literal braces"),
    ],
)
def test_a_template_that_asks_for_what_is_not_wired_is_told(kind, values, message, told):
    flow = flow_of(kind, {"n": "int"}, "", MESSAGE=message, **values)
    flow["nodes"] += [{"id": "r", "type": "return", "data": {}}]
    flow["edges"] += [{**draw({}, "start > r")["edges"][0], "id": "last"}]
    assert told in findings(flow, "template")[0]


def test_an_expression_of_an_assert_is_checked():
    flow = flow_of("logic.assert", {"n": "int"}, "exec_out", CONDITION="n + 1")
    (told,) = findings(flow, "expression")
    assert told == "node 'it' constant 'CONDITION': 'n + 1': it gives int, not bool"
    findings(flow_of("logic.assert", {"n": "int"}, "exec_out"), "expression")


# --- parallel -------------------------------------------------------------------------------------


def test_parallel_fires_all_its_branches():
    drawn = draw(
        {"start": "start", "it": node("control.parallel", values={"BRANCHES": 3}),
         "a": "sleep", "b": "sleep", "c": "sleep", "r": "return"},
        "start > it, it.branch_1 > a, it.branch_2 > b, it.branch_3 > c, a > r, b > r, c > r",
    )  # fmt: skip
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    assert execute(orchestrator, drawn)["error"] is None
    assert set(outcomes(orchestrator).values()) == {"completed"}


def test_what_is_known_of_outputs_that_fire_counts_in_proofs():
    """A value of one branch is there at the join of all; of all that hold, `default` is none."""
    join = draw(
        {"start": "start", "it": node("control.parallel", values={"BRANCHES": 2}),
         "a": node("data.json_dump", values={"value": 1}), "b": "sleep", "r": "return"},
        "start > it, it.branch_1 > a, it.branch_2 > b, b > r, a > r, a.text - r.x",
    )  # fmt: skip
    findings(join)
    merge = draw(
        {"start": node("start", inputs=TOTAL),
         "it": node("logic.choose", values={"CASES": CASES, "MATCH": "all"}),
         "b": node("data.json_dump", values={"value": 1}),
         "d": node("data.json_dump", values={"value": 2}), "k": "sleep",
         "r": node("return", inputs={"x": {"type": "any", "default": None}})},
        "start.total - it.total, start.vip - it.vip, it.big > b, it.known > k, it.default > d, "
        "b.text - r.x, d.text - r.x, b > r, k > r, d > r",
    )  # fmt: skip
    findings(merge)


@pytest.mark.parametrize("count", [0, -1, 101])
def test_a_number_of_branches_that_cannot_be_is_told(count):
    flow = flow_of("control.parallel", {}, "", BRANCHES=count)
    flow["nodes"] += [{"id": "r", "type": "return", "data": {}}]
    flow["edges"] += [{**draw({}, "start > r")["edges"][0], "id": "last"}]
    assert f"is {count}; set it to 1 up to 100" in findings(flow, "branches")[0]


# --- sequence -------------------------------------------------------------------------------------


def sequence(nodes: dict[str, Any], wires: str, count: int = 2, **keys: Any) -> dict[str, Any]:
    kinds = {"start": node("start", inputs={"flag": {"type": "bool", "default": False}})}
    kinds["it"] = node("control.sequence", values={"THEN": count})
    return draw({**kinds, **nodes}, f"start > it, {wires}", **keys)


def order_of(flow: dict[str, Any], **inputs: Any) -> list[str]:
    """The nodes that run in the order in which they start, which both engines and a stock executor
    agree on, and so on what becomes of each node.
    """
    settled: list[str] = []
    orchestrator = FlowOrchestrator(
        PROJECT, connect=in_process, on_settled=lambda result: settled.append(result["node_id"])
    )
    outcome = execute(orchestrator, flow, **inputs)
    assert outcome["error"] is None
    statuses = outcomes(orchestrator)
    ran = [node_id for node_id in settled if statuses[node_id] == "completed"]
    for executor in (None, in_process_executor):
        with DagsterInstance.ephemeral() as instance:
            run = run_in_dagster(flow, inputs, instance, executor, in_process)
        assert (run.success, run.result) == (True, outcome["result"])
        assert run.statuses == statuses
        started = [each.step_key for each in run.events if each.is_step_start]
        assert started == ran
    return ran


def test_a_sequence_goes_on_where_what_went_before_has_settled():
    """The first output leads to a chain, the third to one node, and the second to nothing."""
    flow = sequence(
        {"d": "sleep", "a": "sleep", "b": "sleep", "r": "return"},
        "it.then_3 > d, it.then_1 > a, a > b, b > r, d > r",
        count=3,
    )
    assert order_of(flow) == ["start", "it", "a", "b", "d", "r"]


def test_what_is_skipped_or_switched_off_in_a_sequence_holds_nothing_up():
    nodes = {"br": node("logic.branch"), "a": "sleep", "b": "sleep", "f": "control.fail",
             "off": node("sleep", disabled=True), "c": "sleep", "r": "return"}  # fmt: skip
    wires = (
        "start.flag - br.condition, it.then_1 > br, br.true > a, a > f, a > b, it.then_2 > off, "
        "it.then_3 > c, c > r, br.false > r"
    )
    assert order_of(sequence(nodes, wires, count=3)) == ["start", "it", "br", "c", "r"]
    nodes["it"] = node("control.sequence", values={"THEN": 3}, disabled=True)
    flow = sequence(nodes, f"{wires}, start > r", count=3)
    assert order_of(flow) == ["start", "r"]


def test_a_handled_failure_in_a_sequence_is_gone_on_after():
    flow = sequence(
        {"a": "boom", "h": "sleep", "b": "sleep", "c": "sleep", "r": "return"},
        "it.then_1 > a, a > b, a.error > h, it.then_2 > c, c > r",
    )
    assert order_of(flow) == ["start", "it", "a", "h", "c", "r"]


def test_what_two_outputs_of_a_sequence_lead_to_is_a_join():
    flow = sequence(
        {"b": "sleep", "join": "sleep", "a": "sleep", "r": "return"},
        "it.then_1 > a, it.then_1 > join, it.then_2 > b, it.then_2 > join, a > join, b > join, "
        "join > r",
    )
    assert order_of(flow) == ["start", "it", "a", "b", "join", "r"]


def test_sequences_in_sequences_go_on_one_after_another():
    inner = {"inner": node("control.sequence"), "c": "sleep", "b": "sleep", "a": "sleep"}
    flow = sequence(
        {**inner, "d": "sleep", "r": "return"},
        "it.then_1 > inner, inner.then_1 > a, inner.then_2 > b, a > c, it.then_2 > d, d > r, b > r",
    )
    assert order_of(flow) == ["start", "it", "inner", "a", "c", "b", "d", "r"]


def test_what_is_driven_by_data_of_a_sequence_belongs_to_it():
    """``x`` to the first output, as it needs ``a``; ``y`` to none, as it needs the second, too."""
    flow = sequence(
        {"b": node("constant", values={"VALUE": 2}), "a": node("constant", values={"VALUE": 1}),
         "x": node("add", values={"y": 0}), "y": "add", "r": "return"},
        "it.then_1 > a, it.then_2 > b, a.value - x.x, x.result - y.x, b.value - y.y, b > r, "
        "y.result - r.sum",
    )  # fmt: skip
    assert order_of(flow) == ["start", "it", "a", "x", "b", "y", "r"]


def test_a_variable_is_written_by_one_output_and_read_by_the_next():
    set_, get = (f"variables.{name}_variable" for name in ("set", "get"))
    flow = sequence(
        {"a": node("constant", values={"VALUE": 7}), "w": node(set_, values={"VARIABLE": "n"}),
         "b": "identity", "g": node(get, values={"VARIABLE": "n"}), "r": "return"},
        "it.then_1 > a, a.value - w.value, it.then_2 > b, g.value - b.value, b > r, "
        "b.value - r.n",
        variables={"n": {"type": "int", "default": 0}},
    )  # fmt: skip
    assert order_of(flow) == ["start", "it", "a", "w", "g", "b", "r"]


def test_a_node_that_needs_what_a_later_output_leads_to_is_told():
    flow = sequence(
        {"a": "identity", "b": "identity", "c": node("constant", values={"VALUE": 1}),
         "r": "return"},
        "it.then_1 > a, a > r, it.then_2 > b, c.value - b.value, b.value - a.value, b > r",
    )  # fmt: skip
    assert findings(flow, "sequence_order") == [
        "node 'it' exec output 'then_2': it leads to node 'b', which starts when node 'a' has "
        "settled, and 'a' waits for 'b'; swap the outputs, or wire both nodes behind one"
    ]


def test_two_sequences_that_wait_for_each_other_are_told():
    flow = sequence(
        {"other": "control.sequence", "a": "identity", "b": "identity", "c": "identity",
         "d": "identity", "r": "return"},
        "start > other, it.then_1 > a, it.then_2 > b, other.then_1 > c, other.then_2 > d, "
        "b.value - c.value, d.value - a.value, a > r, b > r, c > r, d > r",
    )  # fmt: skip
    for name in "bd":
        next(n for n in flow["nodes"] if n["id"] == name)["data"] = {"constantValues": {"value": 1}}
    assert "exec output 'then_2': it leads to node" in findings(flow, "sequence_order")[0]


@pytest.mark.parametrize("count", [0, -1, 101])
def test_a_number_of_outputs_that_cannot_be_is_told(count):
    flow = flow_of("control.sequence", {}, "", THEN=count)
    flow["nodes"] += [{"id": "r", "type": "return", "data": {}}]
    flow["edges"] += [{**draw({}, "start > r")["edges"][0], "id": "last"}]
    assert f"is {count}; set it to 1 up to 100" in findings(flow, "then")[0]


# --- all of them ----------------------------------------------------------------------------------


def test_every_control_node_is_known_and_all_are_built_in():
    loader = NodeLoader(NodeRegistry((BUILTIN_ROOT,)))
    classes = {path: loader.load_node_class(path) for path in builtin_registry().class_paths}
    control = {path: each for path, each in classes.items() if issubclass(each, ControlNode)}
    assert control == CONTROL_NODES


def test_a_control_node_takes_no_worker_and_has_none_of_its_options():
    flow = flow_of("logic.choose", TOTAL, "big known default", CASES=CASES)
    flow["nodes"][1]["data"] |= {"ray": {"num_gpus": 9}, "resident": True}
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    graph = orchestrator.load(flow)  # type: ignore[arg-type]
    orchestrator.connect()
    assert orchestrator.actor_manager is not None
    assert not orchestrator.actor_manager.needs_worker("it")
    assert "resident" not in graph["nodes"]["it"]
    assert graph["nodes"]["it"]["ray_options"] == {}
    orchestrator.close()


def test_a_secret_goes_into_no_control_node(monkeypatch):
    monkeypatch.setenv("TOKEN", "s3cr3t")
    secret = {"$env": "TOKEN"}
    wired = {"token": {"type": "str", "default": secret}}
    for kind, values in (
        ("logic.choose", {"CASES": {"a": "token == 'x'"}}),
        ("logic.assert", {"CONDITION": "token == 'x'"}),
    ):
        (told,) = findings(flow_of(kind, wired, "default" * (kind == "logic.choose") or "exec_out",
                                   **values), "control_secret")  # fmt: skip
        assert "node 'it' input 'token': it has a secret, and a control node takes none" in told
    plain = {"token": "str"}
    flow = flow_of("logic.assert", plain, "exec_out", CONDITION=secret)
    assert "constant 'CONDITION': it has a secret" in findings(flow, "control_secret")[0]
    flow = flow_of("logic.choose", plain, "a default", CASES={"a": "token == 's3cr3t'"})
    told = failure_of(flow, token=secret)
    assert "input 'token' has a secret, and a control node takes none" in told


def test_a_value_that_no_expression_can_read_is_one_clear_error():
    drawn = draw(
        {"start": "start", "make": "odd_nodes.kinds.GiveKindsNode", "r": "return",
         "it": node("logic.choose", values={"CASES": {"a": "x == 1"}})},
        "start > make, make > it, make.bytearray - it.x, it.a > r, it.default > r",
    )  # fmt: skip
    outcome = execute(FlowOrchestrator(PROJECT, connect=in_process), drawn)
    assert "'x' has bytearray, which no expression can read" in outcome["error"]
