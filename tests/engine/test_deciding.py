"""The small modules of the engine: planner, gatherer, inputs, retries, errors, waiting."""

import asyncio
import math
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from drawing import draw, node
from hypothesis import given
from hypothesis import strategies as st
from running import PROJECT
from shapes import load_fixture

from rayflow_dagster import errors
from rayflow_dagster.engine.error_handler import ErrorHandler
from rayflow_dagster.engine.executor import NodeExecutor, error_result, success_result
from rayflow_dagster.engine.failures import TREATMENTS, is_tried_again, retry_delay, treatment
from rayflow_dagster.engine.gatherer import DataGatherer
from rayflow_dagster.engine.inputs import checked_inputs
from rayflow_dagster.engine.planner import ExecutionPlanner, skipped_result
from rayflow_dagster.engine.stepping import Done, steps
from rayflow_dagster.engine.tracker import StateTracker
from rayflow_dagster.errors import DataNotAvailableError, InvalidInputsError, NodeExecutionError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import InProcessActors
from rayflow_dagster.types import ExecutionGraph


def compiled(name: str) -> ExecutionGraph:
    return FlowOrchestrator(PROJECT).load(load_fixture(name))


# --- failures -------------------------------------------------------------------------------------


def test_every_error_of_the_project_stands_in_the_table_itself():
    defined = {
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.RayflowError)
    }
    assert defined <= set(TREATMENTS)


def test_an_error_is_treated_as_its_nearest_base_or_as_what_it_is_around():
    class OwnError(errors.SecretError):
        pass

    missing = OwnError("n", "input 'x'", "X", "it is not set")
    assert treatment(missing) == TREATMENTS[errors.SecretError]
    assert treatment(NodeExecutionError("n", missing)) == TREATMENTS[errors.SecretError]
    assert treatment(ZeroDivisionError()) == TREATMENTS[BaseException]


# --- planner --------------------------------------------------------------------------------------


def test_both_sides_of_a_split_can_start_at_once():
    graph = compiled("parallel_join")
    planner, tracker = ExecutionPlanner(graph), StateTracker(graph)
    assert planner.get_next_nodes(tracker.get_state(), None) == ["start"]
    started = success_result("start", {"value": 1}, ["exec_out"])
    assert set(planner.get_next_nodes(tracker.get_state(), started)) == {"plain", "async", "slow"}


def test_exec_successors_are_those_of_one_output():
    planner = ExecutionPlanner(compiled("branch_join"))
    assert planner._get_exec_successors("branch", "true") == ["yes"]
    assert planner._get_exec_successors("branch", "false") == ["no"]
    assert planner._get_exec_successors("branch", "maybe") == []


def test_a_result_without_exec_fired_says_it_by_exec_next():
    graph = compiled("branch_join")
    planner, tracker = ExecutionPlanner(graph), StateTracker(graph)
    tracker.store_node_result("start", success_result("start", {}, ["exec_out"]))
    result: Any = {"node_id": "branch", "status": "success", "outputs": {}, "error": None,
                   "exec_next": "true"}  # fmt: skip
    tracker.store_node_result("branch", result)
    plan = planner.plan(tracker.get_state(), graph["nodes"]["branch"]["dependents"])
    assert (plan.ready, plan.skipped) == (("yes",), ("no",))


def test_a_planner_that_saw_a_later_state_still_decides_by_the_one_it_is_shown():
    graph = compiled("parallel_join")
    planner, tracker = ExecutionPlanner(graph), StateTracker(graph)
    sides = graph["nodes"]["start"]["dependents"]
    for node_id in ("start", *sides):
        for _ in range(2):
            plan = planner.get_next_nodes(tracker.get_state(), None)
        tracker.store_node_result(node_id, success_result(node_id, {"value": 1}, ["exec_out"]))
        later = planner.get_next_nodes(tracker.get_state(), None)
        assert plan != later
        for seen in range(len(sides)):
            earlier = StateTracker(graph)
            for other in ("start", *sides[:seen]):
                earlier.store_node_result(other, success_result(other, {"value": 1}, ["exec_out"]))
            wanted = ExecutionPlanner(graph).get_next_nodes(earlier.get_state(), None)
            assert planner.get_next_nodes(earlier.get_state(), None) == wanted


