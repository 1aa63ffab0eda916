"""Random flows that call others, at the top and in bodies: the direct run, fused and not, and the
Dagster run come to what the reference interpreter says. So does a flow whose body is called.
"""

from collections.abc import Container, Iterator
from random import Random
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster_runs import run_job
from drawing import draw, node
from hypothesis import given, settings
from nested_flows import make_nested_flow, nested_flows
from outlined import outlined, regions_to_outline
from random_flows import RandomFlow
from reference import Ended, FlowMeaning, interpret, levels
from running import execute, outcomes, project_of, with_ray

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process

NO_RETURN = "the flow ended without reaching a RETURN"
START = node("start", inputs={"x": {"type": "int", "default": 1}})


def meant(drawn: RandomFlow) -> Ended:
    return interpret(drawn.flow, drawn.inputs, called=drawn.called)


def small(flow: dict[str, Any], **called: dict[str, Any]) -> Ended:
    return interpret(flow, {}, called=called)


# --- what the reference says of small flows ---


def test_a_call_has_the_defaults_of_start_its_own_values_and_what_is_wired() -> None:
    echo = draw(
        {"start": node("start", inputs={name: {"type": "int", "default": 0} for name in "abc"}),
         "end": "return"},
        "start > end, start.a - end.a, start.b - end.b, start.c - end.c",
    )  # fmt: skip
    flow = draw(
        {"start": START, "call": node("flow", flow="echo", values={"b": 5, "c": 5}),
         "end": "return"},
        "start > call, start.x - call.c, call > end, call.a - end.a, call.b - end.b,"
        "call.c - end.c",
    )  # fmt: skip
    assert small(flow, echo=echo).result == {"a": 0, "b": 5, "c": 1}


@pytest.mark.parametrize(
    ("ends", "late"), [("first_return", "skipped"), ("all_settled", "completed")]
)
def test_the_first_return_ends_the_called_flow_as_its_settings_say(ends: str, late: str) -> None:
    called = draw(
        {"start": "start", "steps": node("control.sequence", values={"THEN": 2}),
         "first": "return", "late": node("constant"), "second": "return"},
        "start > steps, steps.then_1 > first, steps.then_2 > late, late > second",
        settings={"ends": ends},
    )  # fmt: skip
    flow = draw(
        {"start": "start", "call": node("flow", flow="called"), "end": "return", "no": "return"},
        "start > call, call.first > end, call.second > no",
    )
    ended = small(flow, called=called)
    assert ended.inside["call"][0].statuses["call.late"] == late
    assert (ended.statuses["end"], ended.statuses["no"]) == ("completed", "skipped")


@pytest.mark.parametrize(("variables", "n"), [("own", [1, 1]), ("shared", [41, 42])])
def test_variables_of_a_call_are_its_own_or_its_callers(variables: str, n: list[int]) -> None:
    called = draw(
        {"start": "start", "up": "count_up", "end": "return"},
        "start > up, up > end, up.value - end.n",
        variables={"counter": {"type": "int", "default": 0}},
    )
    call = node("flow", flow="called", variables=variables)
    flow = draw(
        {"start": "start", "a": call, "b": call, "end": "return"},
        "start > a, a > b, b > end, a.n - end.a, b.n - end.b",
        variables={"counter": {"type": "int", "default": 40}},
    )
    assert [*small(flow, called=called).result.values()] == n


def test_an_error_names_the_node_within_the_calls_and_what_reaches_no_return_the_call() -> None:
    bad = draw({"start": "start", "bad": "boom", "end": "return"}, "start > bad, bad > end")
    nowhere = draw(
        {"start": START, "when": node("logic.choose", values={"CASES": {"big": "x > 10"}}),
         "end": "return"},
        "start > when, start.x - when.x, when.big > end",
    )  # fmt: skip

    def calling(name: str) -> dict[str, Any]:
        return draw(
            {"start": "start", "call": node("flow", flow=name), "end": "return"},
            "start > call, call > end",
        )

    def failed(name: str) -> str | None:
        ended = small(calling("outer"), outer=calling(name), bad=bad, nowhere=nowhere)
        return ended.failure and ended.failure.node_id

    assert (failed("bad"), failed("nowhere")) == ("call.call.bad", "call.call")


# --- what all of them say of random flows ---


class _InSomeOrder(FlowMeaning):
    """Of the nodes that may go on, the next one is drawn."""

    def __init__(self, drawn: RandomFlow, rng: Random) -> None:
        super().__init__(drawn.flow, drawn.inputs, called=drawn.called)
        self._rng = rng

    def turn(self, node_id: str) -> tuple[bool, int]:
        del node_id
        return False, self._rng.getrandbits(32)


def test_they_come_to_the_same_in_whatever_order_their_nodes_run() -> None:
    for seed in range(60):
        drawn = make_nested_flow(Random(seed), calls=True)
        wanted = meant(drawn)
        for order in range(3):
            ended = _InSomeOrder(drawn, Random(order)).run_level(None, {})
            assert (ended.statuses, ended.result) == (wanted.statuses, wanted.result), seed


def test_random_calls_have_all_that_they_are_to_have() -> None:
    seen = [
        (call, level.statuses[call], nodes[call]["data"], level.inside.get(call, []))
        for drawn in (make_nested_flow(Random(seed), calls=True) for seed in range(200))
        for nodes in [dict(nodes_of(drawn, drawn.flow))]
        for level in levels(meant(drawn))
        for call in level.statuses
        if "flow" in nodes[call]["data"]
    ]
    assert {call.count(".") for call, *_ in seen} == {0, 1}
    assert {status for _, status, *_ in seen} == {"completed", "skipped", "failed", "pending"}
    assert {data.get("variables") for *_, data, _ in seen} == {None, "shared"}
    assert {"retry" in data for *_, data, _ in seen} == {True, False}
    ends = {
        (bool(end.reached), end.failure is not None, status)
        for *_, status, _, runs in seen
        for end in runs
    }
    handled_or_not = {"completed", "failed"}
    assert ends == {
        (True, False, "completed"),
        *((True, True, status) for status in handled_or_not),
        *((False, True, status) for status in handled_or_not),
        *((False, False, status) for status in handled_or_not),
    }


