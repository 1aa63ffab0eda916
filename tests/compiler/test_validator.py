"""``FlowValidator`` as the interface document has it."""

from itertools import pairwise

import pytest
from drawing import draw, node
from shapes import fixture_names, load_fixture

from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.errors import ValidationError

CYCLE = draw(
    {"s": "start", "a": "sleep", "b": "sleep", "r": "return"}, "s > a, a > b, b > a, b > r"
)
UNREACHABLE = draw({"s": "start", "a": "sleep", "r": "return"}, "s > a")
MISFIT = draw(
    {"s": node("start", inputs={"a": "str"}), "b": "logic.branch", "r": "return"},
    "s > b, b.true > r, b.false > r, s.a - b.condition",
)


@pytest.mark.parametrize(
    ("check", "flow", "said"),
    [
        ("_check_single_start", draw({"r": "return"}, ""), "no START"),
        ("_check_at_least_one_return", draw({"s": "start"}, ""), "no RETURN"),
        ("_check_all_nodes_reachable", UNREACHABLE, "node 'r'"),
        ("_check_return_nodes_reachable", UNREACHABLE, "no RETURN node can be reached"),
        ("_check_no_cycles", CYCLE, "a -> b -> a"),
        ("_check_type_compatibility", MISFIT, "gives str"),
    ],
)
def test_each_documented_check_returns_its_messages(loader, check, flow, said):
    validator = FlowValidator(loader)
    (message,) = getattr(validator, check)(flow)
    assert said in message
    for name in fixture_names():
        assert getattr(validator, check)(load_fixture(name)) == []
    assert "nodes: is missing" in getattr(validator, check)({})[0]


def test_without_a_loader_the_built_in_nodes_are_known():
    flow = draw(
        {"s": "start", "x": node("math.add", values={"x": 1, "y": 2}), "r": "return"},
        "s > x, x > r, x.result - r.sum",
    )
    assert FlowValidator().validate(flow) == (True, [])


def test_require_valid_raises_every_error_at_once(loader):
    flow = draw({"s": "start", "x": "math.add", "r": "return"}, "s > x, x > r")
    with pytest.raises(ValidationError) as caught:
        FlowValidator(loader).require_valid(flow, "sums")
    assert len(caught.value.findings) == 2
    assert "2 errors in flow 'sums'" in str(caught.value)
    FlowValidator(loader).require_valid(load_fixture("linear"))


def test_findings_are_those_of_the_last_flow(loader):
    validator = FlowValidator(loader)
    validator.validate(CYCLE)
    validator.validate(load_fixture("linear"))
    assert validator.findings == []


def test_ports_come_from_the_snapshot_when_a_class_is_not_importable(loader):
    snapshot = {"inputs": {"a": "int"}, "outputs": {"b": "str"}}
    flow = draw(
        {"s": "start", "x": node("gone.away.Node", **snapshot), "r": "return"},
        "s > x, x > r, s.a - x.c, x.b - r.b",
    )
    validator = FlowValidator(loader)
    validator.validate(flow)
    rules = {finding.rule: finding for finding in validator.findings}
    assert set(rules) == {"node_class", "unknown_port", "required_input"}
    assert rules["unknown_port"].port == "c"


def test_a_finding_names_the_node_by_id_and_label(loader):
    flow = draw(
        {"s": "start", "x": node("math.add", values={"x": 1}, label="合計"), "r": "return"},
        "s > x, x > r",
    )
    _, (error,) = FlowValidator(loader).validate(flow)
    assert error.startswith("node 'x' (合計) input 'y'")


def chain(length: int, kind: str = "flow_nodes.sleep.SleepNode"):
    ids = [f"n{number}" for number in range(length)]
    nodes = {"s": "start", **dict.fromkeys(ids, kind), "r": "return"}
    path = ["s", *ids, "r"]
    return draw(nodes, ",".join(f"{a} > {b}" for a, b in pairwise(path)))


def test_a_long_flow_is_no_deep_recursion(loader):
    assert FlowValidator(loader).validate(chain(3000)) == (True, [])


def test_a_flow_of_many_branches_is_decided(loader):
    nodes = {"s": node("start", inputs={"flag": "bool"})}
    wires, before = [], ["s"]
    for number in range(300):
        branch, yes, no, join = (f"{kind}{number}" for kind in ("b", "y", "n", "j"))
        nodes |= {branch: "logic.branch", yes: "constant", no: "constant", join: "identity"}
        wires += [
            f"{before[-1]} > {branch}",
            f"s.flag - {branch}.condition",
            f"{branch}.true > {yes}",
            f"{branch}.false > {no}",
            f"{yes} > {join}",
            f"{no} > {join}",
            f"{yes}.value - {join}.value",
            f"{no}.value - {join}.value",
        ]
        before.append(join)
    flow = draw({**nodes, "r": "return"}, ",".join([*wires, f"{before[-1]} > r"]))
    assert FlowValidator(loader).validate(flow) == (True, [])


def test_a_flow_with_too_many_branches_to_decide_is_still_answered(loader):
    nodes = {"s": node("start", inputs={"flag": "any"}), "r": "return", "join": "identity"}
    wires = ["s > c0", "s > r", "join.value - r.value"]
    for number in range(60):
        nodes |= {f"c{number}": "choose", f"x{number}": "constant"}
        wires += [
            f"s.flag - c{number}.which",
            f"c{number}.a > x{number}",
            f"c{number}.b > c{number + 1}" if number < 59 else "c59.b > join",
            f"x{number}.value - join.value",
        ]
    _, errors = FlowValidator(loader).validate(draw(nodes, ",".join(wires)))
    assert any("both lead into it" in error for error in errors)


def test_a_wide_merge_is_checked_as_a_whole(loader):
    nodes = {"s": node("start", inputs={"flag": "bool"}), "join": "identity", "r": "return"}
    wires = ["s > b0", "join > r"]
    for number in range(100):
        nodes |= {f"b{number}": "logic.branch", f"x{number}": "constant"}
        after = f"b{number + 1}" if number < 99 else "last"
        wires += [
            f"s.flag - b{number}.condition",
            f"b{number}.true > x{number}",
            f"b{number}.false > {after}",
            f"x{number} > join",
            f"x{number}.value - join.value",
        ]
    nodes["last"] = "constant"
    wires += ["last > join", "last.value - join.value"]
    assert FlowValidator(loader).validate(draw(nodes, ",".join(wires))) == (True, [])
    _, errors = FlowValidator(loader).validate(draw(nodes, ",".join([*wires, "s > x50"])))
    assert len(errors) == 1
    assert "'x50'" in errors[0]
