"""Random flows of nested regions, and small ones that they once stumbled on: bodies are what
dominance says, and the direct run and the Dagster run come to what the reference interpreter says.
"""

from random import Random
from typing import Any

import networkx as nx
import pytest
from dagster import DagsterInstance
from dagster_runs import run_in_dagster
from drawing import draw, node
from hypothesis import given, settings
from nested_flows import make_nested_flow, nested_flows
from random_flows import RandomFlow
from reference import Ended, FlowMeaning, interpret, levels
from running import PROJECT, execute, outcomes
from shapes import test_loader

from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process

LOADER = test_loader()
LOOP = node("control.for_each", parallel=1, values={"items": [1, 2]})
FOLD = node(
    "control.for_each",
    carry={"c": {"type": "int", "default": 1}},
    values={"items": [1, 2]},
)


@given(nested_flows())
def test_a_body_is_what_its_exec_output_dominates(drawn: RandomFlow) -> None:
    edges = [edge for edge in drawn.flow["edges"] if edge["type"] == "exec"]
    graph = nx.DiGraph()
    for edge in edges:
        output = (edge["source"], edge["sourceHandle"])
        graph.add_edge(edge["source"], output)
        graph.add_edge(output, edge["target"])
    start = drawn.flow["nodes"][0]["id"]
    above = nx.immediate_dominators(graph, start)
    meaning = FlowMeaning(drawn.flow, drawn.inputs)
    for node_id in {edge["target"] for edge in edges}:
        bodies, at = set(), above[node_id]
        while at != start:
            bodies |= {at[0]} if at[1] == "body" else set()
            at = above[at]
        assert meaning.regions_of(node_id) == bodies


class _InSomeOrder(FlowMeaning):
    """Of the nodes that may go on, the next one is drawn."""

    def __init__(self, flow: RandomFlow, rng: Random) -> None:
        super().__init__(flow.flow, flow.inputs)
        self._rng = rng

    def turn(self, node_id: str) -> tuple[bool, int]:
        del node_id
        return False, self._rng.getrandbits(32)


def test_nested_flows_come_to_the_same_in_whatever_order_their_nodes_run() -> None:
    for seed in range(200):
        drawn = make_nested_flow(Random(seed))
        wanted = interpret(drawn.flow, drawn.inputs)
        for order in range(3):
            ended = _InSomeOrder(drawn, Random(order)).run_level(None, {})
            assert (ended.statuses, ended.result) == (wanted.statuses, wanted.result), seed


@given(nested_flows())
def test_each_level_settles_all_its_nodes_or_says_why_not(drawn: RandomFlow) -> None:
    ended = interpret(drawn.flow, drawn.inputs)
    assert ended.success or ended.failure
    for run in levels(ended):
        statuses = run.statuses.values()
        assert set(statuses) <= {"completed", "skipped", "failed", "pending"}
        assert ("failed" in statuses) == (run.failure is not None)
        assert run.failure or "pending" not in statuses
        assert {n for n, status in run.statuses.items() if status in ("completed", "failed")} == {
            *run.order
        }


def test_random_nested_flows_have_all_that_they_are_to_have() -> None:
    drawn = [make_nested_flow(Random(seed)) for seed in range(300)]
    ended = [interpret(each.flow, each.inputs) for each in drawn]
    seen = {
        (node["type"].rpartition(".")[2], run.statuses[node["id"]])
        for flow, end in zip(drawn, ended, strict=True)
        for run in levels(end)
        for node in flow.flow["nodes"]
        if node["id"] in run.statuses
    }
    wanted = {
        (name, status)
        for name in ("ForEachNode", "WhileNode", "GroupNode")
        for status in ("completed", "skipped", "failed", "pending")
    }
    assert wanted <= seen
    assert {("BreakNode", "completed"), ("ContinueNode", "completed")} <= seen
    in_bodies = {
        (str(node["data"].get("join", node["type"].rpartition(".")[2])), run.statuses[node["id"]])
        for flow, end in zip(drawn, ended, strict=True)
        for run in levels(end)
        for node in flow.flow["nodes"]
        if run is not end and node["id"] in run.statuses
    }
    assert {("SequenceNode", "completed"), ("SequenceNode", "skipped")} <= in_bodies
    assert {("any", "completed"), ("{'at_least': 2}", "completed")} <= in_bodies
    assert {("any", "pending"), ("{'at_least': 2}", "skipped")} <= in_bodies
    handles = {edge["sourceHandle"] for each in drawn for edge in each.flow["edges"]}
    assert {"exhausted", "always", "error", "errors", "count", "item", "index"} <= handles
    for key, values in {
        "on_item_error": {"skip", "collect", "fail"}, "aligned": {True}, "batch": {2},
        "parallel": {1}, "retry": None,
    }.items():  # fmt: skip
        found = [node["data"][key] for each in drawn for node in each.flow["nodes"]
                 if key in node["data"]]  # fmt: skip
        assert found
        assert values is None or set(found) == values
    deepest = max(depth(end) for end in ended)
    assert deepest == 3
    assert {end.success for end in ended} == {True, False}


