"""The interface document's phases, driven by hand as it draws them."""

import asyncio
from typing import Any

import pytest
from drawing import draw, node
from running import PROJECT
from shapes import SHAPES, load_fixture, test_loader

from rayflow_dagster import (
    ActorManager,
    DataGatherer,
    ErrorHandler,
    ExecutionPlanner,
    FlowOrchestrator,
    GraphBuilder,
    GraphBuildError,
    NodeExecutor,
    StateTracker,
    VariableStoreManager,
)
from rayflow_dagster.actors.variables import StoreProxy
from rayflow_dagster.errors import FlowFailedError, InvalidInputsError, ValidationError
from rayflow_dagster.testing import in_process

RUN_AGAIN = ("retry_then_success", "retries_used_up", "handled_error", "handled_error_join")
"""What the document's loop does not know of: attempts, and failures that a flow handles."""


@pytest.fixture
def orchestrator() -> FlowOrchestrator:
    return FlowOrchestrator(PROJECT, connect=in_process)


async def documented_loop(
    graph: Any, executor: NodeExecutor, tracker: StateTracker, inputs: dict[str, Any]
) -> dict[str, Any]:
    """Phase 2 of the document, word for word."""
    planner, handler = ExecutionPlanner(graph), ErrorHandler()
    state, last_result = tracker.get_state(), None
    for name, value in inputs.items():
        tracker.cache_output(graph["start_node"], name, value)
    while not tracker.is_complete():
        next_nodes = planner.get_next_nodes(state, last_result)
        results = await executor.execute_nodes_parallel(next_nodes, state)
        assert results, "nothing is left to run"
        for result in results:
            if result["status"] == "error":
                info = handler.handle_node_error(result["node_id"], result["exception"], state)
                if not handler.should_continue(info):
                    raise RuntimeError(handler.format_error_message(info))
            tracker.store_node_result(result["node_id"], result)
            last_result = result
    (reached,) = (each for each in graph["return_nodes"] if state["node_states"][each]["result"])
    found: dict[str, Any] = tracker.get_cached_output(reached, "result")
    return found


@pytest.mark.parametrize(
    "shape", [s for s in SHAPES if s.success and s.name not in RUN_AGAIN], ids=str
)
def test_the_documented_loop_runs_a_flow(shape, orchestrator):
    assert orchestrator._initialize(shape.flow)
    run = documented_loop(
        orchestrator.graph, orchestrator.node_executor, orchestrator.state_tracker, shape.inputs
    )
    try:
        assert asyncio.run(run) == shape.result
    finally:
        orchestrator._finalize()


@pytest.mark.ray
def test_the_documented_phases_run_on_actors(ray_session):
    flow = load_fixture("linear")
    orchestrator = FlowOrchestrator(PROJECT)
    valid, errors = orchestrator.validator.validate(flow)
    assert (valid, errors) == (True, [])
    loader = orchestrator.node_loader
    graph = GraphBuilder(loader.load_all_metadata(flow)).build_graph(flow)
    variables = VariableStoreManager()
    actors = ActorManager(loader, variables.create_store({"cfg": {"default": 3}}))
    try:
        assert StoreProxy(variables.get_store_handle()).get("cfg") == {"default": 3}
        for node_id, each in graph["nodes"].items():
            if node_id not in (graph["start_node"], *graph["return_nodes"]):
                actors.create_actor(node_id, each["class_path"], each["constants"])
        executor = NodeExecutor(actors, DataGatherer(graph))
        direct = asyncio.run(FlowOrchestrator(PROJECT, connect=in_process).execute_flow(flow, A))
        assert (
            asyncio.run(documented_loop(graph, executor, StateTracker(graph), A))
            == (direct["result"])
        )
    finally:
        actors.cleanup_actors()
        variables.cleanup()


A = {"a": 1}


def test_the_three_phases_give_the_result_of_return_and_outputs_answer_afterwards(orchestrator):
    assert orchestrator.variable_manager is not None
    assert orchestrator._initialize(load_fixture("linear"))
    result = asyncio.run(orchestrator._execution_loop(A))
    orchestrator._finalize()
    assert result == asyncio.run(orchestrator.execute_flow(load_fixture("linear"), A))["result"]
    assert orchestrator.state_tracker.get_cached_output("start", "a") == 1


def test_a_flow_that_was_not_taken_does_not_run(orchestrator):
    assert not orchestrator._initialize({"nodes": [], "edges": []})
    with pytest.raises(ValidationError):
        asyncio.run(orchestrator._execution_loop({}))


def test_the_loop_raises_where_no_return_is_reached(orchestrator):
    assert orchestrator._initialize(load_fixture("failing_node"))
    with pytest.raises(FlowFailedError, match=r"Node .* failed"):
        asyncio.run(orchestrator._execution_loop({"value": 1}))
    with pytest.raises(InvalidInputsError, match="'c' is not declared"):
        asyncio.run(orchestrator._execution_loop({"value": 1, "c": 2}))
    orchestrator._finalize()


def test_wrong_inputs_of_start_are_its_failure(orchestrator):
    assert orchestrator._initialize(load_fixture("linear"))
    state = orchestrator.state_tracker.get_state()
    (result,) = asyncio.run(orchestrator.node_executor.execute_nodes_parallel(["start"], state))
    orchestrator._finalize()
    assert (result["status"], "is missing" in result["error"]) == ("error", True)


def test_what_waits_for_an_unknown_node_has_no_order():
    builder = GraphBuilder({})
    assert builder._topological_sort({"b": ["a"], "a": []}) == ["a", "b"]
    with pytest.raises(GraphBuildError, match="'a' waits for 'b', which is no node"):
        builder._topological_sort({"a": ["b"]})


def test_the_documents_example_of_a_linear_graph():
    flow = draw(
        {"start_1": node("start"), "node_2": "math.add", "return_1": node("return")},
        "start_1 > node_2, node_2 > return_1, node_2.result - return_1.result",
    )
    graph = GraphBuilder(test_loader().load_all_metadata(flow)).build_graph(flow)
    assert graph["start_node"] == "start_1"
    assert len(graph["execution_order"]) == 3
    assert graph["nodes"]["node_2"]["dependencies"] == ["start_1"]
