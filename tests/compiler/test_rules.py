"""One test per rule of the validator, named after the rule."""

from typing import Any

import pytest
from drawing import draw, node
from test_graph import build

from rayflow_dagster.compiler.findings import Finding
from rayflow_dagster.compiler.validator import FlowValidator

START_A = node("start", inputs={"a": "int"})
START_FLAG = node("start", inputs={"flag": "bool"})


@pytest.fixture
def check(loader):
    """The findings about a flow."""

    def findings_of(flow) -> list[Finding]:
        return list(FlowValidator(loader).check(flow))

    return findings_of


@pytest.fixture
def only(check):
    """The one finding about a flow, which must be of the given rule."""

    def finding_of(rule: str, flow) -> Finding:
        found = check(flow)
        assert [finding.rule for finding in found] == [rule], found
        return found[0]

    return finding_of


def said(finding: Finding, *texts: str) -> None:
    for text in texts:
        assert text in finding.message


def test_a_flow_without_findings_is_valid(loader):
    validator = FlowValidator(loader)
    flow = draw({"s": START_A, "r": "return"}, "s > r, s.a - r.a")
    assert validator.validate(flow) == (True, [])
    assert validator.findings == validator.warnings == []


def test_every_finding_comes_in_one_pass(loader):
    flow = draw(
        {"s": START_A, "add": "math.ad", "x": "identity", "r": "return"},
        "s > add, add > r, s.b - r.b, s.a - missing.a, x > x",
    )
    valid, errors = FlowValidator(loader).validate(flow)
    assert not valid
    assert len(errors) == 5  # the class, the endpoint, the cycle, unreachable x, x's input


def test_node_ids_that_differ_in_more_than_case_are_not_alike(check):
    nodes = {"s": "start", "straße": "sleep", "strasse": "return"}
    assert check(draw(nodes, "s > straße, straße > strasse")) == []


def test_decoration_is_a_warning(only):
    flow = draw({"s": "start", "g": "noteNode", "r": "return"}, "s > r")
    finding = only("decoration", flow)
    said(finding, "'g' ('noteNode'): it is not wired and names no class")
    assert (finding.severity, finding.node) == ("warning", "g")


def test_a_wired_word_that_is_no_class_is_not_likened_to_one(only):
    finding = only(
        "node_class", draw({"s": "start", "n": "noteNode", "r": "return"}, "s > n, n > r")
    )
    assert "did you mean" not in finding.message


@pytest.mark.parametrize("place", ["node", "data", "both"])
def test_a_disabled_node_and_what_only_it_leads_to_are_warned_of(check, place):
    flow = draw(
        {"s": "start", "x": "math.add", "y": node("sleep", values={"value": 1}), "r": "return"},
        "s > x, x > y, s > r, s.a - x.x, s.a - x.y",
    )
    if place != "data":
        flow["nodes"][1]["disabled"] = True
    flow["nodes"][1]["data"]["disabled"] = place != "node"
    found = check(flow)
    assert [(each.rule, each.severity, each.node) for each in found] == [
        ("disabled", "warning", "x"),
        ("disabled", "warning", "y"),
    ]
    said(found[0], "it is disabled")
    said(found[1], "only disabled nodes lead to it")


def test_what_is_led_to_by_another_node_too_goes_on(only):
    flow = draw(
        {"s": "start", "x": node("sleep", disabled=True), "r": "return"}, "s > x, x > r, s > r"
    )
    assert only("disabled", flow).node == "x"


def test_a_flow_whose_returns_are_all_behind_disabled_nodes_is_refused(check):
    flow = draw({"s": "start", "x": node("sleep", disabled=True), "r": "return"}, "s > x, x > r")
    errors = [finding.rule for finding in check(flow) if finding.severity == "error"]
    assert errors == ["return_nodes_reachable"]


def test_a_disabled_start_leaves_nothing_to_run(check):
    flow = draw({"s": node("start", disabled=True), "r": "return"}, "s > r")
    said(check(flow)[0], "'s'", "it is START", "enable it")


