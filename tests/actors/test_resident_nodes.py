"""Resident nodes: actors that outlive the run, one per node of a flow of a project."""

import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray
from drawing import draw, node
from running import execute

from rayflow_dagster.actors.manager import ActorManager
from rayflow_dagster.actors.resident_actor import ResidentActor
from rayflow_dagster.actors.variables import VariableStoreManager
from rayflow_dagster.actors.worker import WorkerSettings
from rayflow_dagster.cli.direct import DirectRunner
from rayflow_dagster.cli.flows import FlowFile
from rayflow_dagster.cli.report import Watcher
from rayflow_dagster.cluster.residents import NAMESPACE, end_residents, residents
from rayflow_dagster.errors import ClusterError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project
from rayflow_dagster.runner import NodeReply

pytestmark = pytest.mark.ray

PATIENCE = 60  # seconds; how long a test waits before it gives up
COUNTER = """
    import asyncio
    import os
    import pathlib
    import time

    from rayflow_dagster import RayflowNode
    from helping.words import WORD

    class CounterNode(RayflowNode):
        '''Counts its executions.'''

        inputs = {"wait_for": {"type": str, "default": ""}}
        outputs = {"count": int, "pid": int, "word": str}
        resident = True
        STEP = 1

        def __init__(self):
            self.count = 0

        def process(self, wait_for):
            if wait_for:
                pathlib.Path(wait_for + ".here").touch()
            while wait_for and not pathlib.Path(wait_for).exists():
                time.sleep(0.01)
            self.count += self.STEP
            self.log.info("counted %d", self.count)
            print("counted")
            return {"count": self.count, "pid": os.getpid(), "word": WORD}


    class DyingNode(RayflowNode):
        resident = True

        def process(self):
            os._exit(1)


    class LoopNode(RayflowNode):
        outputs = {"same": bool, "beats": int}
        resident = True

        def __init__(self):
            self.loop = None
            self.beats = 0

        async def beat(self):
            while True:
                self.beats += 1
                await asyncio.sleep(0.001)

        async def process(self):
            same = self.loop is asyncio.get_running_loop()
            if self.loop is None:
                self.loop = asyncio.get_running_loop()
                self.task = asyncio.create_task(self.beat())
            return {"same": same, "beats": self.beats}


    class TallyNode(RayflowNode):
        outputs = {"value": "any"}
        resident = True

        def process(self):
            return {"value": self.variables.increment("tally")}
"""


@dataclass
class Runs:
    """A project whose flow can be connected many times, as runs do."""

    folder: Path
    managers: list[ActorManager] = field(default_factory=list)

    def start(
        self, flow: str = "counting", store: Any = None, *, data: Any = None, **constants: Any
    ) -> ActorManager:
        orchestrator = FlowOrchestrator(Project.at(self.folder))
        kinds = ("Counter", "Dying", "Loop", "Tally")
        nodes = {kind: node(f"nodes.counter.{kind}Node") for kind in kinds}
        nodes["Counter"]["data"] |= {"constantValues": constants, **(data or {})}
        drawn = draw(
            {"start": node("start"), **nodes, "return": node("return")},
            ", ".join(f"start > {kind}" for kind in kinds) + ", Counter > return",
        )
        drawn["variables"] = {"tally": {"type": "int", "default": 0}}
        manager = ActorManager(orchestrator.node_loader, store, str(self.folder), flow=flow)
        manager.prepare(orchestrator.load(drawn))
        self.managers.append(manager)
        return manager

    def once(self, node_id: str = "Counter", store: Any = None, **more: Any) -> NodeReply:
        """What a run of its own gives, from start to end."""
        manager = self.start(store=store, **more)
        reply = manager.dispatch(node_id, {"wait_for": ""} if node_id == "Counter" else {})
        try:
            return reply.result(PATIENCE)
        finally:
            manager.cleanup_actors()


@pytest.fixture
def runs(ray_session: None, tmp_path: Path) -> Iterator[Runs]:
    write(tmp_path / "nodes/__init__.py", "")
    write(tmp_path / "nodes/counter.py", COUNTER)
    write(tmp_path / "helping/__init__.py", "")
    write(tmp_path / "helping/words.py", "WORD = 'first'\n")
    runs = Runs(tmp_path)
    yield runs
    for manager in runs.managers:
        manager.cleanup_actors()
    end_residents()