# --- gatherer -------------------------------------------------------------------------------------


def gathered(values: Any, inputs: Any, cached: Any) -> dict[str, Any]:
    nodes = {
        "start": node("start", inputs={"text": "str"}),
        "it": node("append", values=values),
        "return": node("return"),
    }
    wire = ", start.text - it.text" if inputs else ""
    flow = draw(nodes, "start > it, it > return" + wire)
    graph = FlowOrchestrator(PROJECT).load(flow)
    tracker = StateTracker(graph)
    for name, value in cached.items():
        tracker.cache_output("start", name, value)
    return DataGatherer(graph).gather_inputs("it", tracker.get_state())


def test_a_wired_value_comes_before_the_flows_and_that_before_the_default():
    assert gathered({"text": "set"}, True, {"text": "wired"}) == {"text": "wired"}
    assert gathered({"text": "set"}, True, {}) == {"text": "set"}
    assert gathered({}, False, {}) == {"text": ""}
    assert gathered({}, True, {"text": None}) == {"text": None}


def test_an_absent_value_names_the_branch_that_brought_none():
    graph = compiled("merge_after_branch")
    tracker = StateTracker(graph)
    tracker.store_node_result("yes", skipped_result("yes"))
    tracker.store_node_result("no", skipped_result("no"))
    with pytest.raises(DataNotAvailableError) as caught:
        DataGatherer(graph).gather_inputs("return", tracker.get_state())
    assert caught.value.input_name == "answer"
    assert "'no' (No) was skipped, because this run took another branch" in str(caught.value)


def test_two_values_for_one_input_are_refused():
    graph = compiled("merge_after_branch")
    tracker = StateTracker(graph)
    for side in ("yes", "no"):
        tracker.store_node_result(side, success_result(side, {"value": side}, ["exec_out"]))
    with pytest.raises(DataNotAvailableError, match="two wires brought a value"):
        DataGatherer(graph).gather_inputs("return", tracker.get_state())


def test_connected_outputs_are_source_output_and_input():
    gatherer = DataGatherer(compiled("merge_after_branch"))
    assert gatherer._get_connected_outputs("return") == [
        ("yes", "value", "answer"),
        ("no", "value", "answer"),
    ]


def test_an_unknown_node_is_said_by_its_name():
    graph = compiled("linear")
    with pytest.raises(KeyError, match="there is no node 'nobody' in this flow"):
        DataGatherer(graph).gather_inputs("nobody", StateTracker(graph).get_state())


# --- inputs ---------------------------------------------------------------------------------------


def test_defaults_fill_in_the_inputs():
    assert checked_inputs(compiled("linear"), {"a": 1}) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({}, "input 'a' (int) is missing"),
        ({"a": "x"}, "input 'a' takes int, not 'x', which is str"),
        ({"a": None, "bb": 2}, "input 'a' takes int, not None"),
        ({"a": 1, "bb": 2}, "input 'bb' is not declared by START (declared: a, b)"),
        ({"a": 1, 3: 2}, "input 3 is not declared"),
        ([1], "inputs must be a dict"),
        ({"a": "x" * 10**6}, "input 'a' takes int"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, text):
    with pytest.raises(InvalidInputsError) as caught:
        checked_inputs(compiled("linear"), inputs)
    assert text in str(caught.value)
    assert "which is None" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.inf, "is inf, which is not a JSON value"),
        ([1, {"a": (math.nan,)}], "is nan, which is not a JSON value"),
        (10**400, "is a number of more than 300 digits"),
        ({"a": [-(10**400)]}, "is a number of more than 300 digits"),
    ],
)
def test_a_number_that_comes_in_by_no_way_is_refused_wherever_it_stands(value, text):
    flow = draw({"s": node("start", inputs={"a": "any"}), "r": "return"}, "s > r, s.a - r.a")
    graph = FlowOrchestrator(PROJECT).load(flow)
    with pytest.raises(InvalidInputsError, match=r"input 'a' \(any\) has a value that " + text):
        checked_inputs(graph, {"a": value})
    assert checked_inputs(graph, {"a": [1e308, 10**299]}) == {"a": [1e308, 10**299]}


