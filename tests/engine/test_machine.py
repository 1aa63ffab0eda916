"""The machine: whatever happens, in whatever order, what it says keeps its promises."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from drawing import draw, node
from engine.test_running_random_flows import LOADER, SEEDS, any_result
from hypothesis import given, settings
from random_flows import random_flows
from running import PROJECT
from shapes import load_fixture

from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.engine.error_handler import ErrorHandler
from rayflow_dagster.engine.executor import error_result, success_result
from rayflow_dagster.engine.machine import (
    AFTER_RETURN,
    Begun,
    Drop,
    Dropped,
    Due,
    End,
    Event,
    FlowMachine,
    Instruction,
    Interrupted,
    Keep,
    Settled,
    Skip,
    Start,
    Wait,
)
from rayflow_dagster.engine.planner import ExecutionPlanner, awaited_sources, skipped_result
from rayflow_dagster.engine.tracker import StateTracker
from rayflow_dagster.errors import RayflowError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.types import ExecutionGraph, NodeResult


class Checked:
    """A machine, and every promise that it makes looked at after every event."""

    def __init__(self, graph: ExecutionGraph, before: tuple[NodeResult, ...] = ()) -> None:
        self.graph = graph
        self.awaited = awaited_sources(graph)
        self.tracker = StateTracker(graph)
        self.errors = ErrorHandler(graph.get("on_error", "stop"))
        for result in before:
            self.tracker.recall(result)
        self.machine = FlowMachine(graph, ExecutionPlanner(graph), self.tracker, self.errors)
        self.settled = {result["node_id"] for result in before}
        self.running: dict[str, int] = {}
        """Node id -> attempt."""
        self.waiting: set[str] = set()
        self.dropped: set[str] = set()
        """What is not wanted any more, and runs or waits all the same."""
        self.outcome: str | None = None

    def tell(self, event: Event) -> list[Instruction]:
        before, attempt = dict(self.statuses()), 0
        match event:
            case Settled(result):
                attempt = self.running.pop(result["node_id"])
            case Due(node_id) | Dropped(node_id):
                self.waiting.discard(node_id)
                self.running.pop(node_id, None)
        instructions = self.machine.handle(event)
        for instruction in instructions:
            self._check(instruction, event, attempt)
        for node_id, status in self.statuses():
            assert before[node_id] not in ("completed", "failed") or status == before[node_id]
            is_running = status == "running"
            assert is_running == (node_id in self.running)
            assert (status in ("completed", "failed")) == (node_id in self.settled)
        assert (self.outcome is not None) == (not self.running and not self.waiting)
        return instructions

    def _check(self, instruction: Instruction, event: Event, failed_before: int) -> None:
        assert self.outcome is None, "nothing follows the end"
        match instruction:
            case Start(node_id, attempt):
                assert not self.dropped, "nothing starts once something is not wanted any more"
                assert node_id not in self.settled | self.running.keys() | self.waiting
                assert self.settled >= set(self.awaited[node_id])
                asked = self.graph["nodes"][node_id].get("join")
                assert asked is None or self._fired(node_id) >= asked
                self.running[node_id] = attempt
            case Keep(result):
                assert isinstance(event, Settled)
                assert result is event.result
                self._settle(result)
            case Skip(result):
                assert result["error"]
                asked = self.graph["nodes"][result["node_id"]].get("join")
                if asked is not None and result["error"] != AFTER_RETURN:
                    assert self._fired(result["node_id"], open_too=True) < asked
                self._settle(result)
            case Wait(node_id, seconds):
                assert isinstance(event, Settled)
                assert event.result["node_id"] == node_id
                assert seconds >= 0
                assert failed_before < self.graph["nodes"][node_id]["retry"]["max"]
                self.waiting.add(node_id)
            case Drop(node_id):
                assert node_id in self.running or node_id in self.waiting
                assert node_id not in self.dropped
                self.dropped.add(node_id)
            case End(outcome):
                self.outcome = outcome

    def _fired(self, node_id: str, *, open_too: bool = False) -> int:
        """How many exec edges into a node have fired, or else may still."""
        count = 0
        states = self.tracker.get_state()["node_states"]
        for edge in self.graph["edges"].values():
            if (edge["target"], edge["edge_type"]) == (node_id, "exec"):
                result = states[edge["source"]]["result"]
                is_open = result is None or result["status"] == "error"
                fired = result is not None and edge["source_handle"] in result.get("exec_fired", ())
                count += fired or (is_open and open_too)
        return count

    def _settle(self, result: NodeResult) -> None:
        assert result["node_id"] not in self.settled, "a node settles once"
        self.settled.add(result["node_id"])

    def statuses(self) -> Iterator[tuple[str, str]]:
        for node_id, state in self.tracker.get_state()["node_states"].items():
            yield node_id, state["status"]


def checked(flow: dict[str, Any], *before: NodeResult) -> Checked:
    return Checked(FlowOrchestrator(PROJECT).load(flow), before)


def ran(node_id: str, *fired: str, **outputs: Any) -> Settled:
    return Settled(success_result(node_id, outputs, list(fired or ("exec_out",))))


def failed(node_id: str) -> Settled:
    return Settled(error_result(node_id, ValueError("drawn")))


def starts(instructions: list[Instruction]) -> list[tuple[str, int]]:
    return [(each.node_id, each.attempt) for each in instructions if isinstance(each, Start)]


def random_graph(drawn: Any, rng: Random) -> ExecutionGraph:
    """A random flow, some of whose nodes are tried again."""
    for drawn_node in drawn.flow["nodes"]:
        if drawn_node["id"] != "start" and rng.random() < 0.4:
            drawn_node["data"]["retry"] = {"max": rng.randint(1, 2)}
    orchestrator = FlowOrchestrator(PROJECT)
    orchestrator.validator = FlowValidator(LOADER)
    return orchestrator.load(drawn.flow)


@given(random_flows(10, race_free=False), SEEDS)
@settings(max_examples=150)
def test_every_promise_is_kept_whatever_happens_in_whatever_order(drawn, seed):
    """Also what never comes in practice: a RETURN that fails, an interruption at any moment, a drop
    that is obeyed late or never.
    """
    rng = Random(seed)
    run = Checked(random_graph(drawn, rng))
    run.tell(Begun())
    while run.outcome is None:
        roll = rng.random()
        droppable = sorted(run.dropped & (run.running.keys() | run.waiting))
        if roll < 0.03:
            if not run.dropped:
                run.tell(Interrupted())
        elif roll < 0.5 and droppable:
            run.tell(Dropped(rng.choice(droppable)))
        elif run.waiting and (roll < 0.7 or not run.running):
            run.tell(Due(rng.choice(sorted(run.waiting))))
        elif run.running:
            run.tell(Settled(any_result(run.graph, rng.choice(sorted(run.running)), rng)))
    if run.outcome == "returned":
        assert run.settled == run.graph["nodes"].keys()
    assert (run.outcome == "failed") == (run.errors.get_error_report()["count"] > 0) or (
        run.outcome == "interrupted"
    )


@given(random_flows(10), SEEDS)
@settings(max_examples=60)
def test_a_run_that_goes_on_from_another_comes_to_what_that_one_would_have(drawn, seed):
    """A run is cut off anywhere before its RETURN, and another begins with what it had settled."""
    rng = Random(seed)
    graph = random_graph(drawn, rng)
    whole, results = Checked(graph), list[NodeResult]()
    told = whole.tell(Begun())
    while True:
        results += [each.result for each in told if isinstance(each, (Keep, Skip))]
        if whole.outcome is not None:
            break
        result = any_result(graph, rng.choice(sorted(whole.running)), rng)
        while result["status"] == "error":
            result = any_result(graph, result["node_id"], rng)
        told = whole.tell(Settled(result))
    came = {result["node_id"]: result for result in results}
    ended = min(list(came).index(node_id) for node_id in graph["return_nodes"])
    again = Checked(graph, tuple(results[: rng.randint(0, ended)]))
    again.tell(Begun())
    while again.outcome is None:
        again.tell(Settled(came[next(iter(again.running))]))
    assert dict(again.statuses()) == dict(whole.statuses())


def test_a_failed_node_waits_and_starts_again_until_its_attempts_are_used_up():
    flow = draw(
        {
            "start": "start",
            "it": node("boom", retry={"max": 2, "delay": 3, "backoff": "linear"}),
            "return": "return",
        },
        "start > it, it > return",
    )
    run = checked(flow)
    run.tell(Begun())
    assert starts(run.tell(ran("start"))) == [("it", 0)]
    assert run.tell(failed("it")) == [Wait("it", 3)]
    assert run.tell(Due("it")) == [Start("it", 1)]
    assert run.tell(failed("it")) == [Wait("it", 6)]
    assert run.tell(Due("it")) == [Start("it", 2)]
    assert [type(each) for each in run.tell(failed("it"))] == [Keep, End]
    assert run.outcome == "failed"


def test_whoever_keeps_the_books_of_retries_says_whether_there_is_another():
    flow = draw(
        {"start": "start", "it": node("boom", retry={"max": 1}), "return": "return"},
        "start > it, it > return",
    )
    run = checked(flow)
    run.tell(Begun())
    run.tell(ran("start"))
    run.tell(failed("it")._replace(again=False))
    assert run.outcome == "failed"


def test_an_interruption_drops_what_runs_and_what_waits():
    flow = draw(
        {
            "start": "start",
            "it": node("boom", retry={"max": 1, "delay": 60}),
            "beside": "sleep",
            "return": "return",
        },
        "start > it, start > beside, beside > return",
    )
    run = checked(flow)
    run.tell(Begun())
    run.tell(ran("start"))
    run.tell(failed("it"))
    assert run.tell(Interrupted()) == [Drop("it"), Drop("beside")]
    run.tell(Dropped("it"))
    run.tell(ran("beside"))
    assert run.outcome == "interrupted"
    assert run.tracker.get_state()["node_states"]["it"]["status"] == "pending"


def test_the_first_return_drawn_has_its_turn_and_the_next_one_only_if_it_fails():
    flow = draw(
        {"start": "start", "first": "return", "next": "return", "last": "return"},
        "start > last, start > next, start > first",
        on_error="continue",
    )
    run = checked(flow)
    run.tell(Begun())
    assert starts(run.tell(ran("start"))) == [("first", 0)]
    assert starts(run.tell(failed("first"))) == [("next", 0)]
    run.tell(ran("next", result={}))
    assert run.settled == {"start", "first", "next"}
    assert run.outcome == "failed"


def test_a_run_begins_where_another_left_off():
    run = checked(
        load_fixture("branch_join"),
        success_result("start", {"flag": True, "value": 1}, ["exec_out"]),
        success_result("branch", {}, ["true"]),
        skipped_result("no"),
    )
    assert starts(run.tell(Begun())) == [("yes", 0)]
    assert starts(run.tell(ran("yes", value=1))) == [("join", 0)]


def test_a_return_that_was_reached_before_does_not_end_the_run():
    flow = draw(
        {"start": "start", "beside": "boom", "return": "return"},
        "start > beside, start > return",
        on_error="continue",
    )
    before = ("start", {}, ["exec_out"]), ("return", {"result": {}}, [])
    run = checked(flow, *(success_result(*each) for each in before))
    assert starts(run.tell(Begun())) == [("beside", 0)]
    run.tell(ran("beside"))
    assert run.outcome == "nowhere"


def test_an_event_of_a_node_that_does_not_run_is_refused():
    run = checked(load_fixture("linear"))
    run.tell(Begun())
    for event in (Due("start2"), Dropped("return"), ran("return")):
        with pytest.raises(RayflowError, match="neither runs nor waits"):
            run.machine.handle(event)


def test_what_waits_without_a_wire_for_what_hangs_on_always_does_not_start_with_it():
    """``last`` waits for ``tidy``, which runs though the run is about to fail."""
    nodes = {
        "start": "start", "bad": "boom", "steps": "control.sequence", "group": "control.group",
        "one": "sleep", "tidy": "sleep", "more": "sleep", "last": "sleep", "r": "return",
    }  # fmt: skip
    wires = (
        "start > bad, start > steps, steps.then_1 > group, group.body > one, group.always > tidy,"
        "tidy > more, steps.then_2 > last, more > r, last > r, bad > r"
    )
    graph = FlowOrchestrator(PROJECT).load(draw(nodes, wires))
    machine = FlowMachine(graph, ExecutionPlanner(graph), StateTracker(graph), ErrorHandler("stop"))
    machine.handle(Begun())
    machine.handle(ran("start"))
    assert starts(machine.handle(ran("steps", "then_1", "then_2"))) == [("group", 0)]
    machine.handle(failed("bad"))
    assert starts(machine.handle(ran("group", "done", "always"))) == [("tidy", 0)]
    assert starts(machine.handle(ran("tidy"))) == [("more", 0)]
    assert machine.handle(ran("more"))[1:] == [End("failed")]
