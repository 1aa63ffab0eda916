"""Async nodes share the event loop of one actor."""

import os
import textwrap
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest
from drawing import draw, node

from rayflow_dagster.actors.manager import ActorManager
from rayflow_dagster.actors.variables import VariableStoreManager
from rayflow_dagster.errors import ClusterError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project
from rayflow_dagster.values.stored import StoredValue
from rayflow_dagster.values.storing import store_value

pytestmark = pytest.mark.ray

PATIENCE = 60  # seconds; how long a test waits before it gives up
NODES = """
    import asyncio
    import os
    import pathlib

    from rayflow_dagster import RayflowNode

    TOGETHER = 0


    class MeetNode(RayflowNode):
        '''Ends when COUNT of them are there.'''

        inputs = {"name": str}
        outputs = {"pid": int}
        COUNT = 200

        async def process(self, name):
            global TOGETHER
            TOGETHER += 1
            print("in", name)
            while TOGETHER < self.COUNT:
                await asyncio.sleep(0.01)
            print("out", name)
            return {"pid": os.getpid()}


    class DoNode(RayflowNode):
        inputs = {"value": "any"}
        outputs = {"value": "any"}
        WHAT = "large"

        async def process(self, value):
            if self.WHAT == "die":
                os._exit(1)
            if self.WHAT == "count":
                return {"value": self.variables.increment("n")}
            if self.WHAT == "hang":
                pathlib.Path(value).touch()
                await asyncio.Event().wait()
            return {"value": value * 10_000}
"""


@pytest.fixture
def manager(ray_session: None, tmp_path: Path) -> Iterator[ActorManager]:
    variables = VariableStoreManager()
    manager = manager_in(tmp_path, variables.create_store({"n": 0}))
    yield manager
    manager.cleanup_actors()
    variables.cleanup()


def manager_in(folder: Path, store: Any) -> ActorManager:
    (folder / "nodes").mkdir()
    (folder / "nodes/__init__.py").touch()
    (folder / "nodes/waiting.py").write_text(textwrap.dedent(NODES))
    orchestrator = FlowOrchestrator(Project.at(folder))
    kinds = ("large", "die", "count", "hang")
    nodes = {
        kind: node("nodes.waiting.DoNode", values={"WHAT": kind, "value": 1}) for kind in kinds
    }
    nodes["meet"] = node("nodes.waiting.MeetNode", values={"name": ""})
    flow = draw(
        {"start": node("start"), **nodes, "return": node("return")},
        ", ".join(f"start > {name}" for name in nodes) + ", meet > return",
    )
    flow["variables"] = {"n": {"type": "int", "default": 0}}
    manager = ActorManager(orchestrator.node_loader, store, str(folder))
    manager.prepare(orchestrator.load(flow))
    return manager


def test_hundreds_are_in_flight_together_and_each_keeps_its_prints(manager):
    futures = [manager.dispatch("meet", {"name": str(n)}) for n in range(200)]
    assert not wait(futures, PATIENCE).not_done
    replies = [future.result() for future in futures]
    assert {reply.outputs["pid"] for reply in replies} == {replies[0].details["pid"]}
    assert replies[0].details["pid"] != os.getpid()
    for number, reply in enumerate(replies):
        assert reply.details["stdout"] == f"in {number}\nout {number}\n"
    assert manager._pool.size == 0


def test_large_outputs_are_objects_and_stored_and_stored_inputs_are_opened(manager, tmp_path):
    given = StoredValue(store_value(tmp_path, "given", "x"))
    reply = manager.dispatch("large", {"value": given}, str(tmp_path)).result(PATIENCE)
    stored = StoredValue(reply.details["stored"]["value"])
    fetched = manager.fetch({"ref": reply.outputs["value"], "file": stored}).result(PATIENCE)
    assert fetched == {"ref": "x" * 10_000, "file": "x" * 10_000}


def test_variables_work_in_async_nodes(manager):
    assert manager.dispatch("count", {"value": 1}).result(PATIENCE).outputs == {"value": 1}


def test_when_the_shared_actor_dies_what_runs_fails_and_the_next_starts_anew(manager):
    error = manager.dispatch("die", {"value": 1}).exception(PATIENCE)
    assert "its process ended itself with code" in str(error)
    assert manager.dispatch("count", {"value": 1}).result(PATIENCE).exception is None


def test_the_end_of_the_run_ends_what_waits(manager, tmp_path):
    path = tmp_path / "hangs"
    future = manager.dispatch("hang", {"value": str(path)})
    while not path.exists():
        wait([future], 0.02)
    manager.cleanup_actors()
    assert isinstance(future.exception(PATIENCE), ClusterError)
    assert isinstance(manager.dispatch("count", {"value": 1}).exception(PATIENCE), ClusterError)
