"""Properties of running, over random flows."""

import asyncio
from collections import Counter
from random import Random
from typing import Any

from engine.in_any_order import AnyOrderActors
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_flows import RandomFlow, make_flow, random_flows, waits_of_sequences
from reference import interpret
from shapes import TESTS, test_loader

from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.engine.executor import error_result, success_result
from rayflow_dagster.engine.planner import ExecutionPlanner, awaited_sources, skipped_result
from rayflow_dagster.engine.tracker import StateTracker
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project
from rayflow_dagster.runner import NodeReply
from rayflow_dagster.testing import InProcessActors
from rayflow_dagster.types import ExecutionGraph, ExecutionState, NodeResult

LOADER = test_loader()
PROJECT = Project.at(TESTS, ["flow_nodes"])
SEEDS = st.integers(0, 2**32)
quick = settings(max_examples=100)


class Run:
    """One run of a random flow, and what was seen of it."""

    def __init__(self, drawn: RandomFlow, seed: int) -> None:
        self.settled: list[NodeResult] = []
        self.orchestrator = FlowOrchestrator(
            PROJECT, connect=self._connect, on_settled=self.settled.append
        )
        self.rng = Random(seed)
        self.outcome = asyncio.run(self.orchestrator.execute_flow(drawn.flow, drawn.inputs))

    def _connect(self, orchestrator: FlowOrchestrator) -> AnyOrderActors:
        self.actors = AnyOrderActors(orchestrator, self.rng)
        return self.actors

    @property
    def graph(self) -> ExecutionGraph:
        assert self.orchestrator.graph is not None
        return self.orchestrator.graph

    @property
    def statuses(self) -> dict[str, str]:
        assert self.orchestrator.state_tracker is not None
        states = self.orchestrator.state_tracker.get_state()["node_states"]
        return {
            node_id: "skipped" if is_skipped(node["result"]) else node["status"]
            for node_id, node in states.items()
        }


def is_skipped(result: NodeResult | None) -> bool:
    return result is not None and result["status"] == "skipped"


@given(random_flows(12, race_free=False) | random_flows(12))
@quick
def test_the_validator_accepts_every_random_flow(drawn):
    assert FlowValidator(LOADER).validate(drawn.flow) == (True, [])


@given(random_flows(10), SEEDS)
@quick
def test_a_race_free_flow_comes_to_what_the_rules_say_in_any_order(drawn, seed):
    run = Run(drawn, seed)
    wanted = interpret(drawn.flow, drawn.inputs)
    assert run.statuses == wanted.statuses
    assert run.outcome["result"] == wanted.result
    assert run.outcome["success"] == wanted.success, run.outcome["error"]
    assert (run.outcome["error"] is None) == wanted.success


@given(random_flows(6))
@settings(quick, suppress_health_check=[HealthCheck.filter_too_much])
def test_one_worker_runs_nodes_in_the_order_that_the_rules_say(drawn):
    """A node that decides in the run's own process, and one that is tried again, take their turn
    when they come to it."""
    assume(not any(".control." in n["type"] or is_decision(n) for n in drawn.flow["nodes"]))
    wanted = interpret(drawn.flow, drawn.inputs)
    assume(all(attempts == 1 for attempts in wanted.attempts.values()))
    ran: list[str] = []

    class Noting(InProcessActors):
        def _run(self, node_id: str, *arguments: Any) -> NodeReply:
            ran.append(node_id)
            return super()._run(node_id, *arguments)

    def connect(orchestrator: FlowOrchestrator) -> InProcessActors:
        assert orchestrator.graph is not None
        return Noting(orchestrator, orchestrator.graph, workers=1)

    asyncio.run(FlowOrchestrator(PROJECT, connect=connect).execute_flow(drawn.flow, drawn.inputs))

    ends = ("StartNode", "ReturnNode")
    kinds = {node["id"]: node["type"] for node in drawn.flow["nodes"]}
    assert ran == [n for n in wanted.order if not kinds[n].endswith(ends)]


def is_decision(node: dict[str, Any]) -> bool:
    return ".nodes.logic." in node["type"] and not node["type"].endswith("BranchNode")


@given(random_flows(10, race_free=False), SEEDS)
@quick
def test_every_node_settles_once_or_stays_pending_and_the_loop_ends(drawn, seed):
    run = Run(drawn, seed)
    counts = Counter(result["node_id"] for result in run.settled)
    assert set(counts.values()) <= {1}
    settled = {node for node, status in run.statuses.items() if status != "pending"}
    assert settled == set(counts)
    assert set(run.statuses.values()) <= {"completed", "failed", "skipped", "pending"}
    if run.outcome["success"]:
        assert settled == set(run.statuses)
    ran = [result for result in run.settled if result["status"] != "skipped"]
    assert run.outcome["nodes_executed"] == len(ran)


@given(random_flows(10, race_free=False), SEEDS)
@quick
def test_nothing_settles_before_its_sources_unless_a_return_ended_the_flow(drawn, seed):
    run = Run(drawn, seed)
    position = {result["node_id"]: at for at, result in enumerate(run.settled)}
    for result in run.settled:
        if result["error"] == "a RETURN was reached first":
            continue
        for source in awaited_sources(run.graph)[result["node_id"]]:
            assert position[source] < position[result["node_id"]]