def test_a_value_of_a_disabled_node_needs_a_stand_in(only, check):
    flow = draw(
        {"s": "start", "x": node("constant", disabled=True), "c": "identity", "r": "return"},
        "s > x, x > c, s > c, x.value - c.value, c > r",
    )
    assert "skipped_source" in [finding.rule for finding in check(flow)]
    flow["nodes"][2]["data"]["constantValues"] = {"value": 5}
    assert only("disabled", flow).node == "x"


def test_disabled_is_true_or_false(only):
    flow = draw({"s": "start", "r": node("return", disabled="yes")}, "s > r")
    said(only("node_options", flow), "'r' data.disabled", "'yes'")


def test_a_node_id_that_stands_twice_is_refused(only):
    flow = draw({"s": "start", "r": "return"}, "s > r")
    flow["nodes"].append(dict(flow["nodes"][1]))
    finding = only("duplicate_id", flow)
    assert finding.node == "r"
    said(finding, "node 'r'", "2 nodes have this id", "give each node")


def test_node_ids_that_differ_only_in_case_are_refused(only):
    flow = draw(
        {"s": "start", "Straße": "sleep", "STRAßE": "return"}, "s > Straße, Straße > STRAßE"
    )
    finding = only("duplicate_id", flow)
    assert finding.node == "STRAßE"
    said(finding, "'Straße'", "'STRAßE'", "differ only in case", "rename")


def test_a_data_wire_drawn_twice_is_one_finding(only):
    flow = draw({"s": START_A, "r": "return"}, "s > r, s.a - r.a, s.a - r.a")
    finding = only("repeated_edge", flow)
    assert finding.edge == "e3"
    said(finding, "the same wire as edge 'e2'", "delete one")


def test_an_edge_id_that_stands_twice_is_refused(only):
    flow = draw({"s": "start", "x": "sleep", "r": "return"}, "s > x, x > r")
    flow["edges"][1]["id"] = "e1"
    finding = only("duplicate_id", flow)
    assert finding.edge == "e1"


def test_a_flow_without_start_is_refused(check):
    found = check(draw({"r": "return"}, ""))
    assert [finding.rule for finding in found] == ["single_start"]
    said(found[0], "no START", "add one")


def test_two_starts_are_refused(only):
    finding = only(
        "single_start", draw({"s": "start", "t": "start", "r": "return"}, "s > r, t > r")
    )
    assert finding.node == "t"
    said(finding, "2 START nodes", "'s'", "'t'", "keep one")


def test_a_flow_without_return_is_refused(only):
    finding = only("at_least_one_return", draw({"s": "start"}, ""))
    said(finding, "no RETURN", "add one")


@pytest.mark.parametrize(("role", "wire"), [("source", "retrun > end"), ("target", "s > retrun")])
def test_an_edge_to_a_missing_node_is_refused_with_the_likely_one(only, role, wire):
    flow = draw(
        {"s": "start", "return": "sleep", "end": "return"}, f"s > return, return > end, {wire}"
    )
    finding = only("unknown_node", flow)
    assert finding.edge == "e3"
    said(finding, "edge 'e3'", role, "'retrun'", "draw the edge again", "did you mean 'return'?")


def test_an_unknown_output_is_refused_with_the_likely_one(check):
    flow = draw(
        {"s": START_A, "x": "identity", "r": "return"},
        "s > x, x > r, s.a - x.value, x.valeu - r.value",
    )
    (finding,) = check(flow)
    assert (finding.rule, finding.node, finding.port, finding.edge) == (
        "unknown_port",
        "x",
        "valeu",
        "e4",
    )
    said(finding, "node 'x' output 'valeu'", "data outputs: value", "did you mean 'value'?")


def test_an_unknown_input_is_refused_with_the_likely_one(check):
    flow = draw({"s": START_A, "x": "sleep", "r": "return"}, "s > x, x > r, s.a - x.vlaue")
    (finding,) = check(flow)
    assert (finding.rule, finding.node, finding.port) == ("unknown_port", "x", "vlaue")
    said(finding, "node 'x' input 'vlaue'", "did you mean 'value'?")


def test_a_wire_to_what_an_expression_reads_is_told_to_be_needless(check):
    add = node("add", values={"x": 1, "y": {"$expr": "a * 2"}})
    flow = draw({"s": START_A, "add": add, "r": "return"}, "s > add, add > r, s.a - add.a")
    (finding,) = check(flow)
    said(finding, "no data input of this name (data inputs: x, y); the expression of 'y' reads 'a' "
                  "without a wire: delete the edge")  # fmt: skip