def write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(textwrap.dedent(text))


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        wait([], 0.02)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_the_next_run_finds_the_object_with_its_state(runs):
    first, second = runs.once().outputs, runs.once().outputs
    assert (first["count"], second["count"]) == (1, 2)
    assert first["pid"] == second["pid"]


def test_the_log_and_the_prints_are_those_of_the_run(runs):
    runs.once()
    details = runs.once().details
    assert [record["message"] for record in details["logs"]] == ["counted 2"]
    assert details["stdout"] == "counted\n"


def test_another_flow_of_the_same_project_has_its_own(runs):
    assert runs.once().outputs["count"] == runs.once(flow="other").outputs["count"] == 1
    assert len(residents()) == 2
    assert all(each.name.startswith("rayflow-resident-") for each in residents())


def test_other_constants_end_the_actor_and_start_one(runs):
    old = runs.once().outputs
    new = runs.once(STEP=5).outputs
    assert new["count"] == 5
    assert len(residents()) == 1
    wait_until(lambda: not is_alive(old["pid"]))


@pytest.mark.parametrize("file", ["nodes/counter.py", "helping/words.py"])
def test_code_that_changed_is_loaded_by_a_new_actor(runs, file):
    assert runs.once().outputs["word"] == "first"
    (runs.folder / file).write_text(
        (runs.folder / file).read_text().replace("WORD = 'first'", "WORD = 'second'") + "\n# new\n"
    )
    outputs = runs.once().outputs
    assert outputs["count"] == 1
    assert outputs["word"] == ("second" if "words" in file else "first")


def test_two_runs_at_once_use_it_one_after_the_other(runs, tmp_path):
    gate = tmp_path / "gate"
    one, two = runs.start(), runs.start()
    first = one.dispatch("Counter", {"wait_for": str(gate)})
    wait_until(lambda: Path(f"{gate}.here").exists())
    second = two.dispatch("Counter", {"wait_for": ""})
    gate.touch()
    counts = [future.result(PATIENCE).outputs["count"] for future in (first, second)]
    assert counts == [1, 2]


def test_ending_a_run_ends_the_resident_that_works_for_it_and_no_other(runs, tmp_path):
    gate = tmp_path / "gate"
    working, waiting, idle = runs.start(), runs.start(), runs.start()
    pid = idle.dispatch("Counter", {"wait_for": ""}).result(PATIENCE).outputs["pid"]
    first = working.dispatch("Counter", {"wait_for": str(gate)})
    wait_until(lambda: Path(f"{gate}.here").exists())
    second = waiting.dispatch("Counter", {"wait_for": ""})
    idle.cleanup_actors()
    waiting.cleanup_actors()
    assert isinstance(second.exception(PATIENCE), ClusterError)
    assert is_alive(pid)
    working.cleanup_actors()
    assert isinstance(first.exception(PATIENCE), ClusterError)
    wait_until(lambda: not is_alive(pid))
    assert runs.once().outputs["count"] == 1


def test_a_run_that_waited_for_its_turn_survives_the_end_of_the_one_at_work(runs, tmp_path):
    gate = tmp_path / "gate"
    working, waiting = runs.start(), runs.start()
    first = working.dispatch("Counter", {"wait_for": str(gate)})
    wait_until(lambda: Path(f"{gate}.here").exists())
    second = waiting.dispatch("Counter", {"wait_for": ""})
    working.cleanup_actors()
    assert isinstance(first.exception(PATIENCE), ClusterError)
    assert second.result(PATIENCE).outputs["count"] == 1


def test_a_resident_that_dies_fails_its_node_and_the_next_use_starts_anew(runs):
    manager = runs.start()
    for _ in range(2):
        error = manager.dispatch("Dying", {}).exception(PATIENCE)
        assert "its process ended itself with code" in str(error)


def test_a_resident_that_was_killed_between_runs_starts_anew(runs):
    pid = runs.once().outputs["pid"]
    [resident] = residents()
    ray.kill(ray.get_actor(resident.name, namespace=NAMESPACE))
    again = runs.once().outputs
    assert (again["count"], again["pid"] == pid) == (1, False)


