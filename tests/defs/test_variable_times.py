"""When variable nodes that no exec edge leads to read and write: alike directly and as a job,
however the flow is drawn.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster_runs import PROJECT, run_in_dagster
from drawing import draw, node
from engine.in_any_order import AnyOrderActors
from hypothesis import given, settings
from hypothesis import strategies as st

from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process

VARIABLES = {name: {"type": "int", "default": 0} for name in "uvw"}
START = node("start", inputs={"a": "int", "yes": "bool"})


def get(name: str) -> dict[str, Any]:
    return node("variables.get_variable", label=f"Get: {name}", values={"VARIABLE": name})


def put(name: str, value: int | None = None) -> dict[str, Any]:
    values = {"VARIABLE": name} | ({} if value is None else {"value": value})
    return node("variables.set_variable", label=f"Set: {name}", values=values)


def plus(amount: int) -> dict[str, Any]:
    return node("add", values={"y": amount})


def flow(wires: str, **nodes: Any) -> dict[str, Any]:
    return draw({"s": START, **nodes, "r": "return"}, wires, variables=VARIABLES)


INCREMENT = node("variables.increment_variable", values={"VARIABLE": "v", "BY": 2})

CASES: dict[str, tuple[dict[str, Any], bool, dict[str, Any]]] = {
    "a write and a read by data": (
        flow("s > r, s.a - w.value, g.value - r.x", w=put("v"), g=get("v")), True, {"x": 5},
    ),
    "a chain behind the read": (
        flow(
            "s > w, w > r, g.value - p.x, p.result - q.x, q.result - r.x",
            w=put("v", 5), g=get("v"), p=plus(1), q=plus(10),
        ), True, {"x": 16},
    ),
    "two reads for one node": (
        flow("s > w, w > z, z > r, g.value - r.x, h.value - p.x, p.result - r.y",
             w=put("v", 1), z=put("u", 2), g=get("v"), h=get("u"), p=plus(1)),
        True, {"x": 1, "y": 3},
    ),
    "a read for two nodes, one behind the other": (
        flow("s > w, w > i, i > z, z > r, g.value - i.value, g.value - r.y, i.value - r.x",
             w=put("v", 1), i="identity", z=put("v", 2), g=get("v")),
        True, {"x": 1, "y": 1},
    ),
    "a read for two nodes that start together": (
        flow("s > w, w > i, w > j, i > z, j > z, z > r, g.value - i.value, g.value - j.value,"
             "i.value - r.x, j.value - r.y",
             w=put("v", 1), i="identity", j="identity", z=put("v", 2), g=get("v")),
        True, {"x": 1, "y": 1},
    ),
    "a read for one side of a branch": (
        flow("s > b, s.yes - b.condition, b.true > w, w > i, b.false > j, i > r, j > r,"
             "g.value - i.value, g.value - j.value, i.value - r.x, j.value - r.x",
             b="logic.branch", w=put("v", 7), i="identity", j="identity", g=get("v")),
        True, {"x": 7},
    ),
    "a read for the other side of a branch": (
        flow("s > b, s.yes - b.condition, b.true > w, w > i, b.false > j, i > r, j > r,"
             "g.value - i.value, g.value - j.value, i.value - r.x, j.value - r.x",
             b="logic.branch", w=put("v", 7), i="identity", j="identity", g=get("v")),
        False, {"x": 0},
    ),
    "from variable to variable by data": (
        flow("s > r, s.a - w.value, g.value - p.x, p.result - z.value, h.value - r.x",
             w=put("v"), g=get("v"), p=plus(1), z=put("u"), h=get("u")),
        True, {"x": 6},
    ),
    "from a variable written in the exec path to another": (
        flow("s > w, w > r, g.value - p.x, p.result - z.value, h.value - r.x",
             w=put("v", 3), g=get("v"), p=plus(1), z=put("u"), h=get("u")),
        True, {"x": 4},
    ),
    "written, read, and written again": (
        flow("s > r, s.a - w.value, g.value - p.x, p.result - z.value, z.value - y.value,"
             "y.value - r.x", w=put("v"), g=get("v"), p=plus(1), z=put("v"), y=put("u")),
        True, {"x": 6},
    ),
    "a write on a dead branch": (
        flow("s > b, s.yes - b.condition, b.true > i, i > r, b.false > r, i.value - w.value,"
             "g.value - r.x", b="logic.branch", i=node("identity", values={"value": 9}),
             w=put("v"), g=get("v")),
        False, {"x": 0},
    ),
    "a write on a live branch": (
        flow("s > b, s.yes - b.condition, b.true > i, i > r, b.false > r, i.value - w.value,"
             "g.value - r.x", b="logic.branch", i=node("identity", values={"value": 9}),
             w=put("v"), g=get("v")),
        True, {"x": 9},
    ),
    "a write by data, a read in the exec path": (
        flow("s > g, g > r, s.a - p.x, p.result - w.value, g.value - r.x",
             p=plus(1), w=put("v"), g=get("v")),
        True, {"x": 6},
    ),
    "a write by data, a write and a read in the exec path": (
        flow("s > z, z > r, s.a - p.x, p.result - w.value, g.value - r.x",
             p=plus(1), w=put("v"), z=put("v", 9), g=get("v")),
        True, {"x": 9},
    ),
    "a node that waits for another value, too": (
        flow("s > w, w > i, s > c, i > r, c > r, i.value - q.x, q.result - c.b, g.value - c.a,"
             "c.values - r.x",
             w=put("v", 4), i=node("identity", values={"value": 1}), q=plus(1), c="collect",
             g=get("v")),
        True, {"x": [4, 2]},
    ),
    "an increment by data": (
        flow("s > r, g.value - r.x", i=INCREMENT, g=get("v")), True, {"x": 2},
    ),
    "a read that only leads on": (
        flow("s > w, w > r, g > r, g.value - r.x", w=put("v", 5), g=get("v")), True, {"x": 5},
    ),
}  # fmt: skip


def _redrawn(drawn: Mapping[str, Any], rng: Random) -> dict[str, Any]:
    """The same flow with other ids, labels and places in the file."""
    fresh = rng.sample(range(100), len(drawn["nodes"]))
    ids = {node["id"]: f"n{number}" for node, number in zip(drawn["nodes"], fresh, strict=True)}
    labels = rng.choice([None, *("abz"[number % 3] for number in fresh)])
    nodes = [
        {**node, "id": ids[node["id"]], "data": {**node["data"], "label": labels or node["id"]}}
        for node in drawn["nodes"]
    ]
    edges = [
        {**edge, "source": ids[edge["source"]], "target": ids[edge["target"]]}
        for edge in drawn["edges"]
    ]
    rng.shuffle(nodes)
    rng.shuffle(edges)
    return {**drawn, "nodes": nodes, "edges": edges}


def _directly(drawn: dict[str, Any], inputs: dict[str, Any], rng: Random) -> Any:
    orchestrator = FlowOrchestrator(PROJECT, connect=partial(AnyOrderActors, rng=rng))
    outcome = asyncio.run(orchestrator.execute_flow(drawn, inputs))
    assert outcome["success"], outcome["error"]
    return outcome["result"]


@pytest.mark.parametrize("case", CASES)
@given(seed=st.integers(0, 1_000_000))
@settings(max_examples=15, deadline=None)
def test_a_variable_is_read_and_written_when_the_rule_says(case: str, seed: int) -> None:
    (drawn, yes, result), rng = CASES[case], Random(seed)
    assert _directly(_redrawn(drawn, rng), {"a": 5, "yes": yes}, rng) == result


@pytest.mark.parametrize("case", CASES)
@given(seed=st.integers(0, 1_000_000))
@settings(max_examples=2, deadline=None)
def test_and_in_a_job_at_the_same_times(case: str, seed: int) -> None:
    (drawn, yes, result), rng = CASES[case], Random(seed)
    with DagsterInstance.ephemeral() as memory:
        inputs = {"a": 5, "yes": yes}
        run = run_in_dagster(_redrawn(drawn, rng), inputs, memory, connect=in_process)
    assert run.success
    assert run.result == result