def test_an_unknown_exec_output_is_refused_with_the_known_ones(check):
    flow = draw(
        {"s": START_FLAG, "b": "logic.branch", "r": "return"},
        "s > b, b.true > r, b.flase > r, s.flag - b.condition",
    )
    finding = next(finding for finding in check(flow) if finding.rule == "unknown_port")
    said(finding, "exec outputs: true, false, error", "did you mean 'false'?")


def test_nothing_can_be_wired_out_of_a_return(only):
    nodes = {"s": START_A, "r": "return", "x": "sleep"}
    wires = "s > r, s.a - r.a, r.result - x.value"
    flow = draw(nodes, wires, settings={"ends": "all_settled"})
    finding = only("unknown_port", flow)
    assert finding.node == "r"


def test_an_exec_edge_into_start_is_refused(check):
    flow = draw({"s": "start", "x": "sleep", "r": "return"}, "s > x, x > r, x > s")
    assert "unknown_port" in {finding.rule for finding in check(flow)}


@pytest.mark.parametrize("wire", ["s.exec_out - x.value", "s.a > x"])
def test_exec_wired_to_data_is_refused(check, wire):
    found = check(draw({"s": START_A, "x": "sleep", "r": "return"}, f"s > x, x > r, {wire}"))
    (finding,) = [finding for finding in found if finding.rule == "exec_wired_to_data"]
    assert (finding.node, finding.edge) == ("s", "e3")
    said(finding, "node 's'", "edge 'e3'", "join exec with exec and data with data")


def test_the_same_wire_drawn_twice_is_refused(only):
    flow = draw({"s": START_A, "r": "return"}, "s > r, s.a - r.a, s > r")
    finding = only("repeated_edge", flow)
    assert finding.edge == "e3"
    said(finding, "same wire as edge 'e1'", "delete one")


def test_a_cycle_is_refused_with_its_path(check):
    flow = draw(
        {"s": "start", "a": "sleep", "b": "sleep", "c": "sleep", "r": "return"},
        "s > a, a > b, b > c, c > a, c > r",
    )
    (finding,) = check(flow)
    assert (finding.rule, finding.node) == ("no_cycles", "a")
    said(finding, "a -> b -> c -> a", "wait for each other", "delete one")


def test_a_cycle_over_data_edges_is_refused(check):
    flow = draw(
        {"s": "start", "a": "sleep", "b": "sleep", "r": "return"},
        "s > a, a > b, b > r, b.value - a.value",
    )
    (finding,) = check(flow)
    assert finding.rule == "no_cycles"
    said(finding, "a -> b -> a")


def test_a_node_wired_to_itself_is_a_cycle(check):
    flow = draw({"s": "start", "a": "sleep", "r": "return"}, "s > a, a > a, a > r")
    (finding,) = check(flow)
    said(finding, "a -> a")


def test_a_node_that_start_does_not_lead_to_is_refused(only):
    flow = draw({"s": START_A, "x": "sleep", "r": "return"}, "s > r, s.a - r.a")
    finding = only("all_nodes_reachable", flow)
    assert finding.node == "x"
    said(finding, "node 'x'", "nothing leads to it", "wire an exec edge")


def test_nodes_that_only_feed_data_need_no_way_from_start(check):
    nodes = {
        "s": "start",
        "five": node("constant", values={"VALUE": 5}),
        "more": "identity",
        "last": "identity",
        "r": "return",
    }
    assert not check(
        draw(nodes, "s > r, five.value - more.value, more.value - last.value, last.value - r.value")
    )


def test_a_return_that_start_does_not_lead_to_is_refused(check):
    found = check(draw({"s": "start", "x": "sleep", "r": "return"}, "s > x"))
    finding = next(finding for finding in found if finding.rule == "return_nodes_reachable")
    assert finding.node == "r"
    said(finding, "no RETURN", "could never give a result", "wire an exec edge")


