"""What a worker does, without a cluster: it is a plain class."""

import socket
import subprocess
import sys
import traceback
from typing import Any

import pytest
from odd_nodes.misbehaving import FailNode
from running import ODD, PROJECT

from rayflow_dagster.actors.sending import MAX_FRAMES, SentError, receive, send
from rayflow_dagster.actors.worker import (
    IN_ENVELOPE,
    CallData,
    Envelope,
    Job,
    NodeWorker,
    WorkerSettings,
)
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


def run(worker: NodeWorker, class_path: str, *, constants: Any = None, store_in: Any = None,
        outputs: tuple[str, ...] = ("value",), **values: Any) -> Any:  # fmt: skip
    job = Job(NodeCall("n", class_path, constants or {}), outputs)
    answer = worker.run(job.packed(), CallData(store_in, values, ()).packed())
    if not outputs:
        return Envelope.unpacked(answer)
    return (*answer[:-1], Envelope.unpacked(answer[-1]))


def test_the_envelope_comes_behind_the_values_and_has_the_small_ones(worker):
    value, envelope = run(worker, "flow_nodes.add.AddNode", outputs=("result",), x=1, y=2)
    assert (value, envelope.error, envelope.outputs) == (IN_ENVELOPE, None, {"result": 3})
    value, envelope = run(worker, f"{ODD}GiveNode", constants={"WHAT": "large"})
    assert (len(value), envelope.outputs) == (2_000_000, {})
    envelope = run(worker, f"{ODD}MoveNode", outputs=())
    assert envelope.exec_fired == ("exec_out",)


def test_refs_come_behind_the_values(worker):
    job = Job(NodeCall("n", "flow_nodes.add.AddNode"), ("result",))
    _, envelope = worker.run(job.packed(), CallData(None, {"x": 1}, ("y",)), 5)
    assert Envelope.unpacked(envelope).outputs == {"result": 6}


def test_a_failed_node_gives_no_values(worker, tmp_path):
    value, envelope = run(
        worker, f"{ODD}GiveNode", constants={"WHAT": "lock"}, store_in=str(tmp_path)
    )
    assert value == IN_ENVELOPE
    text = f"output 'value' could not be stored in {tmp_path}: TypeError: cannot pickle"
    assert text in envelope.error.message
    assert "Return a value that can be pickled" in envelope.error.message
    assert envelope.exec_fired == ()
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_the_disk_does_not_take_says_where_it_was_to_go(worker, tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "steps"
    _, envelope = run(worker, f"{ODD}GiveNode", constants={"WHAT": "large"}, store_in=str(folder))
    assert f"output 'value' could not be stored in {folder}: NotADirectoryError" in (
        envelope.error.message
    )
    assert "name another one in the flow's settings.storage" in envelope.error.message


def test_a_machine_that_does_not_see_the_storage_is_named_and_stores_nothing(worker, tmp_path):
    folder = tmp_path / "run" / "steps" / "n"
    data = {"constants": {"WHAT": "large"}, "store_in": str(folder)}
    _, envelope = run(worker, f"{ODD}GiveNode", **data)
    told = f"machine {socket.gethostname()} does not see {tmp_path / 'run'}, which the run's"
    assert told in envelope.error.message
    assert "name another one in the flow's settings.storage" in envelope.error.message
    assert list(tmp_path.iterdir()) == []

    (tmp_path / "run").mkdir()
    _, envelope = run(worker, f"{ODD}GiveNode", **data)
    assert envelope.error is None
    assert (folder / "value.pkl").is_file()


def test_an_unknown_class_is_a_failure_and_not_an_import(worker):
    *_, envelope = run(worker, "json.codecs.builtins.exec")
    assert "NodeLoadError" in envelope.error.names


def test_process_needs_an_assigned_node(worker):
    with pytest.raises(NodeExecutionError, match="no node assigned"):
        worker.process()


@pytest.mark.parametrize(
    ("declared", "told"),
    [(False, "this flow declares no variables"), (True, "no module of this node's project")],
)
def test_a_node_that_cannot_reach_variables_is_told_why(declared, told):
    worker = NodeWorker(WorkerSettings(PROJECT.registry.roots, has_variables=declared))
    *_, envelope = run(worker, "flow_nodes.count_up.CountUpNode")
    assert told in envelope.error.message


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
    sent = SentError(("AwayError",), "gone", b"cnowhere\nAwayError\n.", None)
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


def test_a_worker_imports_nothing_that_few_nodes_need():
    heavy = {"dagster", "fsspec", "networkx", "pydantic", "numpy", "sqlalchemy"}
    code = (
        "import sys, ray; before = set(sys.modules); import rayflow_dagster.actors.worker;"
        f"print(sorted({heavy} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
