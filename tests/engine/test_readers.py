"""``Readers``: which outputs nobody will read any more."""

import pickle
from collections import Counter
from random import Random

import pytest
from drawing import draw, node
from hypothesis import given, settings
from hypothesis import strategies as st
from random_flows import random_flows
from running import PROJECT
from shapes import load_fixture

from rayflow_dagster.engine.readers import RELEASED, Readers
from rayflow_dagster.errors import RayflowError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.types import ExecutionGraph


def compiled(flow: dict) -> ExecutionGraph:
    return FlowOrchestrator(PROJECT).load(flow)


def two_readers() -> ExecutionGraph:
    return compiled(
        draw(
            {
                "start": node("start", inputs={"a": "int", "unread": "int"}),
                "one": node("identity"),
                "two": node("identity"),
                "return": node("return"),
            },
            "start > one, one > two, two > return, start.a - one.value, start.a - two.value,"
            "two.value - return.it",
        )
    )


def test_an_output_that_nobody_reads_is_done_as_soon_as_its_node_settles():
    assert Readers(two_readers()).settled("start") == [("start", "unread")]


def test_an_output_is_done_with_its_last_reader():
    readers = Readers(two_readers())
    readers.settled("start")
    assert readers.settled("one") == [("one", "value")]
    assert readers.settled("two") == [("start", "a")]
    assert readers.settled("return") == [("two", "value")]


def test_the_result_of_a_return_is_never_done():
    graph = compiled(load_fixture("two_returns"))
    readers = Readers(graph)
    done = [output for node_id in graph["nodes"] for output in readers.settled(node_id)]
    assert not {node_id for node_id, _ in done} & set(graph["return_nodes"])


def test_a_node_that_reads_one_output_through_two_inputs_is_one_reader():
    graph = compiled(
        draw(
            {
                "start": node("start", inputs={"a": "int"}),
                "add": node("add"),
                "return": node("return"),
            },
            "start > add, add > return, start.a - add.x, start.a - add.y",
        )
    )
    readers = Readers(graph)
    assert readers.settled("start") == []
    assert ("start", "a") in readers.settled("add")


def test_the_error_output_of_a_handled_failure_counts():
    graph = compiled(load_fixture("handled_error"))
    failing = next(id_ for id_, one in graph["nodes"].items() if one.get("handles_error"))
    readers = Readers(graph)
    done = [output for node_id in graph["execution_order"] for output in readers.settled(node_id)]
    assert (failing, "error") in done


def test_settling_twice_names_nothing_twice():
    readers = Readers(two_readers())
    assert readers.settled("start")
    assert readers.settled("start") == []


def test_an_unknown_node_is_an_error():
    with pytest.raises(RayflowError, match="no node 'three'"):
        Readers(two_readers()).settled("three")


@given(random_flows(10), st.integers(0, 2**32))
@settings(max_examples=60)
def test_in_any_order_an_output_is_done_once_and_with_its_node_and_last_reader(drawn, seed):
    graph = compiled(drawn.flow)
    order = list(graph["nodes"])
    Random(seed).shuffle(order)
    waits_for = {
        (node_id, name): {node_id}
        for node_id, one in graph["nodes"].items()
        for name in one["metadata"]["outputs"]
        if node_id not in graph["return_nodes"]
    }
    for edge in graph["edges"].values():
        if edge["edge_type"] == "data":
            output = (edge["source"], edge["source_handle"])
            waits_for.setdefault(output, {edge["source"]}).add(edge["target"])
    readers, so_far, named = Readers(graph), set(), Counter()
    for node_id in order:
        so_far.add(node_id)
        named.update(readers.settled(node_id))
        due = {output for output, nodes in waits_for.items() if nodes <= so_far}
        assert due <= set(named)
        assert all(waits_for.get(output, {output[0]}) <= so_far for output in named)
    assert set(named.values()) <= {1}


def test_the_sentinel_says_what_it_is_and_survives_pickling():
    assert repr(RELEASED) == "released"
    assert pickle.loads(pickle.dumps(RELEASED)) is RELEASED
