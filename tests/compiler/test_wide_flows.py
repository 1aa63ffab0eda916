"""Flows of many branches: what is decided whatever the drawing order, and what is too hard."""

import random
from typing import Any

import pytest
from drawing import draw, node

from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.rules.runs import uncertain_inputs
from rayflow_dagster.compiler.validator import FlowValidator

START = node("start", inputs={"f": "bool"})
MERGE = "p.true > x, p.false > y, x.value - m.value, y.value - m.value, x > m, y > m,"


def shuffled(flow: dict[str, Any], seed: int) -> dict[str, Any]:
    """The flow, drawn in another order."""
    order = random.Random(seed)
    nodes, edges = list(flow["nodes"]), list(flow["edges"])
    order.shuffle(nodes)
    order.shuffle(edges)
    return {**flow, "nodes": nodes, "edges": edges}


def pairs_beside_a_merge(count: int) -> dict[str, Any]:
    """``count`` parallel ways over two branches to a join, and one plain if/else."""
    nodes = {"s": START, "join": "identity", "p": "logic.branch", "m": "identity", "r": "return"}
    nodes |= {"x": "constant", "y": "constant", "both": "identity"}
    wires = f"s > p, s.f - p.condition, {MERGE} m > both, join > both, both > r,"
    wires += "s.f - join.value, m.value - both.value"
    for n in range(count):
        nodes |= {f"a{n}": "logic.branch", f"b{n}": "logic.branch"}
        wires += f",s > a{n}, a{n}.true > b{n}, b{n}.true > join"
        wires += f",s.f - a{n}.condition, s.f - b{n}.condition"
    return draw(nodes, wires)


@pytest.mark.parametrize("order", range(12))
@pytest.mark.parametrize("count", [17, 60])
def test_parallel_branches_are_decided_in_any_order_of_drawing(
    count: int, order: int, loader: NodeLoader
) -> None:
    validator = FlowValidator(loader)
    assert validator.validate(shuffled(pairs_beside_a_merge(count), order)) == (True, [])
    assert {finding.rule for finding in validator.findings} <= {"loose_exec_output"}


def pairs_seen_twice(count: int) -> dict[str, Any]:
    """``pairs_beside_a_merge``, of which one side of the first branches leads to the end, and a
    merge of the join's value and of a sum that needs every pair to fail.
    """
    nodes: dict[str, Any] = {"early": "identity", "k0": "constant", "last": "identity"}
    wires = f"s.f - early.value, s > k0, join.value - last.value, k{count}.result - last.value"
    for n in range(count):
        nodes |= {f"u{n}": "constant", f"v{n}": "constant", f"w{n}": "identity"}
        nodes[f"k{n + 1}"] = "add"
        wires += f",a{n}.false > u{n}, b{n}.false > v{n}, u{n} > early"
        wires += f",u{n}.value - w{n}.value, v{n}.value - w{n}.value, w{n}.value - k{n + 1}.x"
        wires += f",k{n}.{'result' if n else 'value'} - k{n + 1}.y"
    wires += ",last > early"
    old, new = pairs_beside_a_merge(count), draw(nodes, wires)
    edges = [{**edge, "id": f"e{at}"} for at, edge in enumerate([*old["edges"], *new["edges"]])]
    return {"nodes": [*old["nodes"], *new["nodes"]], "edges": edges}


@pytest.mark.parametrize("order", range(6))
def test_what_is_hard_in_the_order_of_the_whole_flow_is_decided_in_its_own(
    order: int, loader: NodeLoader
) -> None:
    assert FlowValidator(loader).validate(shuffled(pairs_seen_twice(40), order)) == (True, [])