def depth(ended: Ended) -> int:
    return max((1 + depth(run) for runs in ended.inside.values() for run in runs), default=0)


@given(nested_flows())
@settings(max_examples=100, derandomize=True)
def test_the_validator_accepts_every_nested_flow(drawn: RandomFlow) -> None:
    assert FlowValidator(LOADER).validate(drawn.flow) == (True, [])


@given(nested_flows())
@settings(max_examples=60, derandomize=True)
def test_a_nested_flow_comes_directly_to_what_the_rules_say(drawn: RandomFlow) -> None:
    wanted = interpret(drawn.flow, drawn.inputs)

    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    outcome = execute(orchestrator, drawn.flow, **drawn.inputs)

    assert of_level(wanted, outcomes(orchestrator)) == wanted.statuses, outcome["error"]
    assert outcome["result"] == wanted.result
    assert outcome["success"] == wanted.success, outcome["error"]


@given(nested_flows())
@settings(max_examples=15, derandomize=True)
def test_a_nested_flow_comes_as_a_job_to_what_the_rules_say(drawn: RandomFlow) -> None:
    wanted = interpret(drawn.flow, drawn.inputs)

    with DagsterInstance.ephemeral() as instance:
        run = run_in_dagster(drawn.flow, drawn.inputs, instance, connect=in_process)

    assert of_level(wanted, run.statuses) == wanted.statuses
    assert (run.success, run.result) == (wanted.success, wanted.result)


@pytest.mark.parametrize(
    ("nodes", "wires", "result"),
    [
        pytest.param(
            {"each": LOOP, "fold": FOLD, "plus": "add", "more": node("add", values={"y": 1}),
             "if": node("logic.choose", values={"CASES": {"yes": "n > 0"}}),
             "pass": "control.continue"},
            "start > each, each.body > fold, fold.body > if, more.result - if.n, if.yes > pass,"
            "fold.item - plus.x, fold.c - plus.y, plus.result - more.x, more.result - fold.next.c,"
            "each.done > return, fold.c - return.c, more.result - return.more",
            {"c": [6, 6], "more": [[3, 6], [3, 6]]},
            id="what came before a continue is handed on",
        ),
        pytest.param(
            {"each": LOOP, "fold": FOLD, "one": "add", "pass": "control.continue", "plus": "add"},
            "start > each, each.body > fold, fold.body > one, one > pass,"
            "fold.item - one.x, fold.c - one.y, one.result - plus.x, fold.index - plus.y,"
            "plus.result - fold.next.c, each.done > return, fold.c - return.c",
            {"c": [5, 5]},
            id="what has begun beside a continue is handed on",
        ),
        pytest.param(
            {"each": LOOP, "fold": FOLD, "two": "add", "pass": "control.continue",
             "if": node("logic.choose", values={"CASES": {"odd": "n == 1"}})},
            "start > each, each.body > fold, fold.body > if, fold.item - if.n, if.odd > pass,"
            "if.default > two, fold.c - two.x, fold.item - two.y, two.result - fold.next.c,"
            "each.done > return, fold.c - return.c",
            {"c": [3, 3]},
            id="what did not come for a continue stays as it was",
        ),
        pytest.param(
            {"each": LOOP, "group": "control.group", "one": node("constant", values={"VALUE": 1}),
             "steps": node("control.sequence", values={"THEN": 2}), "stop": "control.break",
             "two": node("constant", values={"VALUE": 2})},
            "start > each, each.body > group, group.body > one, group.always > steps,"
            "steps.then_1 > stop, steps.then_2 > two, each.done > return,"
            "one.value - return.one, two.value - return.two, each.count - return.count",
            {"one": [1], "two": [], "count": 1},
            id="a break behind always ends the rest of what is behind it",
        ),
        pytest.param(
            {"each": LOOP, "group": "control.group", "stop": "control.break",
             "steps": node("control.sequence", values={"THEN": 2}),
             "one": node("constant", values={"VALUE": 1}),
             "two": node("constant", values={"VALUE": 2})},
            "start > each, each.body > group, group.body > stop, group.always > steps,"
            "steps.then_1 > one, steps.then_2 > two, each.done > return,"
            "one.value - return.one, two.value - return.two, each.count - return.count",
            {"one": [1], "two": [2], "count": 1},
            id="a break in a group ends nothing behind its always",
        ),
    ],
)  # fmt: skip
def test_a_loop_is_left_as_the_rules_say(
    nodes: dict[str, Any], wires: str, result: dict[str, Any]
) -> None:
    flow = draw({"start": "start", **nodes, "return": "return"}, wires)
    assert interpret(flow, {}).result == result

    direct = execute(FlowOrchestrator(PROJECT, connect=in_process), flow)
    assert (direct["result"], direct["error"]) == (result, None)

    with DagsterInstance.ephemeral() as instance:
        run = run_in_dagster(flow, {}, instance, connect=in_process)
    assert (run.success, run.result) == (True, result)


def of_level(wanted: Ended, statuses: dict[str, Any]) -> dict[str, Any]:
    """The statuses of the nodes that are in no body."""
    return {node_id: statuses.get(node_id) for node_id in wanted.statuses}
