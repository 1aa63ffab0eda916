"""``StateTracker``: what became of each node."""

import pytest
from drawing import draw, node
from running import PROJECT

from rayflow_dagster.engine.executor import error_result, success_result
from rayflow_dagster.engine.planner import skipped_result
from rayflow_dagster.engine.readers import RELEASED
from rayflow_dagster.engine.tracker import LEGAL_TRANSITIONS, StateTracker
from rayflow_dagster.errors import RayflowError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.types import ExecutionGraph


@pytest.fixture
def graph() -> ExecutionGraph:
    flow = draw(
        {"start": node("start"), "one": node("return"), "two": node("return")},
        "start > one, start > two",
    )
    return FlowOrchestrator(PROJECT).load(flow)


@pytest.fixture
def tracker(graph: ExecutionGraph) -> StateTracker:
    return StateTracker(graph)


def test_every_node_begins_pending(tracker):
    state = tracker.get_state()
    assert set(state) == {"node_states", "data_cache", "active_path"}
    pending = {"status": "pending", "result": None}
    assert state["node_states"] == dict.fromkeys(["start", "one", "two"], pending)


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (success_result("start", {"a": 1}, ["exec_out"]), "completed"),
        (skipped_result("start"), "completed"),
        (error_result("start", ValueError("no")), "failed"),
    ],
)
def test_a_result_settles_its_node(result, status, tracker):
    tracker.update_node_status("start", "running")
    tracker.store_node_result("start", result)
    assert tracker.get_state()["node_states"]["start"] == {"status": status, "result": result}


def test_outputs_are_cached(tracker):
    tracker.store_node_result("start", success_result("start", {"a": None}, []))
    assert tracker.get_cached_output("start", "a") is None
    with pytest.raises(KeyError, match="output 'b' of node 'start' is not there"):
        tracker.get_cached_output("start", "b")


@pytest.mark.parametrize(
    ("node_id", "text"),
    [("three", "no node 'three'"), ("one", "the node has not settled")],
)
def test_what_was_never_cached_is_said(node_id, text, tracker):
    with pytest.raises(KeyError, match=text):
        tracker.get_cached_output(node_id, "a")


def test_a_released_output_is_let_go_but_seen_to_have_come(tracker):
    result = success_result("start", {"a": object(), "b": 2}, [])
    tracker.store_node_result("start", result)
    tracker.release([("start", "a"), ("start", "never came")])
    kept = tracker.get_state()["node_states"]["start"]["result"]
    assert kept == {**result, "outputs": {"a": RELEASED, "b": 2}}
    assert tracker.get_state()["data_cache"] == {("start", "b"): 2}
    assert result["outputs"]["a"] is not RELEASED
    with pytest.raises(KeyError, match="output 'a' of node 'start' was released"):
        tracker.get_cached_output("start", "a")


@pytest.mark.parametrize("again", [success_result("one", {}, []), skipped_result("one")])
def test_a_settled_node_stays_settled(again, tracker):
    tracker.store_node_result("one", success_result("one", {"result": {}}, []))
    with pytest.raises(RayflowError, match="settled already"):
        tracker.store_node_result("one", again)


@pytest.mark.parametrize("before", LEGAL_TRANSITIONS)
@pytest.mark.parametrize("after", LEGAL_TRANSITIONS)
def test_only_legal_transitions_happen(before, after, tracker):
    tracker.get_state()["node_states"]["one"]["status"] = before
    if after == before or after in LEGAL_TRANSITIONS[before]:
        tracker.update_node_status("one", after)
        assert tracker.get_state()["node_states"]["one"]["status"] == after
    else:
        with pytest.raises(RayflowError, match=f"from {before} to {after}"):
            tracker.update_node_status("one", after)


def test_an_unknown_node_is_said(tracker):
    with pytest.raises(RayflowError, match="no node 'three'"):
        tracker.update_node_status("three", "running")


def test_the_first_return_reached_counts_whatever_the_drawing_order(tracker):
    assert not tracker.is_complete()
    tracker.store_node_result("two", success_result("two", {"result": {}}, []))
    tracker.store_node_result("one", success_result("one", {"result": {}}, []))
    assert tracker.is_complete()
    assert tracker.reached_return() == "two"


def test_a_skipped_or_failed_return_is_not_reached(tracker):
    tracker.store_node_result("one", skipped_result("one"))
    tracker.store_node_result("two", error_result("two", ValueError()))
    assert not tracker.is_complete()
    assert tracker.count_run() == 1


def test_a_node_that_waits_to_retry_is_pending_again(tracker):
    seen = []
    for status in ("running", "pending", "running", "completed"):
        tracker.update_node_status("one", status)
        seen.append(tracker.get_state()["node_states"]["one"]["status"])
    assert seen == ["running", "pending", "running", "completed"]
