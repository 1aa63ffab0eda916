"""Running one node once."""

import asyncio
import logging
import pickle
import time
from typing import Any

import numpy as np
import pytest
from flow_nodes.async_identity import AsyncIdentityNode
from flow_nodes.choose import ChooseNode
from flow_nodes.count_up import CountUpNode
from flow_nodes.switch import SwitchNode
from odd_nodes.misbehaving import BrokenPromiseNode, FailNode, GiveNode

from rayflow_dagster.errors import NodeExecutionError, OutputError
from rayflow_dagster.metadata import inspect_class
from rayflow_dagster.node import RayflowNode
from rayflow_dagster.runner import (
    MAX_LOG_RECORDS,
    NodeCall,
    NodeReply,
    how_far_text,
    log_of,
    run_node_class,
)
from rayflow_dagster.variables.store import GlobalVariableStore, Snapshot, WriteTracking

VARIABLES = {"counter": {"type": "any", "default": 1}}


def run(node_class: type[RayflowNode], constants: Any = None, **inputs: Any) -> NodeReply:
    metadata = inspect_class(node_class)
    call = NodeCall("n", metadata["path"], constants or {})
    variables = WriteTracking(GlobalVariableStore(VARIABLES))
    return run_node_class(node_class, metadata, call, inputs, variables)


def test_outputs_and_the_fired_exec_output_come_back():
    reply = run(SwitchNode, value=3.0)
    assert (reply.outputs, reply.exec_fired, reply.exception) == ({"value": 3.0}, ("low",), None)
    assert reply.details["seconds"] >= 0


def test_constants_of_the_flow_override_those_of_the_class():
    assert run(SwitchNode, {"LIMIT": 2}, value=3.0).exec_fired == ("high",)


@pytest.mark.parametrize(
    ("said", "fired"),
    [("a", ("a",)), (["b", "a", "b"], ("a", "b")), ({"a", "b"}, ("a", "b")), ([], ())],
)
def test_exec_next_is_a_name_or_several_in_the_declared_order(said, fired):
    assert run(ChooseNode, which=said).exec_fired == fired


@pytest.mark.parametrize("said", ["c", ["a", "c"], 3, [["a"]], [None], None, {"a": 1}])
def test_an_exec_output_that_does_not_exist_is_the_nodes_failure(said):
    reply = run(ChooseNode, which=said)
    assert isinstance(reply.exception, OutputError)
    assert reply.exec_fired == ()


def test_firing_several_outputs_of_which_the_class_promises_one_is_the_nodes_failure():
    reply = run(BrokenPromiseNode)
    assert isinstance(reply.exception, OutputError)
    assert "the class says exec_exclusive = True" in str(reply.exception)
    assert reply.exec_fired == ()
    assert run(ChooseNode, which=["a", "b"]).exec_fired == ("a", "b")


def test_a_node_of_one_exec_output_fires_it():
    assert run(GiveNode).exec_fired == ("exec_out",)


@pytest.mark.parametrize("how", ["value", "exit", "interrupt", "recursion", "silent"])
def test_whatever_process_raises_is_the_nodes_failure(how):
    reply = run(FailNode, {"HOW": how})
    assert isinstance(reply.exception, Exception)
    assert reply.exception.__traceback__ is not None
    assert reply.details["input_previews"] == {}


def test_an_exit_is_wrapped_so_that_raising_it_ends_no_process():
    error = run(FailNode, {"HOW": "exit"}).exception
    assert isinstance(error, NodeExecutionError)
    assert isinstance(error.original_error, SystemExit)


def test_an_input_of_another_type_is_refused_with_a_preview():
    reply = run(SwitchNode, value="x" * 1000)
    assert isinstance(reply.exception, TypeError)
    assert "input 'value' of node 'n' takes float" in str(reply.exception)
    assert len(str(reply.exception)) < 300


def test_an_async_process_runs_inside_and_outside_a_loop():
    async def inside() -> NodeReply:
        return run(AsyncIdentityNode, value=1)

    assert run(AsyncIdentityNode, value=1).outputs == {"value": 1}
    assert asyncio.run(inside()).outputs == {"value": 1}


