"""What a worker does, without a cluster: it is a plain class."""

import traceback

import pytest
from odd_nodes.misbehaving import FailNode
from running import ODD, PROJECT

from rayflow_dagster.actors.capture import MAX_CHARACTERS, captured_output
from rayflow_dagster.actors.sending import MAX_FRAMES, SentError, receive, send
from rayflow_dagster.actors.worker import NodeWorker, WorkerSettings
from rayflow_dagster.errors import NodeExecutionError
from rayflow_dagster.runner import NodeCall


@pytest.fixture
def worker() -> NodeWorker:
    return NodeWorker(WorkerSettings(PROJECT.registry.roots))


def caught(how: str) -> BaseException:
    fail = FailNode()
    fail.HOW = how
    with pytest.raises(BaseException) as info:  # noqa: PT011 - whichever it is
        fail.process()
    return info.value


def test_the_envelope_comes_behind_the_values(worker):
    call = NodeCall("n", "flow_nodes.add.AddNode")
    value, envelope = worker.run(call, ["result"], None, ["x", "y"], 1, 2)
    assert (value, envelope.error, envelope.reply.outputs) == (3, None, {})
    assert worker.run(NodeCall("n", f"{ODD}MoveNode"), [], None, []).reply.exec_fired == (
        "exec_out",
    )


def test_a_failed_node_gives_no_values(worker, tmp_path):
    call = NodeCall("n", f"{ODD}GiveNode", {"WHAT": "lock"})
    value, envelope = worker.run(call, ["value"], str(tmp_path), [])
    assert value is None
    assert "an output could not be stored: TypeError" in envelope.error.text
    assert envelope.reply.exec_fired == ()
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_class_is_a_failure_and_not_an_import(worker):
    *_, envelope = worker.run(NodeCall("n", "json.codecs.builtins.exec"), ["value"], None, [])
    assert "NodeLoadError" in envelope.error.text


def test_process_needs_an_assigned_node(worker):
    with pytest.raises(NodeExecutionError, match="no node assigned"):
        worker.process()


def test_a_flow_without_variables_says_so(worker):
    *_, envelope = worker.run(NodeCall("n", "flow_nodes.count_up.CountUpNode"), ["value"], None, [])
    assert "this flow declares no variables" in envelope.error.text


def test_an_exception_arrives_with_its_type_its_frames_and_its_cause():
    error = receive("n", send(caught("cause")))
    assert isinstance(error, KeyError)
    assert isinstance(error.__cause__, ValueError)
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][-1] == "fail_cause"


def test_an_exception_that_cannot_be_pickled_arrives_as_what_it_said():
    error = receive("n", send(caught("unpicklable")))
    assert isinstance(error, NodeExecutionError)
    assert type(error.original_error).__name__ == "UnpicklableError"
    assert str(error.original_error) == "this and that"
    assert error.__traceback__ is not None


def test_an_exception_whose_class_is_not_here_arrives_as_what_it_said():
    sent = SentError("AwayError: gone", b"cnowhere\nAwayError\n.", None)
    error = receive("n", sent)
    assert isinstance(error, NodeExecutionError)
    assert type(error.original_error).__name__ == "AwayError"
    assert str(error.original_error) == "gone"


def test_endless_recursion_arrives_with_its_first_and_last_frames():
    error = receive("n", send(caught("recursion")))
    assert isinstance(error, RecursionError)
    assert len(traceback.extract_tb(error.__traceback__)) == MAX_FRAMES


def test_an_exception_that_caused_itself_still_arrives():
    error = ValueError("circle")
    error.__cause__ = error
    assert str(receive("n", send(error))) == "circle"


def test_captured_output_is_bounded(capsys):
    with captured_output() as captured:
        for _ in range(3):
            print("x" * MAX_CHARACTERS)  # noqa: T201 - what is tested
    out, err = captured.texts()
    assert MAX_CHARACTERS < len(out) < MAX_CHARACTERS + 100
    assert "left out" in out
    assert err == capsys.readouterr().out == ""