def test_types_that_do_not_fit_are_refused(only):
    flow = draw(
        {
            "s": node("start", inputs={"a": "str"}),
            "x": node("math.add", values={"y": 1}),
            "r": "return",
        },
        "s > x, x > r, s.a - x.x",
    )
    finding = only("type_compatibility", flow)
    assert (finding.node, finding.port, finding.edge) == ("x", "x", "e3")
    said(finding, "node 's' output 'a' gives str", "node 'x' input 'x' takes float", "converts")


@pytest.mark.parametrize("word", ["intt", "list[", 5, "__import__('os').system('x')", "'a b'"])
def test_a_declared_type_that_is_none_is_refused(only, word):
    finding = only(
        "declared_type", draw({"s": node("start", inputs={"a": word}), "r": "return"}, "s > r")
    )
    assert (finding.node, finding.port) == ("s", "a")


def test_declared_inputs_that_are_no_object_are_refused(only):
    only("declared_type", draw({"s": node("start", inputs=["a"]), "r": "return"}, "s > r"))


@pytest.mark.parametrize("name", ["a b", "", "1st", "self", "exec_next"])
def test_a_declared_name_that_cannot_be_an_input_is_refused(only, name):
    flow = draw({"s": node("start", inputs={name: "int"}), "r": "return"}, "s > r")
    assert only("declared_name", flow).port == name


@pytest.mark.parametrize("kind", ["start", "return"])
def test_a_declared_default_of_the_wrong_type_is_refused(only, kind):
    flow = draw({"s": "start", "r": "return"}, "s > r")
    drawn = next(each for each in flow["nodes"] if each["type"] == kind)
    drawn["data"] = {"inputs": {"a": {"type": "int", "default": "two"}}}
    finding = only("declared_default", flow)
    assert (finding.node, finding.port) == (drawn["id"], "a")
    said(finding, "'two' is not int")


def test_a_constant_of_the_wrong_type_is_refused(only):
    flow = draw(
        {"s": "start", "x": node("sleep", values={"SECONDS": "long"}), "r": "return"},
        "s > x, x > r",
    )
    finding = only("constant_value", flow)
    assert (finding.node, finding.port) == ("x", "SECONDS")
    said(finding, "constant 'SECONDS'", "'long'", "not float", "correct it")


def test_a_value_of_the_wrong_type_at_an_unwired_input_is_refused(only):
    flow = draw(
        {"s": "start", "x": node("math.add", values={"x": 1, "y": "2"}), "r": "return"},
        "s > x, x > r",
    )
    said(only("constant_value", flow), "input 'y'", "not float")


def test_constant_values_that_are_no_object_are_refused(only):
    flow = draw({"s": "start", "x": node("sleep", values=[1]), "r": "return"}, "s > x, x > r")
    assert only("constant_value", flow).node == "x"


def test_a_value_under_an_unknown_name_is_a_warning(only):
    flow = draw(
        {"s": "start", "x": node("sleep", values={"SECOND": 1}), "r": "return"}, "s > x, x > r"
    )
    finding = only("unknown_constant", flow)
    assert finding.severity == "warning"
    said(finding, "'SECOND'", "did you mean 'SECONDS'?")


def test_an_input_without_any_value_is_refused(only):
    flow = draw(
        {"s": "start", "x": node("math.add", values={"y": 1}, label="Sum"), "r": "return"},
        "s > x, x > r",
    )
    finding = only("required_input", flow)
    assert (finding.node, finding.port) == ("x", "x")
    said(
        finding,
        "node 'x' (Sum) input 'x' (float)",
        "no wire, no constant and no default",
        "wire it",
    )


def test_two_data_edges_that_one_run_can_bring_both_are_refused(only):
    flow = draw(
        {"s": START_A, "x": "identity", "y": "identity", "r": "return"},
        "s > x, s > y, x > r, y > r, s.a - x.value, s.a - y.value, x.value - r.a, y.value - r.a",
    )
    finding = only("two_data_edges", flow)
    assert (finding.node, finding.port, finding.edge) == ("r", "a", "e8")
    said(finding, "'e7' (from 'x')", "'e8' (from 'y')", "one run can fire both", "if/else")