def test_an_async_generator_is_refused():
    class Many(RayflowNode):
        async def process(self) -> Any:
            yield 1

    assert "a generator" in str(run(Many).exception)


def test_a_value_that_cannot_be_shown_does_not_fail_the_node():
    class Big(RayflowNode):
        outputs = {"value": int}

        def process(self) -> dict[str, Any]:
            return {"value": 10**5000}

    assert run(Big).exception is None


def test_log_records_are_kept_and_wrong_arguments_do_not_fail_the_node():
    class Talking(RayflowNode):
        def process(self) -> None:
            self.log.info("%d items", 3)
            self.log.warning("%d items", "many")
            try:
                raise ValueError("seen")
            except ValueError:
                self.log.exception("caught")

    before = time.time()
    reply = run(Talking)
    assert reply.exception is None
    first, second, third = reply.details["logs"]
    assert (first["level"], first["message"]) == (logging.INFO, "3 items")
    assert before <= first["time"] <= second["time"] <= time.time()
    assert second["message"].startswith("%d items (its arguments do not fit: TypeError")
    assert "ValueError: seen" in third["message"]


class FarNode(RayflowNode):
    outputs = {"value": "any"}
    DONE: Any = 1

    def process(self) -> dict[str, Any]:
        self.progress(0, 4)
        self.progress(self.DONE, 4, "parts")
        return {"value": 1}


@pytest.mark.parametrize("done", [3, 3.0, np.int64(3)])
def test_how_far_a_node_came_last_is_told(done):
    how_far = run(FarNode, constants={"DONE": done}).details["how_far"]
    assert how_far == {"done": 3.0, "total": 4.0, "text": "parts"}
    assert how_far_text(how_far) == "3 of 4 (75%), parts"


@pytest.mark.parametrize("done", ["3", [1]])
def test_what_is_no_number_is_no_progress(done):
    error = run(FarNode, constants={"DONE": done}).exception
    assert isinstance(error, ValueError)
    assert str(error).startswith("progress takes numbers")


@pytest.mark.parametrize(
    ("done", "total", "text", "shown"),
    [(3, None, "", "3"), (0, 0, "rows", "0 of 0, rows"), (2.5, 10, "", "2.5 of 10 (25%)")],
)
def test_how_far_as_people_read_it(done, total, text, shown):
    assert how_far_text({"done": done, "total": total, "text": text}) == shown


def test_a_node_outside_of_a_run_tells_nobody():
    assert FarNode().process() == {"value": 1}


def test_the_variables_are_kept_as_a_node_that_wrote_leaves_them():
    assert "variables" not in run(GiveNode).details
    assert pickle.loads(run(CountUpNode).details["variables"]) == Snapshot(1, {"counter": 2})


class Fading:
    """Can be pickled until it has faded."""

    has_faded = False

    def __reduce__(self) -> tuple[Any, ...]:
        if Fading.has_faded:
            raise TypeError("it has faded")
        return Fading, ()


def test_variables_that_cannot_be_kept_are_the_nodes_failure():
    class Fade(RayflowNode):
        def process(self) -> None:
            self.variables.set("counter", Fading())
            Fading.has_faded = True

    reply = run(Fade)
    assert "the variables it wrote could not be kept" in str(reply.exception)
    assert "it has faded" in str(reply.exception)
    assert reply.exec_fired == ()


def test_of_none_the_type_is_not_told_twice():
    class Nothing(RayflowNode):
        outputs = {"value": int}

        def process(self) -> dict[str, Any]:
            return {"value": None}

    assert "output 'value' is declared int, but is None" in str(run(Nothing).exception)
    assert "which is None" not in str(run(Nothing).exception)


def test_log_records_are_bounded():
    class Chatty(RayflowNode):
        def process(self) -> None:
            for number in range(MAX_LOG_RECORDS + 50):
                self.log.debug("%d", number)
            self.log.debug("x" * 10**6)

    logs = log_of(run(Chatty).details)
    assert len(logs) == MAX_LOG_RECORDS + 1
    assert "left out 51 more" in logs[-1]["message"]
