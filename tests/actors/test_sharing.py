"""Runs beside each other, and nodes of one run, share the slots of one Ray."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path

import pytest
from drawing import draw, node
from running import ODD, PROJECT

from rayflow_dagster.actors.manager import ActorManager
from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.orchestrator import FlowOrchestrator

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

PATIENCE = 150.0  # seconds; how long a test waits before it gives up


@pytest.fixture
def new_manager(ray_session: None) -> Iterator[Callable[[], ActorManager]]:
    """Makes managers, each that of a run of its own."""
    tenth = [f"tenth_{number}" for number in range(10)]
    flow = draw(
        {
            "start": node("start"),
            "pid": node(f"{ODD}GiveNode", values={"WHAT": "pid"}),
            "sleep": node("sleep", values={"SECONDS": 0.2, "value": 1}),
            "whole": node(f"{ODD}GiveNode", values={"WHAT": "pid"}, ray={"num_cpus": 2}),
            "hangs": node(f"{ODD}HangNode", values={"path": "/nowhere"}),
            **{
                name: node(f"{ODD}HangNode", values={"path": "/nowhere"}, ray={"num_cpus": 0.2})
                for name in tenth
            },
            "return": node("return"),
        },
        ",".join(f"start > {name}" for name in ["pid", "sleep", "whole", "hangs", *tenth])
        + ", pid > return",
    )
    made: list[ActorManager] = []

    def make() -> ActorManager:
        manager = ActorManager(NodeLoader(PROJECT.registry), None, str(PROJECT.root))
        manager.prepare(FlowOrchestrator(PROJECT).load(flow))
        made.append(manager)
        return manager

    yield make
    for manager in made:
        manager.cleanup_actors()


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        wait([], 0.02)


def test_a_run_that_has_nothing_to_do_leaves_its_slots_to_another(new_manager):
    one, other = new_manager(), new_manager()
    futures = [one.dispatch("sleep", {"value": 1}) for _ in range(2)]
    assert not wait(futures, PATIENCE).not_done
    assert other.dispatch("pid", {}).result(PATIENCE).exception is None
    wait_until(lambda: one._pool.size == 0)


def test_a_run_with_much_to_do_lets_another_have_its_turn(new_manager):
    one, other = new_manager(), new_manager()
    many = [one.dispatch("sleep", {"value": 1}) for _ in range(100)]
    wait(many, PATIENCE, FIRST_COMPLETED)
    assert other.dispatch("pid", {}).result(PATIENCE).exception is None
    assert not all(future.done() for future in many)


def test_a_worker_is_reserved_when_one_is_there_and_not_before(new_manager, tmp_path):
    one, other = new_manager(), new_manager()
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        one.dispatch("hangs", {"path": str(path)})
    wait_until(lambda: all(path.exists() for path in paths))
    reserved = other.reserve("pid")
    wait_until(lambda: other._pool.size == 1)
    assert not reserved.done()
    one.cleanup_actors()
    reserved.result(PATIENCE)
    assert other.dispatch("pid", {}).result(PATIENCE).exception is None


def test_others_get_the_workers_that_were_reserved_and_given_back(new_manager):
    manager = new_manager()
    for node_id in ("pid", "sleep"):
        manager.reserve(node_id).result(PATIENCE)
    for node_id in ("pid", "sleep"):
        manager.give_back(node_id)
    manager.reserve("whole").result(PATIENCE)  # an actor of its own, on both slots
    manager.reserve("hangs")
    for node_id in ("whole", "hangs"):
        manager.give_back(node_id)
    assert manager.dispatch("pid", {}).result(PATIENCE).exception is None


def test_ten_nodes_of_a_fifth_of_a_slot_run_at_once_on_two_slots(new_manager, tmp_path: Path):
    manager = new_manager()
    paths = {name: tmp_path / name for name in (f"tenth_{number}" for number in range(10))}
    for name, path in paths.items():
        manager.dispatch(name, {"path": str(path)})
    wait_until(lambda: all(path.exists() for path in paths.values()))
