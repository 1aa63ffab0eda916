"""What running each flow of ``fixtures/`` must come to, worked out by hand.

A shape is a flow, its inputs, and section 5 of the design applied to them: whether the run
succeeds, RETURN's result, and what becomes of each node. The engine, the direct run and the
Dagster run are all held to it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.registry import NodeRegistry, NodeRoot

TESTS = Path(__file__).parent
FIXTURES = TESTS / "fixtures"
FLOW_NODES = NodeRoot("flow_nodes", TESTS / "flow_nodes")

Outcome = Literal["completed", "skipped", "failed", "pending"]


@dataclass(frozen=True, slots=True)
class Shape:
    """One run of the flow ``fixtures/<name>.json``."""

    name: str
    inputs: Mapping[str, Any]
    success: bool
    result: Mapping[str, Any]
    """What RETURN gives; empty when none was reached."""
    statuses: Mapping[str, Outcome]
    """Node id -> what became of it. Every node of the flow is there."""
    error: tuple[str, ...] = ()
    """Texts that the error of a failed run contains."""

    @property
    def nodes_executed(self) -> int:
        return sum(status in ("completed", "failed") for status in self.statuses.values())

    @property
    def flow(self) -> dict[str, Any]:
        return load_fixture(self.name)

    def __str__(self) -> str:
        given = "-".join(f"{name}={value}" for name, value in self.inputs.items())
        return f"{self.name}-{given}" if given else self.name


def load_fixture(name: str) -> dict[str, Any]:
    """A fresh copy of the flow ``fixtures/<name>.json``, as it stands there."""
    flow: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return flow


def fixture_names() -> list[str]:
    return sorted(file.stem for file in FIXTURES.glob("*.json"))


@lru_cache(maxsize=1)
def _registry() -> NodeRegistry:
    return NodeRegistry.of([FLOW_NODES])


def test_loader() -> NodeLoader:
    """A loader that knows the built-in nodes and ``flow_nodes``."""
    return NodeLoader(_registry())


test_loader.__test__ = False  # type: ignore[attr-defined]  # pytest: not a test


def _ran(
    *completed: str, skipped: str = "", failed: str = "", pending: str = ""
) -> dict[str, Outcome]:
    """Outcomes by node id; ids separated by spaces."""
    outcomes: dict[str, Outcome] = {}
    outcomes |= {node: "completed" for text in completed for node in text.split()}
    outcomes |= dict.fromkeys(skipped.split(), "skipped")
    outcomes |= dict.fromkeys(failed.split(), "failed")
    outcomes |= dict.fromkeys(pending.split(), "pending")
    return outcomes


_LINEAR = _ran("start add identity return")
_DIAMOND = _ran("start left right join return")
_EDITOR = _ran("start-1 add-1 user-1 return-1")
_LABELS = _ran("start a b c d e return")
_TOLD = {"type": "ValueError", "message": "told to fail", "node_id": "fragile"}

SHAPES: list[Shape] = [
    Shape("linear", {"a": 1}, True, {"sum": 3}, _LINEAR),
    Shape("linear", {"a": 1, "b": 10}, True, {"sum": 11}, _LINEAR),
    Shape("diamond", {"value": 5}, True, {"sum": 21}, _DIAMOND),
    Shape(
        "branch_join",
        {"flag": True, "value": 7},
        True,
        {"value": 7, "flag": True},
        _ran("start branch yes join return", skipped="no"),
    ),
    Shape(
        "branch_join",
        {"flag": False, "value": 7},
        True,
        {"value": 7, "flag": False},
        _ran("start branch no join return", skipped="yes"),
    ),
    Shape(
        "parallel_join",
        {"value": "x"},
        True,
        {"values": ["x", "x", "x"]},
        _ran("start plain async slow join return"),
    ),
    Shape(
        "parallel_branch_join",
        {"flag": True, "value": 3},
        True,
        {"values": [3, 3]},
        _ran("start always branch maybe join return"),
    ),
    Shape(
        "parallel_branch_join",
        {"flag": False, "value": 3},
        True,
        {"values": [3]},
        _ran("start always branch join return", skipped="maybe"),
    ),
    Shape(
        "nested_branch",
        {"outer": True, "inner": True},
        True,
        {"value": "both"},
        _ran("start outer inner both inner_join outer_join return", skipped="only_outer not_outer"),
    ),
    Shape(
        "nested_branch",
        {"outer": True, "inner": False},
        True,
        {"value": "only outer"},
        _ran("start outer inner only_outer inner_join outer_join return", skipped="both not_outer"),
    ),
    Shape(
        "nested_branch",
        {"outer": False, "inner": True},
        True,
        {"value": "not outer"},
        _ran("start outer not_outer outer_join return", skipped="inner both only_outer inner_join"),
    ),
    Shape(
        "two_returns",
        {"value": 2.5},
        True,
        {"text": "low!"},
        _ran("start switch low return_low", skipped="return_high"),
    ),
    Shape(
        "two_returns",
        {"value": 12.5},
        True,
        {"value": 12.5},
        _ran("start switch return_high", skipped="low return_low"),
    ),
    Shape(
        "pure_nodes",
        {"a": 1},
        True,
        {"result": 12, "a": 1},
        _ran("start five sum twice return"),
    ),
    Shape(
        "merge_after_branch",
        {"flag": True},
        True,
        {"answer": "yes"},
        _ran("start branch yes return", skipped="no"),
    ),
    Shape(
        "merge_after_branch",
        {"flag": False},
        True,
        {"answer": "no"},
        _ran("start branch no return", skipped="yes"),
    ),
    Shape(
        "handled_error",
        {"fail": True},
        True,
        {"error": _TOLD},
        _ran("start fragile handler return_error", skipped="after return"),
    ),
    Shape(
        "handled_error",
        {"fail": False},
        True,
        {"value": "well"},
        _ran("start fragile after return", skipped="handler return_error"),
    ),
    Shape(
        "handled_error_join",
        {"fail": True},
        True,
        {"value": "instead"},
        _ran("start fragile instead join return"),
    ),
    Shape(
        "handled_error_join",
        {"fail": False},
        True,
        {"value": "well"},
        _ran("start fragile join return", skipped="instead"),
    ),
    Shape(
        "failing_node",
        {"value": 1},
        False,
        {},
        _ran("start before", failed="boom", pending="after return"),
        error=("boom", "boom: on purpose"),
    ),
    Shape(
        "failing_node_continue",
        {"value": 1},
        False,
        {},
        _ran("start first second", failed="boom", pending="after return"),
        error=("boom", "boom: bang"),
    ),
    Shape(
        "failing_node_beside_return",
        {"value": 1},
        False,
        {"value": 1},
        _ran("start slow return", failed="boom"),
        error=("boom", "boom: bang"),
    ),
    Shape(
        "skipped_default",
        {"flag": True, "value": 1},
        True,
        {"values": ["maybe", 1], "picked": "maybe"},
        _ran("start branch maybe join pick return"),
    ),
    Shape(
        "skipped_default",
        {"flag": False, "value": 1},
        True,
        {"values": [1], "picked": "stand-in"},
        _ran("start branch join pick return", skipped="maybe"),
    ),
    Shape(
        "data_driven_skip",
        {"flag": True},
        True,
        {"sum": 3, "values": [2]},
        _ran("start branch source sum collect return"),
    ),
    Shape(
        "data_driven_skip",
        {"flag": False},
        True,
        {"sum": None, "values": []},
        _ran("start branch collect return", skipped="source sum"),
    ),
    Shape(
        "variables",
        {"first": 1000},
        True,
        {"counter": 1111},
        _ran("start set one ten hundred get return"),
    ),
    Shape("no_return_reached", {"flag": True}, True, {"flag": True}, _ran("start branch return")),
    Shape(
        "no_return_reached",
        {"flag": False},
        False,
        {},
        _ran("start branch", skipped="return"),
        error=("branch", "false"),
    ),
    Shape(
        "return_ends_flow",
        {"value": 1},
        True,
        {"value": 1},
        _ran("start return slow", skipped="late later"),
    ),
    Shape(
        "several_exec_outputs",
        {"which": "a"},
        True,
        {"values": ["left"]},
        _ran("start choose left join return", skipped="right"),
    ),
    Shape(
        "several_exec_outputs",
        {"which": "b"},
        True,
        {"values": ["right"]},
        _ran("start choose right join return", skipped="left"),
    ),
    Shape(
        "several_exec_outputs",
        {"which": ["a", "b"]},
        True,
        {"values": ["left", "right"]},
        _ran("start choose left right join return"),
    ),
    Shape(
        "several_exec_outputs",
        {"which": "c"},
        False,
        {},
        _ran("start", failed="choose", pending="left right join return"),
        error=("choose", "'c'"),
    ),
    Shape(
        "retry_then_success",
        {"value": "x"},
        True,
        {"value": "x", "attempts": 3},
        _ran("start flaky return"),
    ),
    Shape(
        "retries_used_up",
        {"value": "x"},
        False,
        {},
        _ran("start", failed="flaky", pending="return"),
        error=("flaky", "attempt 2 fails"),
    ),
    Shape("printer", {"value": "x"}, True, {"value": "x"}, _ran("start printer return")),
    Shape("labels_in_any_script", {"value": 1}, True, {"value": 1}, _LABELS),
    Shape("editor_export", {"a": 1, "b": 2}, True, {"total": 13}, _EDITOR),
    Shape("editor_export", {"a": 1}, True, {"total": 16}, _EDITOR),
    Shape(
        "variable_nodes_of_editor",
        {"value": 4},
        True,
        {"value": 4, "counter": 4},
        _ran("start-1 set-1 identity-1 get-1 return-1"),
    ),
    Shape(
        "declared_variables_of_editor",
        {"value": 2},
        True,
        {"sum": 42},
        _ran("start-1 set-1 get-1 add-1 return-1"),
    ),
]
"""Every fixture with its inputs, branching ones with each choice."""