@given(random_flows(12), SEEDS)
@settings(max_examples=150)
def test_what_an_output_of_a_sequence_leads_to_waits_for_the_outputs_before_it(drawn, seed):
    run = Run(drawn, seed)
    position = {result["node_id"]: at for at, result in enumerate(run.settled)}
    for earlier, later in waits_of_sequences(drawn.flow):
        if later in position:
            assert position[earlier] < position[later]


@given(random_flows(10, race_free=False), SEEDS)
@quick
def test_what_depends_on_a_failed_node_stays_pending(drawn, seed):
    run = Run(drawn, seed)
    for node_id, status in run.statuses.items():
        if status == "failed":
            for dependent in run.graph["nodes"][node_id]["dependents"]:
                if node_id in awaited_sources(run.graph)[dependent]:
                    assert run.statuses[dependent] == "pending"


@given(random_flows(10, race_free=False), SEEDS)
@quick
def test_the_incremental_plan_agrees_with_the_full_one(drawn, seed):
    validator = FlowValidator(LOADER)
    orchestrator = FlowOrchestrator(PROJECT)
    orchestrator.validator = validator
    graph = orchestrator.load(drawn.flow)
    rng = Random(seed)
    planner, tracker = ExecutionPlanner(graph), StateTracker(graph)
    state = tracker.get_state()
    running = start(tracker, planner.get_next_nodes(state, None))
    while running:
        result = any_result(graph, running.pop(rng.randrange(len(running))), rng)
        before = planner.get_next_nodes(state, result)
        tracker.store_node_result(result["node_id"], result)
        after = planner.get_next_nodes(state, None)
        if tracker.is_complete() or has_stopped(graph, state):
            assert before == after == []
            continue
        plan = planner.plan(state, graph["nodes"][result["node_id"]]["dependents"])
        assert list(plan.ready) == before == after
        for node_id in plan.skipped:
            tracker.store_node_result(node_id, skipped_result(node_id))
        assert all(planner._check_node_ready(node_id, state) for node_id in plan.ready)
        running += start(tracker, list(plan.ready))


def start(tracker: StateTracker, node_ids: list[str]) -> list[str]:
    for node_id in node_ids:
        tracker.update_node_status(node_id, "running")
    return node_ids


def any_result(graph: ExecutionGraph, node_id: str, rng: Random) -> NodeResult:
    """Something that the node may come to."""
    metadata = graph["nodes"][node_id]["metadata"]
    if node_id != graph["start_node"] and rng.random() < 0.05:
        return error_result(node_id, ValueError("drawn"))
    outputs: dict[str, Any] = dict.fromkeys(metadata["outputs"], 0)
    names = list(metadata["exec_outputs"])
    if graph["nodes"][node_id].get("handles_error") and rng.random() < 0.5:
        return success_result(node_id, {"error": {}}, ["error"])
    if metadata["exec_exclusive"]:
        return success_result(node_id, outputs, rng.sample(names, min(1, len(names))))
    return success_result(node_id, outputs, rng.sample(names, rng.randint(0, len(names))))


def has_stopped(graph: ExecutionGraph, state: ExecutionState) -> bool:
    failed = any(node["status"] == "failed" for node in state["node_states"].values())
    return failed and graph["on_error"] == "stop"


def test_random_flows_have_all_that_they_are_to_have():
    drawn = [make_flow(Random(seed), 10) for seed in range(400)]
    wanted = [interpret(flow.flow, flow.inputs) for flow in drawn]
    seen = {status for want in wanted for status in want.statuses.values()}
    assert seen == {"completed", "failed", "skipped", "pending"}
    assert {want.success for want in wanted} == {True, False}
    assert {flow.flow["on_error"] for flow in drawn} == {"stop", "continue"}
    merged = [
        end
        for flow in drawn
        for end, count in Counter(
            (edge["target"], edge["targetHandle"])
            for edge in flow.flow["edges"]
            if edge["type"] != "exec"
        ).items()
        if count > 1
    ]
    assert merged
    outcomes = {
        (node["type"].rpartition(".")[2], want.statuses[node["id"]])
        for flow, want in zip(drawn, wanted, strict=True)
        for node in flow.flow["nodes"]
        if "rayflow_dagster.nodes" in node["type"]
    }
    for name in ("SwitchNode", "ChooseNode", "ParallelNode", "AssertNode"):
        assert {(name, "completed"), (name, "skipped")} <= outcomes
    assert {("AssertNode", "failed"), ("FailNode", "failed"), ("FailNode", "skipped")} <= outcomes
    joins = [node["data"].get("join") for flow in drawn for node in flow.flow["nodes"]]
    assert all(join in joins for join in ("any", {"at_least": 1}, {"at_least": 2}))
    assert any([*waits_of_sequences(flow.flow)] for flow in drawn)
    assert any(sum("Return" in node["type"] for node in f.flow["nodes"]) > 1 for f in drawn)
