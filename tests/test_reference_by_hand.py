"""A flow whose regions are run by hand, each body as a flow of its own, comes to the same values as
the flow that was drawn: as a direct run, fused and not, and as a Dagster job.
"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from by_hand import ByHand, Ran
from dagster import DagsterInstance
from dagster_runs import FlowRun, run_job
from drawing import draw, node
from nested_flows import make_nested_flow
from random_flows import RandomFlow
from reference import REGIONS, FlowMeaning
from running import execute, outcomes, project_of, with_ray

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.compiled import CompiledFlow
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.defs.storage import StoredOutputs
from rayflow_dagster.errors import NodeExecutionError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.runner import opened_here
from rayflow_dagster.testing import InProcessActors, in_process
from rayflow_dagster.types import NodeResult
from rayflow_dagster.values.stored import StoredValue

FLOWS = [
    make_nested_flow(Random(seed))
    for seed in (9, 152, 176, 179, 192, 197, 225, 232, 241, 274, 283, 299, 302, 331, 373)
]
CALLING = [make_nested_flow(Random(seed), calls=True) for seed in (14, 100, 127)]
"""Of some hundred flows the small ones that have something in their regions that no other has."""

ANY = {"type": "any", "default": None}
HOW = node("logic.choose", values={"CASES": {"low": "i < 2", "high": "i > 3"}})
LOOP = node("control.while", max_iterations=9, carry={"n": {"type": "int", "default": 1}})
SEVEN = node("constant", values={"VALUE": 7})
ENDS = node("return", inputs=dict.fromkeys(("n", "count", "one", "two", "three"), ANY))
RARE = [
    draw(
        {"start": "start", "loop": LOOP, "sum": "add", "how": HOW, "pass": "control.continue",
         "stop": "control.break", "return": ENDS},
        "start > loop, loop.body > sum, loop.n - sum.x, loop.index - sum.y, sum > how,"
        "loop.index - how.i, how.low > pass, how.high > stop, sum.result - loop.next.n,"
        "loop.done > return, loop.n - return.n, loop.count - return.count",
    ),
    draw(
        {"start": "start", "loop": LOOP, "sum": "add", "how": HOW, "pass": "control.continue",
         "more": node("constant", values={"VALUE": True}), "return": ENDS},
        "start > loop, loop.body > how, loop.index - how.i, how.low > pass, how.default > sum,"
        "loop.n - sum.x, loop.index - sum.y, sum.result - loop.next.n, sum > more,"
        "more.value - loop.again, loop.done > return, loop.n - return.n, loop.count - return.count",
    ),
    draw(
        {"start": "start", "each": node("control.for_each", parallel=1, values={"items": [3, 4]}),
         "group": "control.group", "stop": "control.break", "pass": "control.continue",
         "one": SEVEN, "two": SEVEN, "three": SEVEN, "return": ENDS},
        "start > each, each.body > group, group.body > stop, group.always > one, group.done > two,"
        "one > two, two > three, three > pass, each.done > return, one.value - return.one,"
        "two.value - return.two, three.value - return.three, each.count - return.count",
    ),
]  # fmt: skip
"""Loops without ``again``, or in whose ``again`` nothing comes; and a ``break`` in a group, behind
whose ``always`` the iteration goes on to a ``continue``."""


class _Watched:
    """Stands for ``in_process``, and keeps what a run is asked for when it has ended."""

    def __call__(self, orchestrator: FlowOrchestrator) -> InProcessActors:
        self.orchestrator, self.actors = orchestrator, in_process(orchestrator)
        return self.actors

    def failure(self) -> tuple[dict[str, Any] | None, str]:
        """The first one, as an ``error`` output has it, and the node of the flow."""
        errors = self.orchestrator.error_handler.get_error_report()["errors"]
        if not errors:
            return None, ""
        first, error = errors[0], errors[0]["error"]
        is_inside = isinstance(error, NodeExecutionError) and error.where
        told = {"type": first["type"], "message": first["message"]}
        told["node_id"] = error.node_id if is_inside else first["node_id"]
        return told, first["node_id"]

    def variables(self, drawn: RandomFlow) -> dict[str, Any]:
        return {name: self.actors.store.get(name) for name in drawn.flow.get("variables", {})}


def directly(drawn: RandomFlow) -> Ran:
    watched, settled = _Watched(), list[NodeResult]()
    orchestrator = FlowOrchestrator(
        project_of(drawn.called), connect=watched, on_settled=settled.append
    )
    outcome = execute(orchestrator, drawn.flow, **drawn.inputs)
    assert orchestrator.state_tracker is not None, outcome["error"]
    values = {
        (node["node_id"], name): opened_here(value)
        for node in settled
        for name, value in node["outputs"].items()
    }
    variables = watched.variables(drawn)
    return Ran(outcomes(orchestrator), values, outcome["result"], *watched.failure(), variables)


def as_a_job(drawn: RandomFlow) -> Ran:
    watched, project = _Watched(), project_of(drawn.called)
    job = build_job(drawn.flow, "test", project=project, connect=watched)
    flow = compile_flow(drawn.flow, "test", project)
    with DagsterInstance.ephemeral() as instance:
        run = run_job(job, flow, drawn.inputs, instance)
        values = dict(stored_by(run, flow, StoredOutputs(instance, run.run_id)))
    return Ran(run.statuses, values, run.result, *watched.failure(), watched.variables(drawn))


def stored_by(
    run: FlowRun, flow: CompiledFlow, stored: StoredOutputs
) -> Iterator[tuple[tuple[str, str], Any]]:
    for event in run.events:
        if event.is_successful_output and event.step_key:
            name = event.step_output_data.output_name
            try:
                value = stored.find(event.step_key, name)
            except KeyError:  # an exec output
                continue
            loaded = value.load() if isinstance(value, StoredValue) else value
            yield (flow.nodes[event.step_key], name), loaded


def seen(drawn: RandomFlow, ran: Ran) -> Ran:
    """What is to be the same: all but what is in bodies, and what their regions bring inside."""
    meaning = FlowMeaning(drawn.flow, drawn.inputs, called=drawn.called)
    top = {node_id for node_id in meaning.nodes if not meaning.regions_of(node_id)}
    plain = {node_id for node_id in top if meaning.kind(node_id) not in (*REGIONS, "return")}
    return replace(
        ran,
        statuses={node_id: status for node_id, status in ran.statuses.items() if node_id in top},
        values={ref: value for ref, value in ran.values.items() if ref[0] in plain},
    )


def test_a_direct_run_comes_to_what_its_regions_come_to_by_hand() -> None:
    by_hand = ByHand(directly)
    for number, drawn in enumerate([*FLOWS, *CALLING]):
        ray = {"num_cpus": 0.5} if number % 2 else None
        called = {name: with_ray(flow, ray) for name, flow in drawn.called.items()}
        wanted = directly(replace(drawn, flow=with_ray(drawn.flow, ray), called=called))
        assert seen(drawn, by_hand.run_flow(drawn)) == seen(drawn, wanted)
    for flow in RARE:
        drawn = RandomFlow(flow, {})
        assert seen(drawn, by_hand.run_flow(drawn)) == seen(drawn, directly(drawn))
    assert {(kind, end.exit or end.left or "failed") for kind, _, end in by_hand.ends} == {
        *(("control.for_each", end) for end in ("done", "handled", "failed")),
        *(("control.while", end) for end in ("done", "exhausted", "failed")),
        *(("control.group", end) for end in ("done", "handled", "failed", "break", "continue")),
    }
    settings = [data for _, data, _ in by_hand.ends]
    assert {"carry", "batch", "aligned", "retry", "parallel"} <= {
        key for d in settings for key in d
    }
    assert {"skip", "collect", "fail"} <= {d.get("on_item_error") for d in settings}


@pytest.mark.parametrize("seed", [197, 232, 299])
def test_a_job_comes_to_what_its_regions_come_to_by_hand(seed: int) -> None:
    drawn = make_nested_flow(Random(seed))
    assert seen(drawn, ByHand(directly).run_flow(drawn)) == seen(drawn, as_a_job(drawn))


def test_bodies_that_are_jobs_of_their_own_come_to_the_same() -> None:
    drawn = make_nested_flow(Random(9))
    by_hand = ByHand(as_a_job)
    assert seen(drawn, by_hand.run_flow(drawn)) == seen(drawn, as_a_job(drawn))
    assert {kind for kind, *_ in by_hand.ends} == {"control.for_each", "control.group"}
