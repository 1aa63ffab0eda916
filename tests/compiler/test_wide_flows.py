"""Flows with more independent branches than can be decided: said so, and nothing breaks."""

from typing import Any

import pytest
from drawing import draw, node

from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.rules_runs import uncertain_inputs
from rayflow_dagster.compiler.validator import FlowValidator


def _wide(count: int) -> dict[str, Any]:
    """START leads to ``count`` nodes that may fire several outputs, and all of them to a join."""
    nodes: dict[str, Any] = {"start": "start", "join": "collect", "x": "constant", "r": "return"}
    wires = ["join > r", "b0.b > x", "x.value - join.a"]
    for number in range(count):
        nodes[f"b{number}"] = node("choose", values={"which": "a"})
        wires += [f"start > b{number}", f"b{number}.a > join"]
    return draw(nodes, ",".join(wires))


@pytest.mark.parametrize("count", [600, 900])
def test_a_flow_too_wide_to_decide_is_told_so(count: int, loader: NodeLoader) -> None:
    validator = FlowValidator(loader)

    valid, errors = validator.validate(_wide(count))

    assert valid, errors
    assert "too_many_branches" in {finding.rule for finding in validator.findings}
    resolved = validator.resolve(_wide(count))
    assert ("join", "a") in uncertain_inputs(resolved)


def test_a_merge_that_cannot_be_proven_is_refused(loader: NodeLoader) -> None:
    flow = _wide(900)
    flow["nodes"].append({"id": "y", **node("constant")})
    flow["edges"] += draw({}, "b1.b > y, y.value - join.a")["edges"]
    for number, edge in enumerate(flow["edges"]):
        edge["id"] = f"e{number}"

    valid, errors = FlowValidator(loader).validate(flow)

    assert not valid
    assert "too many branches to prove" in errors[0]
