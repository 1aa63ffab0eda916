"""``ActorManager`` on real Ray actors."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy
import pytest
import ray
from drawing import draw, node
from forked_pythons import ForkedPythons
from running import ODD, PROJECT

from rayflow_dagster.actors import pool
from rayflow_dagster.actors.lease import Worker
from rayflow_dagster.actors.manager import ActorManager
from rayflow_dagster.actors.variables import StoreProxy, VariableStoreManager
from rayflow_dagster.cluster._ray import is_referenced
from rayflow_dagster.cluster.residents import NAMESPACE
from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.errors import ClusterError, NodeExecutionError, NodeLoadError, VariableError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.values.stored import StoredValue
from rayflow_dagster.values.storing import store_value
from rayflow_dagster.variables.store import Snapshot

pytestmark = pytest.mark.ray

ADD = "flow_nodes.add.AddNode"
PATIENCE = 60  # seconds; how long a test waits before it gives up


@pytest.fixture
def manager(ray_session: None) -> Iterator[ActorManager]:
    flow = draw(
        {
            "start": node("start"),
            "add": node("add", values={"x": 1, "y": 2}),
            "dies": node(f"{ODD}FailNode", values={"HOW": "death"}),
            "hangs": node(f"{ODD}HangNode", values={"path": "/nowhere"}),
            "own": node(f"{ODD}OwnNode"),
            "pid": node(f"{ODD}GiveNode", values={"WHAT": "pid"}),
            "large": node(f"{ODD}GiveNode", values={"WHAT": "large"}),
            "lock": node(f"{ODD}GiveNode", values={"WHAT": "lock"}),
            "pass": node("identity", values={"value": 1}),
            "async": node("flow_nodes.async_identity.AsyncIdentityNode", values={"value": 1}),
            "resident": node("identity", values={"value": 1}, resident=True),
            "return": node("return"),
        },
        "start > add, start > dies, start > hangs, start > own, start > pid, start > large,"
        "start > lock,"
        "start > pass, start > async, start > resident,"
        "add > return",
    )
    manager = ActorManager(NodeLoader(PROJECT.registry), None, str(PROJECT.root))
    manager.prepare(FlowOrchestrator(PROJECT).load(flow))
    yield manager
    manager.cleanup_actors()


def test_a_small_plain_output_comes_as_it_is_and_costs_no_file(manager, tmp_path):
    reply = manager.dispatch("add", {"x": 1, "y": 2}, str(tmp_path)).result(PATIENCE)
    assert reply.outputs == {"result": 3}
    assert reply.exec_fired == ("exec_out",)
    assert "stored" not in reply.details
    assert "previews" not in reply.details
    assert list(tmp_path.iterdir()) == []


def test_any_other_output_comes_as_an_object_ref_previewed_and_stored(manager, tmp_path):
    reply = manager.dispatch("large", {}, str(tmp_path)).result(PATIENCE)
    assert ray.get(reply.outputs["value"]) == b"x" * 2_000_000
    assert "2,000,000 bytes" in reply.details["previews"]["value"]
    assert reply.details["stored"] == {"value": f"{tmp_path}/value.pkl"}


def test_refs_and_stored_values_are_opened_where_they_are_used(manager, tmp_path):
    stored = StoredValue(store_value(tmp_path, "three", 3))
    reply = manager.dispatch("add", {"x": ray.put(3), "y": stored}).result(PATIENCE)
    assert reply.outputs == {"result": 6}
    fetched = manager.fetch({"ref": ray.put(6), "file": stored, "value": 5})
    assert fetched.result(PATIENCE) == {"ref": 6, "file": 3, "value": 5}
    assert manager.fetch({}).result(PATIENCE) == {}


def test_an_object_is_let_go_of_after_its_last_reader(manager):
    value = manager.dispatch("pass", {"value": ray.put([0] * 10_000)}).result(PATIENCE)
    again = manager.dispatch("pass", value.outputs).result(PATIENCE).outputs["value"]
    first, second = value.outputs["value"].hex(), again.hex()
    assert is_referenced(first)
    assert first != second
    del value
    wait_until(lambda: not is_referenced(first))
    del again
    wait_until(lambda: not is_referenced(second))


@pytest.mark.parametrize("place", ["pass", "async", "resident"])
def test_a_large_value_that_is_handed_on_as_it_came_is_not_copied(manager, place, tmp_path):
    given = ray.put(numpy.arange(100_000))
    reply = manager.dispatch(place, {"value": given}, str(tmp_path)).result(PATIENCE)
    assert reply.exception is None
    assert reply.outputs["value"] == given
    assert reply.details["measures"]["value"]["shape"] == "100000"
    stored = StoredValue(reply.details["stored"]["value"]).load()
    assert (stored == numpy.arange(100_000)).all()

    gone = given.hex()
    del given, reply
    wait_until(lambda: not is_referenced(gone))


def test_a_file_that_is_gone_fails_the_fetch_and_the_node(manager):
    gone = StoredValue("/nowhere/value.pkl")
    assert isinstance(manager.fetch({"a": gone}).exception(PATIENCE), FileNotFoundError)
    reply = manager.dispatch("add", {"x": gone, "y": 1}).result(PATIENCE)
    assert isinstance(reply.exception, FileNotFoundError)


def test_an_output_that_cannot_be_sent_is_told_from_an_input_that_cannot_be_read(manager):
    with pytest.raises(NodeExecutionError, match=r"an output \(value\) could not be sent .*lock"):
        manager.dispatch("lock", {}).result(PATIENCE)

    unreadable = ray.put(Unreadable())
    with pytest.raises(NodeExecutionError, match=r"an input \(value\) could not be read"):
        manager.dispatch("pass", {"value": unreadable}).result(PATIENCE)


class Unreadable:
    """Can be pickled, but not unpickled."""

    def __reduce__(self) -> Any:
        return divmod, (1, 0)


def test_a_worker_is_used_again(manager):
    pids = set()
    for _ in range(5):
        pids.add(manager.dispatch("pid", {}).result(PATIENCE).outputs["value"])
    assert len(pids) <= 2


def test_workers_start_early_as_many_as_nodes_can_run_at_once(ray_session):
    flow = draw(
        {"start": node("start"), "a": node("identity", values={"value": 1}),
         "b": node("identity", values={"value": 1}), "c": node("identity", values={"value": 1}),
         "own": node(f"{ODD}OwnNode"), "return": node("return")},
        "start > a, a > b, start > c, start > own, b > return",
    )  # fmt: skip
    manager = ActorManager(NodeLoader(PROJECT.registry), None)
    manager.prepare(FlowOrchestrator(PROJECT).load(flow), starts_early=True)
    wait_until(lambda: manager._pool.size == 2)
    assert manager.dispatch("a", {"value": 1}).result(PATIENCE).exception is None
    assert manager._pool.size == 2
    manager.cleanup_actors()


def test_many_nodes_on_two_slots_all_answer_though_some_workers_die(manager):
    futures = [manager.dispatch(node_id, {}) for node_id in ["pid", "dies", "pid", "own"] * 2]
    assert not wait(futures, PATIENCE).not_done
    failed = [future.exception() is not None for future in futures]
    assert failed == [False, True, False, False] * 2
    while manager._pool.size > 2:  # those that died are counted until they are taken off
        wait([], 0.02)


def test_a_cancelled_request_is_not_run_and_does_not_hold_a_worker(manager):
    waiting = [manager.dispatch("pid", {}) for _ in range(6)]
    assert waiting[-1].cancel()
    assert not wait(waiting, PATIENCE).not_done
    assert waiting[-1].cancelled()
    assert manager.dispatch("pid", {}).result(PATIENCE).exception is None


def test_cleaning_up_fails_what_runs_and_what_waits_and_what_comes_later(manager, tmp_path):
    path = tmp_path / "pid"
    running = manager.dispatch("hangs", {"path": str(path)})
    rest = [manager.dispatch("hangs", {"path": str(tmp_path / str(n))}) for n in range(3)]
    rest[-1].cancel()
    while not path.exists():
        wait([running], 0.02)
    manager.cleanup_actors()
    assert isinstance(running.exception(PATIENCE), ClusterError)
    assert all(isinstance(future.exception(PATIENCE), ClusterError) for future in rest[:-1])
    assert isinstance(manager.dispatch("pid", {}).exception(PATIENCE), ClusterError)
    manager.cleanup_actors()
    while is_alive(int(path.read_text())):
        wait([], 0.02)


def test_cleaning_up_while_workers_start_leaves_nothing(manager):
    future = manager.dispatch("pid", {})
    manager.cleanup_actors()
    assert future.exception(PATIENCE) is not None
    assert manager._pool.size == 0


def test_a_worker_that_still_starts_is_ended_when_it_is_up(ray_session, tmp_path, monkeypatch):
    """Ray now and then never gives a slot back whose actor was ended while it started."""
    monkeypatch.setattr(pool, "COMING_UP_SECONDS", PATIENCE)  # a busy machine starts it late

    class SlowToStart:
        def __init__(self, path: Path) -> None:
            time.sleep(1)
            path.with_suffix(".part").write_text(str(os.getpid()))
            path.with_suffix(".part").rename(path)

        def ready(self) -> None: ...

    path = tmp_path / "pid"
    handle = ray.remote(SlowToStart).options(num_cpus=1).remote(path)
    pool.end_worker(Worker(handle, handle.ready.remote().future()))
    wait_until(path.exists)
    wait_until(lambda: not is_alive(int(path.read_text())))


def test_to_end_an_actor_without_a_connection_starts_no_ray(pythons: ForkedPythons):
    source = """