def error_handled(count: int) -> dict[str, Any]:
    """``count`` nodes in a row, each with its error handled by a node that goes on in its place."""
    nodes: dict[str, Any] = {"s": START, "j0": "identity", "r": "return"}
    wires = f"s > j0, s.f - j0.value, j{count} > r, j{count}.value - r.value"
    for n in range(count):
        nodes |= {f"t{n}": "identity", f"h{n}": "constant", f"j{n + 1}": "identity"}
        wires += f",j{n} > t{n}, t{n}.error > h{n}, t{n} > j{n + 1}, h{n} > j{n + 1}"
        wires += f",j{n}.value - t{n}.value, t{n}.value - j{n + 1}.value"
        wires += f",h{n}.value - j{n + 1}.value"
    return draw(nodes, wires)


def errors_to_one_place(count: int) -> dict[str, Any]:
    """``count`` nodes in a row, all of whose errors one node handles."""
    nodes: dict[str, Any] = {"s": START, "t0": "identity", "h": "collect", "r": "return"}
    wires = f"s > t0, s.f - t0.value, t0.error > h, h > r, t{count} > r"
    for n in range(count):
        nodes[f"t{n + 1}"] = "identity"
        wires += f",t{n} > t{n + 1}, t{n}.value - t{n + 1}.value, t{n + 1}.error > h"
    return draw(nodes, wires)


@pytest.mark.parametrize("flow", [error_handled, errors_to_one_place])
@pytest.mark.parametrize("count", [380, 1000])
def test_handled_errors_in_a_row_are_decided(flow: Any, count: int, loader: NodeLoader) -> None:
    validator = FlowValidator(loader)
    assert validator.validate(shuffled(flow(count), 1)) == (True, [])
    assert not validator.findings


def from_deep(call: Any, depth: int) -> Any:
    return call() if depth == 0 else from_deep(call, depth - 1)


def test_a_flow_is_decided_from_a_deep_stack(loader: NodeLoader) -> None:
    flow = error_handled(300)
    validator = FlowValidator(loader)
    assert from_deep(lambda: validator.validate(flow), 800) == (True, [])
    assert not validator.findings


def too_hard(size: int = 40) -> dict[str, Any]:
    """Of ``2 * size`` branches every value meets three others in nodes that lead to ``join``, in
    no pattern that an order of the branches could follow. Two inputs depend on whether ``join``
    runs, and beside them is a plain if/else.
    """
    others = random.Random(7)
    nodes: dict[str, Any] = {"s": START, "join": "append", "p": "logic.branch", "m": "identity"}
    nodes |= {"x": "constant", "y": "constant", "r": "return", "hard": "identity"}
    nodes |= {"late": "identity"}
    wires = f"s > p, s.f - p.condition, {MERGE} m > r, m > hard, join.text - hard.value,"
    wires += "v0.value - hard.value, hard > r, join > late, v1.value - late.value, late > r"
    for n in range(2 * size):
        nodes |= {f"b{n}": "logic.branch", f"v{n}": "constant"}
        wires += f",s > b{n}, s.f - b{n}.condition, b{n}.true > v{n}"
    for n in range(size):
        for at, other in enumerate(others.sample(range(size), 3)):
            nodes |= {f"d{n}_{at}": "add"}
            wires += f",v{n}.value - d{n}_{at}.x, v{size + other}.value - d{n}_{at}.y"
            wires += f",d{n}_{at} > join"
    return draw(nodes, wires)


@pytest.mark.parametrize("order", range(3))
def test_what_is_too_hard_is_refused_by_name_and_alone(order: int, loader: NodeLoader) -> None:
    flow = shuffled(too_hard(), order)
    validator = FlowValidator(loader)

    valid, (error,) = validator.validate(flow)

    assert not valid
    assert error.startswith("node 'hard' input 'value'")
    assert "too many branches lead to it" in error
    unchecked = [(f.node, f.port) for f in validator.findings if f.rule == "too_many_branches"]
    assert set(unchecked) == {("hard", "value"), ("late", "value")}
    certain = {("m", "value"), ("p", "condition")}
    uncertain = uncertain_inputs(validator.resolve(flow))
    assert set(unchecked) <= uncertain
    assert not certain & uncertain
