"""What a node logs and prints is heard while it runs: every node here ends once it was heard."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, ExecutorDefinition, in_process_executor
from dagster_runs import FlowRun, run_job
from drawing import draw, node
from running import PROJECT, execute

from rayflow_dagster.actors.capture import MAX_BYTES
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.defs.saying import SHARE
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.types import RunDetails

pytestmark = pytest.mark.ray
SYNC, ASYNC, FLOOD = (f"odd_nodes.saying.{name}Node" for name in ("Saying", "SayingAsync", "Flood"))
SECRET = "a secret that nobody is told"
BY_ITSELF = ["printed ***", "by a child", "by descriptor", "unfinished line, and the rest"]
OF_NODE = ["printed ***", "unfinished line, and the rest"]


class Run:
    """A run whose node is let go on once all of ``awaited`` stands at its step."""

    def __init__(self, instance: DagsterInstance, gate: Path, awaited: list[str]) -> None:
        self._instance = instance
        self._gate = gate
        self._awaited = awaited

    def of(self, flow: dict[str, Any], executor: ExecutorDefinition | None = None) -> FlowRun:
        job = build_job(flow, "test", project=PROJECT, executor_def=executor)
        with self._letting_go_on():
            return run_job(job, compile_flow(flow, "test", PROJECT), {}, self._instance)

    @contextmanager
    def _letting_go_on(self) -> Iterator[None]:
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(0.1):
                shown = "\n".join([*self.printed(), *self.logged(), *self.progress()])
                if all(each in shown for each in self._awaited):
                    self._gate.touch()

        watching = threading.Thread(target=watch)
        watching.start()
        yield
        is_over.set()
        watching.join()

    @property
    def _run_id(self) -> str:
        return self._instance.get_runs()[0].run_id

    def printed(self) -> tuple[str, str]:
        """(standard output, standard error) of the step, as the UI shows them."""
        if not self._instance.get_runs():
            return "", ""
        for event in self._instance.all_logs(self._run_id):
            if event.dagster_event and event.dagster_event.event_type_value == "LOGS_CAPTURED":
                name = event.dagster_event.logs_captured_data.file_key
                key = [self._run_id, "compute_logs", name]
                data = self._instance.compute_log_manager.get_log_data(key)
                return (data.stdout or b"").decode(), (data.stderr or b"").decode()
        return "", ""

    def progress(self) -> list[str]:
        """How far the step had come, each time it told."""
        if not self._instance.get_runs():
            return []
        events = [each.dagster_event for each in self._instance.all_logs(self._run_id)]
        engine = [each for each in events if each and each.is_engine_event]
        return [str(each.message) for each in engine if SHARE in each.engine_event_data.metadata]

    def logged(self) -> dict[str, float]:
        """What was logged at the step -> when."""
        if not self._instance.get_runs():
            return {}
        records = self._instance.all_logs(self._run_id)
        return {
            each.user_message: each.timestamp
            for each in records
            if each.dagster_event is None and "logged" in each.user_message
        }


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


def saying(kind: str, gate: Path, **values: Any) -> dict[str, Any]:
    return node(kind, values={"GATE": str(gate), **values})


def one(kind: str, gate: Path, **values: Any) -> dict[str, Any]:
    nodes = {"start": "start", "it": saying(kind, gate, **values), "end": "return"}
    return draw(nodes, "start > it, it > end, it.value - end.out")


def with_secret(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("SAID", SECRET)
    return {"secret": {"$env": "SAID"}}


@pytest.mark.parametrize(("kind", "lines"), [(SYNC, BY_ITSELF), (ASYNC, OF_NODE)])
def test_all_that_a_node_says_is_there_while_it_runs_and_once(
    ray_session: None,
    instance: DagsterInstance,
    gate: Path,
    kind: str,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far = "1 of 4 (25%), parts ***"
    run = Run(instance, gate, [*lines[:-1], "logged ***", "logged later", "for errors", far])
    began = time.time()
    ended = run.of(one(kind, gate, **with_secret(monkeypatch)))
    assert ended.result == {"out": 7}
    assert run.progress() == [far]
    outputs = [each.step_output_data for each in ended.events if each.is_successful_output]
    last = [each.metadata[SHARE].value for each in outputs if SHARE in each.metadata]
    assert last == ["4 of 4 (100%), parts"]
    out, err = run.printed()
    assert out.splitlines() == lines
    assert err.splitlines() == ["for errors", "its error"][: 1 + (kind == SYNC)]
    first, second, third = sorted(run.logged().items(), key=lambda each: each[1])
    assert (first[0], second[0], third[0]) == ("logged ***", "logged later", "logged at the end")
    assert began < first[1] < second[1] < third[1] < time.time()


def test_under_another_executor_too(
    ray_session: None, instance: DagsterInstance, gate: Path
) -> None:
    run = Run(instance, gate, ["logged later"])
    assert run.of(one(SYNC, gate), in_process_executor).success
    assert list(run.logged()) == ["logged ", "logged later", "logged at the end"]


def test_what_a_node_said_stays_when_its_process_is_killed(
    ray_session: None, instance: DagsterInstance, gate: Path
) -> None:
    run = Run(instance, gate, ["unfinished", "logged later", "its error"])
    assert not run.of(one(SYNC, gate, THEN="die")).success
    assert run.printed()[0].splitlines() == ["printed ", *BY_ITSELF[1:3], "unfinished"]
    assert list(run.logged()) == ["logged ", "logged later"]


def test_a_node_that_fails_says_the_rest_once(
    ray_session: None, instance: DagsterInstance, gate: Path
) -> None:
    run = Run(instance, gate, ["unfinished", "logged later"])
    assert not run.of(one(SYNC, gate, THEN="fail")).success
    assert run.printed()[0].splitlines() == ["printed ", *BY_ITSELF[1:3], "unfinished"]


def test_much_more_than_is_kept_is_cut_and_harms_nobody(
    ray_session: None, instance: DagsterInstance, gate: Path
) -> None:
    run = Run(instance, gate, ["x" * 9999])
    assert run.of(one(FLOOD, gate)).result == {"out": 7}
    text, _, note = run.printed()[0].rpartition("\n[")
    assert len(text) == MAX_BYTES
    assert note == "output past 1,000,000 bytes is left out]\n"


@pytest.mark.parametrize("around", ["control.group", "control.for_each"])
def test_a_node_of_a_body_is_heard_at_its_region(
    ray_session: None, instance: DagsterInstance, gate: Path, around: str
) -> None:
    inputs = {"items": [1]} if around == "control.for_each" else {}
    nodes = {
        "start": "start",
        "around": node(around, values=inputs),
        "it": saying(SYNC, gate),
        "beside": saying(ASYNC, gate),
        "end": "return",
    }
    wires = "start > around, around.body > it, around.body > beside, around.done > end"
    run = Run(instance, gate, ["it] logged later", "it] by a child", "beside] printed"])
    assert run.of(draw(nodes, wires)).success
    if not inputs:
        assert run.progress()[0] in ("1 of 4 (25%), [it] parts", "1 of 4 (25%), [beside] parts")
    place = "item 0, " if inputs else ""
    out = run.printed()[0].splitlines()
    assert [each for each in out if "] by a child" in each] == [f"[{place}it] by a child"]
    assert len([each for each in run.logged() if "logged later" in each]) == 2


def test_a_node_of_a_body_that_one_worker_runs_whole_too(
    ray_session: None, instance: DagsterInstance, gate: Path
) -> None:
    loop = node("control.for_each", values={"items": [1, 2]})
    nodes = {"start": "start", "loop": loop, "it": saying(SYNC, gate), "end": "return"}
    flow = draw(nodes, "start > loop, loop.body > it, loop.done > end")
    assert compile_flow(flow, "test", PROJECT).graph["nodes"]["loop"]["region"]["fused"]
    run = Run(instance, gate, ["[item 0, it] logged later", "[item 0, it] unfinished"])
    assert run.of(flow).success
    out, _ = run.printed()
    lines = ["printed ", *BY_ITSELF[1:3], "unfinished", " line, and the rest"]
    of_first = [f"[item 0, it] {each}" for each in lines]
    assert [each for each in out.splitlines() if "item 0" in each] == of_first
    assert len(run.logged()) == 6


def test_a_direct_run_tells_its_listener(ray_session: None, gate: Path) -> None:
    said: list[tuple[str, RunDetails]] = []

    def hear(node_id: str, details: RunDetails) -> None:
        said.append((node_id, details))
        if "its error" in details.get("stderr", ""):
            gate.touch()

    listening: Callable[..., FlowOrchestrator] = FlowOrchestrator
    run = listening(PROJECT, on_said=hear)
    assert execute(run, one(SYNC, gate))["result"] == {"out": 7}
    assert {node_id for node_id, _ in said} == {"it"}
    assert run.state_tracker is not None
    result = run.state_tracker.get_state()["node_states"]["it"]["result"]
    assert result is not None
    told = [*(details for _, details in said), result["details"]]
    logs = [each["message"] for details in told for each in details.get("logs", [])]
    assert logs == ["logged ", "logged later", "logged at the end"]
    assert [each["how_far"]["done"] for each in told if "how_far" in each][-1] == 4
    out = "".join(details.get("stdout", "") for details in told)
    assert out.splitlines() == ["printed ", *BY_ITSELF[1:]]