import ray
from rayflow_dagster.actors.pool import end
end(object())
print(ray.is_initialized())
"""
    # In a process of its own, as this one may be connected.
    found = pythons.run(["-c", source])
    assert found.stdout == "False\n"


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        wait([], 0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def test_a_worker_that_cannot_start_fails_its_node_with_the_reason(ray_session):
    manager = ActorManager(NodeLoader(PROJECT.registry), None)
    manager._settings = None  # type: ignore[assignment]  # what a worker cannot start with
    graph = FlowOrchestrator(PROJECT).load(
        draw(
            {"start": node("start"), "add": node("add", values={"x": 1, "y": 2}),
             "return": node("return")},
            "start > add, add > return",
        )
    )  # fmt: skip
    manager.prepare(graph)
    futures = [manager.dispatch("add", {"x": 1, "y": 2}) for _ in range(4)]
    assert not wait(futures, PATIENCE).not_done
    assert all("could not be started" in str(future.exception()) for future in futures)
    manager.cleanup_actors()


def test_what_no_machine_has_is_refused_before_anything_starts(manager):
    graph: Any = {
        "nodes": {
            "n": {"class_path": ADD, "constants": {}, "metadata": {"outputs": {}},
                  "ray_options": {"resources": {"quantum": 1}}}
        }
    }  # fmt: skip
    with pytest.raises(ClusterError, match="node 'n' asks for CPU 1, quantum 1"):
        manager.prepare(graph)


def test_an_actor_of_a_nodes_own_runs_it_with_its_constants(manager):
    actor = manager.create_actor("s", "flow_nodes.append.AppendNode", {"SUFFIX": "?"})
    assert isinstance(actor, ray.actor.ActorHandle)
    assert manager.get_actor("s") is actor
    assert ray.get(actor.process.remote(text="a")) == {"text": "a?"}
    manager._configure_actor(actor, {"SUFFIX": "!"})
    assert ray.get(actor.process.remote(text="a")) == {"text": "a!"}


def test_more_nodes_may_have_actors_than_the_cluster_has_slots(manager):
    actors = [manager.create_actor(f"n{n}", ADD, {}) for n in range(4)]
    assert ray.get([actor.process.remote(x=1, y=n) for n, actor in enumerate(actors)])[3] == {
        "result": 4
    }


def test_an_actor_that_is_gone_and_a_class_that_is_not_there_are_said(manager):
    with pytest.raises(KeyError):
        manager.get_actor("nobody")
    with pytest.raises(NodeLoadError):
        manager.create_actor("n", "flow_nodes.add.SubtractNode", {})


def test_a_failing_node_of_an_own_actor_raises_a_node_execution_error(manager):
    actor = manager.create_actor("f", f"{ODD}FailNode", {"HOW": "unpicklable"})
    with pytest.raises(NodeExecutionError, match="this and that") as caught:
        ray.get(actor.process.remote())
    assert caught.value.node_id == "f"


def test_cleaning_up_ends_the_actors_that_were_asked_for(manager):
    actor = manager.create_actor("n", f"{ODD}GiveNode", {"WHAT": "pid"})
    pid = ray.get(actor.process.remote())["value"]
    assert pid != os.getpid()
    manager.cleanup_actors()
    while is_alive(pid):
        wait([], 0.02)
    with pytest.raises(KeyError):
        manager.get_actor("n")


# --- the variable store ---------------------------------------------------------------------------


def test_a_store_has_a_handle_from_creation_to_cleanup(ray_session):
    variables = VariableStoreManager()
    with pytest.raises(ClusterError, match="create_store first"):
        variables.get_store_handle()
    left = Snapshot(3, {"a": 5})
    handle = variables.create_declared({"a": {"type": "int", "default": 1}}, left)
    assert isinstance(handle, ray.actor.ActorHandle)
    assert variables.get_store_handle() is handle
    store = StoreProxy(handle)
    assert (store.get("a"), store.increment("a", 2), store.snapshot().values) == (5, 7, {"a": 7})
    with pytest.raises(VariableError, match="'b' is not declared"):
        store.get("b")
    variables.cleanup()
    variables.cleanup()
    with pytest.raises(ClusterError):
        variables.get_store_handle()
    with pytest.raises(ClusterError, match="has died"):
        get_for_ever(store, "a")


def get_for_ever(store: StoreProxy, name: str) -> None:
    while True:
        store.get(name)


def test_processes_of_one_run_share_a_store_by_its_name(ray_session):
    one, two = VariableStoreManager("run-7"), VariableStoreManager("run-7")
    first = StoreProxy(one.create_store({"a": 1}))
    first.increment("a")
    handle = two.create_store({"a": 1})
    assert StoreProxy(handle).get("a") == 2
    two.cleanup()
    assert first.get("a") == 2
    ray.kill(handle)


STEP = """
import sys
from rayflow_dagster.cluster import connection
from rayflow_dagster.actors.variables import StoreProxy, VariableStoreManager
connection.connect()
StoreProxy(VariableStoreManager("run-8").create_store({"a": 1})).increment("a")
"""


def test_a_shared_store_outlives_its_processes_and_ends_with_their_parent(ray_session):
    # The shell is the parent, as the process of the run is that of the steps' processes.
    parent = subprocess.Popen(
        ["/bin/sh", "-c", '"$0" -c "$1" && "$0" -c "$1" && echo stepped && read line',
         sys.executable, STEP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with parent:
        assert parent.stdout
        assert parent.stdout.readline() == "stepped\n"
        store = StoreProxy(ray.get_actor("run-8", namespace=NAMESPACE))
        assert store.get("a") == 3
        assert parent.stdin
        parent.stdin.write("\n")
    with pytest.raises(ClusterError, match="has died"):
        get_for_ever(store, "a")