def test_an_input_whose_source_may_be_skipped_is_refused(only):
    flow = draw(
        {"s": START_FLAG, "b": "logic.branch", "x": "constant", "r": "return"},
        "s > b, b.true > x, x > r, b.false > r, s.flag - b.condition, x.value - r.value",
    )
    finding = only("skipped_source", flow)
    assert (finding.node, finding.port, finding.edge) == ("r", "value", "e6")
    said(finding, "source 'x' may be skipped", "no constant or default")


def test_two_returns_of_one_run_are_a_warning(only):
    flow = draw({"s": "start", "r": "return", "t": "return"}, "s > r, s > t")
    finding = only("several_returns", flow)
    assert finding.severity == "warning"
    said(finding, "'r'", "'t'", "first one reached")


def test_a_node_that_a_return_does_not_wait_for_is_a_warning(only):
    nodes = {"s": "start", "r": "return"} | dict.fromkeys("abcd", "constant")
    wires = "s > r, s > a, a > b, b > c, c > d"
    finding = only("unawaited_nodes", draw(nodes, wires))
    assert (finding.severity, finding.node) == ("warning", "a")
    said(finding, "nodes 'a', 'b', 'c', ...", "all_settled")


@pytest.mark.parametrize(
    "wires",
    [
        "s > a, a > b, b > r",
        "s > r, s > a, a > b, b.value - r.b",
        "s > c, c.true > a, a > b, c.false > r, b > t",  # a, b run where t ends the flow
    ],
)
def test_nodes_that_the_return_of_their_run_waits_for_are_fine(loader, wires):
    nodes = {"s": START_FLAG, "c": "logic.branch", "a": "constant", "b": "constant"}
    values = {"b": {"type": "any", "default": None}}
    nodes |= {"r": node("return", inputs=values), "t": "return"}
    drawn = {key: each for key, each in nodes.items() if f"{key} " in wires or f"> {key}" in wires}
    flow = draw(drawn, wires + (", s.flag - c.condition" if "c" in drawn else ""))
    validator = FlowValidator(loader)
    assert validator.validate(flow) == (True, [])
    assert validator.warnings == []


def test_a_flow_that_ends_when_all_has_settled_leaves_nothing_out(loader):
    nodes = {"s": "start", "r": "return", "a": "constant"}
    flow = draw(nodes, "s > r, s > a", settings={"ends": "all_settled"})
    validator = FlowValidator(loader)
    assert validator.validate(flow) == (True, [])
    assert validator.warnings == []


def test_an_exec_output_that_leads_nowhere_is_a_warning(loader):
    validator = FlowValidator(loader)
    flow = draw(
        {"s": START_FLAG, "b": "logic.branch", "r": "return"},
        "s > b, b.true > r, s.flag - b.condition",
    )
    assert validator.validate(flow) == (True, [])
    assert len(validator.warnings) == 1
    (finding,) = validator.findings
    assert (finding.rule, finding.node, finding.port) == ("loose_exec_output", "b", "false")


def test_the_error_value_of_an_unhandled_node_is_refused(only):
    flow = draw({"s": "start", "x": "boom", "r": "return"}, "s > x, x > r, x.error - r.error")
    finding = only("unhandled_error", flow)
    assert (finding.node, finding.port) == ("x", "error")


def test_the_normal_outputs_of_a_failed_node_are_absent(only):
    flow = draw(
        {"s": "start", "x": "boom", "r": "return"}, "s > x, x > r, x.error > r, x.value - r.value"
    )
    assert only("skipped_source", flow).port == "value"


@pytest.mark.parametrize("kind", ["get", "set", "increment"])
def test_an_undeclared_variable_is_refused_with_the_likely_one(only, kind):
    values = {"VARIABLE": "conter", **({"value": 1} if kind == "set" else {})}
    flow = draw(
        {"s": "start", "x": node(f"variables.{kind}_variable", values=values), "r": "return"},
        "s > x, x > r",
        variables={"counter": {"type": "int"}},
    )
    finding = only("variable_declared", flow)
    assert finding.node == "x"
    said(finding, "'conter' is not declared", "declared: counter", "did you mean 'counter'?")