def nodes_of(
    drawn: RandomFlow, flow: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """All nodes of a run by their ids in it."""
    for each in flow["nodes"]:
        node_id = prefix + each["id"]
        yield node_id, each
        if "flow" in each["data"]:
            yield from nodes_of(drawn, drawn.called[each["data"]["flow"]], f"{node_id}.")


@given(nested_flows(calls=True))
@settings(max_examples=50, derandomize=True)
def test_the_validator_accepts_every_one(drawn: RandomFlow) -> None:
    assert project_of(drawn.called).validator().validate(drawn.flow) == (True, [])


@pytest.mark.parametrize("ray", [None, {"num_cpus": 0.5}], ids=["fused", "unfused"])
@given(drawn=nested_flows(calls=True))
@settings(max_examples=30, derandomize=True)
def test_a_direct_run_comes_to_what_the_rules_say(
    ray: dict[str, Any] | None, drawn: RandomFlow
) -> None:
    wanted = meant(drawn)
    called = {name: with_ray(flow, ray) for name, flow in drawn.called.items()}

    orchestrator = FlowOrchestrator(project_of(called), connect=in_process)
    outcome = execute(orchestrator, with_ray(drawn.flow, ray), **drawn.inputs)

    found = outcomes(orchestrator)
    assert {node_id: found[node_id] for node_id in wanted.statuses} == wanted.statuses
    assert in_short(outcome["result"]) == in_short(wanted.result)
    assert outcome["success"] == wanted.success, outcome["error"]


@given(nested_flows(calls=True))
@settings(max_examples=8, derandomize=True)
def test_a_job_comes_to_what_the_rules_say(drawn: RandomFlow) -> None:
    wanted, project = meant(drawn), project_of(drawn.called)

    job = build_job(drawn.flow, "test", project=project, connect=in_process)
    flow = compile_flow(drawn.flow, "test", project)
    with DagsterInstance.ephemeral() as instance:
        run = run_job(job, flow, drawn.inputs, instance)

    assert (run.success, in_short(run.result)) == (wanted.success, in_short(wanted.result))
    for level in levels_of_steps(wanted, flow.flat["nodes"]):
        statuses = {node_id: status_of(node_id, run.statuses) for node_id in level.statuses}
        assert statuses == level.statuses


def levels_of_steps(ended: Ended, steps: Container[str]) -> Iterator[Ended]:
    """The flow, and what it calls openly."""
    yield ended
    for runs in ended.inside.values():
        if any(node_id in steps for run in runs for node_id in run.statuses):
            yield from levels_of_steps(runs[0], steps)


def status_of(node_id: str, statuses: dict[str, str]) -> str:
    """Of a call that is open and whose flow has failed, no step says so but the one that did."""
    inner = {status for other, status in statuses.items() if other.startswith(f"{node_id}.")}
    own = statuses.get(node_id, "pending")
    return "failed" if own == "pending" and "failed" in inner else own


def in_short(value: Any) -> Any:
    """The reference does not say why a flow reaches no RETURN."""
    if isinstance(value, list):
        return [in_short(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "FlowFailedError" and NO_RETURN in value["message"]:
        return {**value, "message": NO_RETURN}
    return {name: in_short(each) for name, each in value.items()}


# --- a body as a flow of its own ---


def test_a_body_that_is_taken_out_and_called_comes_to_the_same() -> None:
    """Also where it fails; but then a call brings nothing of what its flow had made until then."""
    compared = {False: 0, True: 0}
    for seed in range(120):
        drawn = make_nested_flow(Random(seed), calls=seed % 2 == 0)
        wanted = meant(drawn)
        for region in regions_to_outline(drawn):
            ended = meant(outlined(drawn, region))
            rest = wanted.statuses.keys() - {region}
            assert {n: ended.statuses[n] for n in rest} == {n: wanted.statuses[n] for n in rest}
            assert ended.success == wanted.success
            runs = [run for level in levels(wanted) for run in level.inside.get(region, ())]
            has_failed = any(run.failure for run in runs)
            assert has_failed or that_came(ended.result) == that_came(wanted.result), seed
            compared[has_failed] += bool(runs)
    assert min(compared.values()) > 5


def test_a_direct_run_of_a_flow_whose_body_was_taken_out_comes_to_that_too() -> None:
    for seed in range(30):
        drawn = make_nested_flow(Random(seed), calls=seed % 2 == 0)
        for region in [*regions_to_outline(drawn)][:1]:
            called = outlined(drawn, region)
            wanted = meant(called)
            orchestrator = FlowOrchestrator(project_of(called.called), connect=in_process)
            outcome = execute(orchestrator, called.flow, **called.inputs)
            assert in_short(outcome["result"]) == in_short(wanted.result), seed
            assert outcome["success"] == wanted.success, seed


def that_came(value: Any) -> Any:
    """A result without what a call brings as None where a body brings nothing, and without the
    calls that a failed node is in."""
    if isinstance(value, list):
        return [that_came(each) for each in value if each is not None]
    if not isinstance(value, dict):
        return value
    return {
        name: each.rpartition(".")[2] if name == "node_id" else that_came(each)
        for name, each in value.items()
    }