# --- retries --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [(None, [2, 2, 2]), ("linear", [2, 4, 6]), ("exponential", [2, 6, 14])],
)
def test_the_delay_grows_with_the_attempts(backoff, delays):
    retry: Any = {"max": 3, "delay": 2.0, **({"backoff": backoff} if backoff else {})}
    assert [retry_delay(retry, attempt) for attempt in (1, 2, 3)] == delays


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [(None, [2, 2, 2]), ("linear", [2, 4, 5]), ("exponential", [2, 5, 5])],
)
def test_no_delay_is_longer_than_max_delay(backoff, delays):
    retry: Any = {"max": 3, "delay": 2.0, "backoff": backoff, "max_delay": 5.0}
    assert [retry_delay(retry, attempt) for attempt in (1, 2, 3)] == delays


class _NodeTimeoutError(TimeoutError):
    """Of an author."""


@pytest.mark.parametrize(
    ("retry_on", "error", "again"),
    [
        (None, ValueError(), True),
        (["ConnectionError"], ConnectionResetError(), True),
        (["builtins.OSError"], ConnectionResetError(), True),
        (["ConnectionResetError"], ConnectionError(), False),
        (["ConnectionErro", "sock.ConnectionError"], ConnectionError(), False),
        ([f"{__name__}._NodeTimeoutError"], _NodeTimeoutError(), True),
        (["timeout"], _NodeTimeoutError(), True),
        (["timeout", "crash"], ValueError("timeout"), False),
        (["crash"], NodeExecutionError("n", errors.NodeCrashedError("killed")), True),
        (["crash"], RuntimeError(), False),
        (["RuntimeError"], errors.NodeCrashedError("killed"), True),
        (["KeyError", "ValueError"], NodeExecutionError("n", ValueError()), True),
        (["TypeError"], errors.OutputError("n", "no dict"), False),
        (["OutputError"], errors.OutputError("n", "no dict"), True),
        (["OSError"], errors.stand_in(errors.class_names(ConnectionError()), "refused"), True),
        (["RuntimeError"], errors.stand_in(errors.class_names(ConnectionError()), "no"), False),
        (["SecretError"], errors.SecretError("n", "x", "X", "not set"), False),  # stays missing
    ],
)
def test_retry_on_names_the_classes_of_errors_that_are_tried_again(retry_on, error, again):
    node: Any = {"retry": {"max": 2, "delay": 0.0}}
    if retry_on is not None:
        node["retry"]["retry_on"] = retry_on
    assert is_tried_again(node, error, 1) is again
    assert is_tried_again(node, error, 2) is False


@given(st.integers(1, 1000), st.floats(0, 1e6))
def test_jitter_stays_below_the_delay(attempt, delay):
    retry: Any = {"max": 1000, "delay": delay, "backoff": "linear", "jitter": True}
    assert 0 <= retry_delay(retry, attempt) <= delay * attempt


# --- error handler --------------------------------------------------------------------------------


def test_an_error_is_kept_with_what_is_known_of_it():
    graph = compiled("linear")
    tracker = StateTracker(graph)
    tracker.store_node_result("start", success_result("start", {}, ["exec_out"]))
    handler = ErrorHandler()
    error = NodeExecutionError("add", ValueError("no"))
    info = handler.handle_node_error("add", error, tracker.get_state())
    assert (info["node_id"], info["type"], info["message"]) == ("add", "ValueError", "no")
    assert info["completed"] == ["start"]
    assert handler.format_error_message(info) == "Node add failed: ValueError: no"
    assert handler.get_error_report() == {"count": 1, "errors": [info]}