def test_a_read_only_variable_may_be_read_and_not_written(check, only):
    def flow(kind, **values):
        return draw(
            {"s": "start", "x": node(kind, values={"VARIABLE": "v", **values}), "r": "return"},
            "s > x, x > r",
            variables={"v": {"type": "int", "default": 0, "readonly": True}},
        )

    assert not check(flow("variables.get_variable"))
    assert only("variable_readonly", flow("variables.set_variable", value=1)).node == "x"


def test_a_variable_is_typed_on_write(only):
    flow = draw(
        {
            "s": node("start", inputs={"a": "str"}),
            "x": node("variables.set_variable", values={"VARIABLE": "v"}),
            "r": "return",
        },
        "s > x, x > r, s.a - x.value",
        variables={"v": {"type": "int"}},
    )
    said(only("type_compatibility", flow), "takes int")


@pytest.mark.parametrize(
    "variables",
    [
        5,
        "counter",
        [5],
        [{"type": "int"}],
        [{"name": "a"}, {"name": "a"}],
        {"a": 5},
        {"": {}},
        {"a": {"type": "intt"}},
        {"a": {"type": 5}},
        {"a": {"type": "int", "default": "x"}},
        {"a": {"type": "int", "readonly": "yes"}},
    ],
)
def test_a_malformed_declaration_of_variables_is_refused(only, variables):
    only("variable_declaration", draw({"s": "start", "r": "return"}, "s > r", variables=variables))


def test_a_variable_named_by_no_text_is_refused(check):
    flow = draw(
        {
            "s": "start",
            "x": node("variables.get_variable", values={"VARIABLE": [1]}),
            "r": "return",
        },
        "s > x, x > r",
        variables={"v": {}},
    )
    assert {finding.rule for finding in check(flow)} == {"constant_value", "variable_declared"}


def _get(name: str) -> dict[str, Any]:
    return node("variables.get_variable", values={"VARIABLE": name})


def _set(name: str) -> dict[str, Any]:
    return node("variables.set_variable", values={"VARIABLE": name})


def _with_variables(wires: str, **nodes: Any) -> dict[str, Any]:
    start = node("start", inputs={"a": "any", "yes": "bool"})
    variables: dict[str, Any] = {"u": {}, "v": {}}
    ends = {"ends": "all_settled"}
    return draw({"s": start, **nodes, "r": "return"}, wires, variables=variables, settings=ends)


def test_a_data_driven_read_has_one_moment_in_a_run(only, check):
    wires = "x > i, y > j, i > r, j > r, v.value - i.value, v.value - j.value"
    nodes = {"x": "identity", "y": "identity", "i": "identity", "j": "identity", "v": _get("v")}
    values = "s.a - x.value, s.a - y.value"
    finding = only(
        "variable_read_moment", _with_variables(f"s > x, s > y, {wires}, {values}", **nodes)
    )
    assert finding.node == "v"
    said(finding, "nodes 'i' and 'j' need it at different moments", "wire exec edges")
    either = f"s > b, s.yes - b.condition, b.true > x, b.false > y, {wires}, {values}"
    assert not check(_with_variables(either, b="logic.branch", **nodes))
    along = "s > i, i > j, j > r, v.value - i.value, v.value - j.value"
    assert not check(_with_variables(along, i="identity", j="identity", v=_get("v")))


def test_two_data_driven_writes_in_a_run_need_an_order(only, check):
    nodes = {"one": _set("v"), "two": _set("v")}
    finding = only(
        "variable_write_order",
        _with_variables("s > r, s.a - one.value, s.a - two.value", **nodes),
    )
    assert finding.node in nodes
    said(finding, "both write variable 'v'", "no wire says which comes first")
    assert not check(_with_variables("s > r, s.a - one.value, one.value - two.value", **nodes))
    either = (
        "s > b, s.yes - b.condition, b.true > i, b.false > j, i > r, j > r, s.a - i.value,"
        "s.a - j.value, i.value - one.value, j.value - two.value"
    )
    branching = {"b": "logic.branch", "i": "identity", "j": "identity"}
    assert not check(_with_variables(either, **branching, **nodes))


def test_a_read_that_no_exec_driven_node_needs_comes_before_what_is_written(loader):
    flow = _with_variables(
        "s > w, w > r, s.a - w.value, s.a - p.x, v.value - p.y", w=_set("v"), p="add", v=_get("v")
    )
    assert FlowValidator(loader).resolve(flow).dependencies["w"] == ["s", "v"]