def test_an_idle_resident_ends_by_itself(runs):
    pid = runs.once(data={"resident_ttl": 0.2}).outputs["pid"]
    wait_until(lambda: not is_alive(pid))
    wait_until(lambda: residents() == [])


def test_an_async_resident_keeps_its_event_loop_which_goes_on_between_runs(runs):
    first, second = runs.once("Loop").outputs, runs.once("Loop").outputs
    assert (first["same"], second["same"]) == (False, True)
    wait_until(lambda: runs.once("Loop").outputs["beats"] > second["beats"] + 1)


def test_the_variables_are_those_of_the_run(runs):
    for _ in range(2):
        variables = VariableStoreManager()
        store = variables.create_declared({"tally": {"type": "int", "default": 0}})
        assert runs.once("Tally", store).outputs == {"value": 1}
        variables.cleanup()


def test_residents_leave_the_slots_to_the_other_nodes(runs):
    manager = runs.start()
    for node_id in ("Counter", "Loop"):
        manager.dispatch(node_id, {"wait_for": ""} if node_id == "Counter" else {}).result(PATIENCE)
    free = runs.start(data={"resident": False})
    assert free.dispatch("Counter", {"wait_for": ""}).result(PATIENCE).outputs["count"] == 1


def _counting(as_what: str) -> dict[str, Any]:
    return draw(
        {"start": node("start"), "keep": node("nodes.counter.CounterNode"),
         "return": node("return")},
        f"start > keep, keep > return, keep.count - return.{as_what}",
    )  # fmt: skip


def test_a_nameless_flow_finds_its_own_resident_again_in_direct_runs_and_no_others(runs):
    counts = []
    for name in ("a", "a", "b", "a"):
        outcome = execute(FlowOrchestrator(Project.at(runs.folder)), _counting(as_what=name))
        assert outcome["error"] is None
        counts.append(outcome["result"][name])
    assert counts == [1, 2, 1, 3]


def test_a_file_without_a_name_is_known_by_its_file_in_direct_runs(runs):
    class Silent(Watcher):
        """Tells nobody."""

    path = runs.folder / "tally.json"
    counts = []
    for name in ("a", "b"):
        runner = DirectRunner(FlowFile(path, Project.at(runs.folder), _counting(as_what=name)))
        report = runner.run({}, Silent())
        assert report.error is None
        counts.append(report.result[name])
    assert counts == [1, 2]


def test_a_run_that_gave_up_while_it_waited_gets_no_turn(ray_session):
    """On an actor, as in every process: one that nobody uses any more ends its process."""

    class Asked(ResidentActor):
        """Says how many have asked for a turn."""

        _asked = 0

        async def lease(self, *arguments: Any) -> Any:
            self._asked += 1
            return await super().lease(*arguments)

        async def asked(self) -> int:
            return self._asked

    kind = ray.remote(num_cpus=0)(Asked)
    resident: Any = kind.remote(WorkerSettings(), "digest", PATIENCE)
    first = ray.get(resident.lease.remote("first", "digest", PATIENCE), timeout=PATIENCE)
    waiting = [resident.lease.remote(each, "digest", PATIENCE) for each in "ab"]
    wait_until(lambda: ray.get(resident.asked.remote(), timeout=PATIENCE) == 3)
    ray.get([resident.withdraw.remote(each) for each in ("a", "first")], timeout=PATIENCE)
    assert [first, ray.get(waiting[1], timeout=PATIENCE)] == ["granted", "granted"]
    ray.kill(resident)


def test_an_input_that_cannot_be_read_does_not_keep_the_resident_from_the_next_run(runs):
    unreadable = ray.put(Unreadable())
    error = runs.start().dispatch("Counter", {"wait_for": unreadable}).exception(PATIENCE)
    assert "an input (wait_for) could not be read" in str(error)
    assert runs.once().outputs["count"] == 1


class Unreadable:
    """Can be pickled, but not unpickled."""

    def __reduce__(self) -> Any:
        return divmod, (1, 0)