@pytest.mark.parametrize(("on_error", "goes_on"), [("stop", False), ("continue", True)])
def test_the_flow_says_whether_a_run_goes_on(on_error, goes_on):
    assert ErrorHandler(on_error).should_continue({}) is goes_on


# --- executor -------------------------------------------------------------------------------------


def executing(name: str) -> tuple[NodeExecutor, StateTracker, InProcessActors]:
    orchestrator = FlowOrchestrator(PROJECT)
    graph = orchestrator.load(load_fixture(name))
    actors = InProcessActors(orchestrator, graph)
    return NodeExecutor(actors, DataGatherer(graph)), StateTracker(graph), actors


def test_results_of_parallel_nodes_come_in_the_order_asked_for():
    executor, tracker, actors = executing("parallel_join")
    tracker.cache_output("start", "value", "x")
    asked = ["slow", "plain", "async"]
    run = executor.execute_nodes_parallel(asked, tracker.get_state())
    results = asyncio.run(run)
    actors.cleanup_actors()
    assert [result["node_id"] for result in results] == asked
    documented = {"node_id", "status", "outputs", "error", "exec_next"}
    assert all(documented <= set(result) for result in results)
    assert {result["exec_next"] for result in results} == {"exec_out"}


def test_a_node_without_its_input_is_a_result_with_an_error():
    executor, tracker, actors = executing("linear")
    result = asyncio.run(executor.execute_node("identity", tracker.get_state()))
    actors.cleanup_actors()
    assert result["status"] == "error"
    assert type(result["exception"]).__name__ == "DataNotAvailableError"
    assert result["error"] == str(result["exception"])


def test_an_error_result_unwraps_the_nodes_own_error():
    error = NodeExecutionError("n", ValueError("no"))
    assert error_result("n", error)["error"] == "ValueError: no"
    assert error_result("n", ValueError())["error"] == "ValueError"


# --- waiting --------------------------------------------------------------------------------------


def run_by_hand(coroutine: Coroutine[Any, Any, Any]) -> Any:
    stepping = steps(coroutine)
    while True:
        try:
            wait([next(stepping)])
        except StopIteration as finished:
            return finished.value


async def add(*futures: "Future[int]") -> int:
    return sum([await Done(future) for future in futures])


def test_one_coroutine_runs_under_asyncio_and_by_hand():
    with ThreadPoolExecutor() as threads:
        for run in (asyncio.run, run_by_hand):
            assert run(add(*(threads.submit(int, number) for number in range(4)))) == 6


def test_by_hand_each_open_future_is_handed_out():
    done, waiting = Future[int](), Future[int]()
    done.set_result(1)
    stepping = steps(add(done, waiting))
    assert next(stepping) is waiting
    waiting.set_result(2)
    with pytest.raises(StopIteration) as finished:
        next(stepping)
    assert finished.value.value == 3


def test_what_is_thrown_in_reaches_the_coroutine():
    async def catching(future: "Future[int]") -> str:
        try:
            await Done(future)
        except ValueError as error:
            return f"caught {error}"
        return "nothing"

    stepping = steps(catching(Future()))
    next(stepping)
    with pytest.raises(StopIteration) as finished:
        stepping.throw(ValueError("this"))
    assert finished.value.value == "caught this"


def test_closing_the_steps_closes_the_coroutine():
    closed: list[bool] = []

    async def waits(future: "Future[int]") -> None:
        try:
            await Done(future)
        finally:
            closed.append(True)

    stepping = steps(waits(Future()))
    next(stepping)
    stepping.close()
    assert closed == [True]


def test_a_cancelled_future_is_an_error_of_what_waits_for_it():
    future = Future[int]()
    stepping = steps(add(future))
    next(stepping)
    future.cancel()
    with pytest.raises(CancelledError):
        next(stepping)