def test_data_driven_writes_that_wait_for_each_other_are_a_circle(only):
    flow = _with_variables(
        "s > r, s.a - p.x, gu.value - p.y, p.result - wv.value, s.a - q.x, gv.value - q.y,"
        "q.result - wu.value, gu.value - r.x, gv.value - r.y",
        gu=_get("u"),
        gv=_get("v"),
        wu=_set("u"),
        wv=_set("v"),
        p="add",
        q="add",
    )
    finding = only("variable_circle", flow)
    assert finding.node in ("gu", "gv", "wu", "wv")
    said(finding, "wait for each other in a circle")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"retry": {"max": "2"}}, "data.retry.max"),
        ({"retry": {"max": True}}, "data.retry.max"),
        ({"retry": {"max": 1, "delay": -1}}, "data.retry.delay"),
        ({"retry": {"max": 1, "delay": "1"}}, "data.retry.delay"),
        ({"retry": {"delay": 1}}, "data.retry.max: is missing"),
        ({"retry": {"max": 1, "backof": "linear"}}, "did you mean 'backoff'?"),
        ({"retry": {"max": 1, "backoff": "cubic"}}, "'linear' or 'exponential'"),
        ({"retry": 3}, "data.retry"),
        ({"retry": {"max": 1, "max_delay": 0}}, "data.retry.max_delay"),
        ({"retry": {"max": 1, "max_dely": 5}}, "did you mean 'max_delay'?"),
        ({"retry": {"max": 1, "retry_on": "timeout"}}, "data.retry.retry_on: must be a list"),
        (
            {"retry": {"max": 1, "retry_on": []}},
            "data.retry.retry_on: names no error; leave the key out to retry after all",
        ),
        (
            {"retry": {"max": 1, "retry_on": ["ValueError", "no route"]}},
            "data.retry.retry_on[1]: must be the name of an exception class such as",
        ),
        ({"retry": {"max": 1, "retry_on": ["a..B"]}}, '"timeout" or "crash", not \'a..B\''),
        ({"retry": {"max": 1, "retry_on": [3]}}, "data.retry.retry_on[0]"),
        ({"ray": {"num_cpu": 1}}, "did you mean 'num_cpus'?"),
        ({"ray": {"num_cpus": "all"}}, "data.ray.num_cpus"),
        ({"ray": []}, "data.ray"),
        ({"pool": "a b"}, "data.pool"),
        ({"priority": "1"}, "data.priority"),
        ({"tags": ["a"]}, "data.tags"),
        ({"description": 1}, "data.description"),
        ({"resident": "yes"}, "data.resident: input should be a valid boolean, not 'yes'"),
        ({"resident": 1}, "data.resident"),
        ({"resident_ttl": 0}, "data.resident_ttl: input should be greater than 0, not 0"),
        ({"resident_ttl": "60"}, "data.resident_ttl"),
        ({"resident_ttl": True}, "data.resident_ttl"),
    ],
)
def test_a_malformed_option_of_a_node_is_refused(only, options, text):
    finding = only(
        "node_options",
        draw({"s": "start", "x": node("sleep", **options), "r": "return"}, "s > x, x > r"),
    )
    assert finding.node == "x"
    said(finding, "node 'x'", text)


@pytest.mark.parametrize(
    ("flow", "data", "text"),
    [
        ({"on_eror": "stop"}, {}, "flow key on_eror: nothing reads this key; did you mean"),
        ({"settings": {"durabel": False}}, {}, "flow key settings.durabel"),
        ({}, {"residnet": True}, "node 'x' data.residnet"),
        ({}, {"resident_tll": 5}, "did you mean 'resident_ttl'?"),
    ],
)
def test_a_key_that_is_nearly_an_option_is_pointed_out(only, flow, data, text):
    drawn = draw({"s": "start", "x": node("sleep", **data), "r": "return"}, "s > x, x > r", **flow)
    finding = only("misspelled_option", drawn)
    assert finding.severity == "warning"
    said(finding, text)


def test_a_key_of_an_editor_is_nobodys_business(check):
    own = {"position": 1, "colour": "red", "width": 3, "ports": {}, "typ": "x"}
    drawn = draw(
        {"s": "start", "x": node("sleep", **own), "r": "return"}, "s > x, x > r", viewport={}
    )
    assert check(drawn) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"on_error": "ignore"}, "'stop' or 'continue'"),
        ({"settings": 1}, "settings: must be an object with keys, {...}, not 1"),
        ({"settings": {"retry": {"max": -1}}}, "settings.retry.max"),
        ({"settings": {"ray": {"num_cpu": 1}}}, "did you mean 'num_cpus'?"),
        ({"settings": {"durable": "no"}}, "settings.durable: input should be a valid boolean"),
        ({"settings": {"durable": 0}}, "settings.durable"),
        ({"settings": {"storage": ""}}, "settings.storage: must be a folder or a URL"),
        ({"settings": {"storage": "  "}}, "settings.storage"),
        ({"settings": {"storage": ["s3://x"]}}, "settings.storage"),
    ],
)
def test_a_malformed_option_of_the_flow_is_refused(only, options, text):
    said(only("flow_options", draw({"s": "start", "r": "return"}, "s > r", **options)), text)


@pytest.mark.parametrize("where", ["data", "settings", "class"])
def test_an_option_without_effect_is_told_and_moves_no_node(only, loader, where):
    ray = {"max_concurrency": 4}
    kind = "flow_nodes.wide_async.WideAsyncNode" if where == "class" else "sleep"
    x = node(kind, **({"ray": ray} if where == "data" else {}))
    settings = {"settings": {"ray": ray}} if where == "settings" else {}
    flow = draw({"s": "start", "x": x, "r": "return"}, "s > x, x > r", **settings)

    found = only("idle_option", flow)

    said(found, "max_concurrency: it has no effect")
    assert found.severity == "warning"
    assert build(flow, loader)["nodes"]["x"]["ray_options"] == {}


def test_a_runtime_env_is_refused_unless_the_project_allows_it(only, loader):
    ray = {"runtime_env": {"pip": ["x"]}}
    flow = draw({"s": "start", "x": node("sleep", ray=ray), "r": "return"}, "s > x, x > r")
    assert only("runtime_env", flow).node == "x"
    assert FlowValidator(loader, allow_runtime_env=True).validate(flow) == (True, [])
    only("runtime_env", draw({"s": "start", "r": "return"}, "s > r", settings={"ray": ray}))


@pytest.mark.parametrize(
    ("storage", "storages", "is_fine"),
    [
        ("s3://flows/a", ("s3://flows",), True),
        ("s3://flows", ("/mnt", "s3://flows/"), True),
        ("s3://flows-of-others", ("s3://flows",), False),
        ("s3://flows/../others", ("s3://flows",), False),
        ("file:///mnt/a", ("/mnt",), True),
        ("/mnt/../etc", ("/mnt",), False),
        ("/mnt", (), False),
        ("memory://x", ("s3://flows", "/mnt"), False),
    ],
)
def test_values_are_stored_where_the_project_lets_a_flow_have_them(
    loader, storage, storages, is_fine
):
    flow = draw({"s": "start", "r": "return"}, "s > r", settings={"storage": storage})
    validator = FlowValidator(loader, storages=storages)
    assert validator.validate(flow)[0] == is_fine
    if not is_fine:
        (found,) = validator.findings
        assert found.rule == "unlisted_storage"
        assert f"'{storage}' is not among the storages of this project" in found.message


def test_an_unknown_class_is_refused_with_the_likely_one(check):
    found = check(
        draw(
            {"s": "start", "x": "rayflow_dagster.nodes.math.add.AdNode", "r": "return"},
            "s > x, x > r",
        )
    )
    assert [finding.rule for finding in found] == ["node_class"]
    said(found[0], "node 'x'", "did you mean 'rayflow_dagster.nodes.math.add.AddNode'?")


def test_a_finding_in_json_has_the_documented_keys():
    finding = Finding("rule", "text", "warning", "n", "p", "e")
    assert finding.as_dict() == {
        "rule": "rule",
        "severity": "warning",
        "message": "text",
        "node": "n",
        "port": "p",
        "edge": "e",
    }
