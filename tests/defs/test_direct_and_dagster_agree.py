"""A flow gives the same result and the same statuses through ``execute_flow`` and as a job."""

import asyncio
import copy
from itertools import permutations
from typing import Any

import pytest
from dagster import DagsterInstance, ExecutorDefinition, in_process_executor
from dagster_runs import PROJECT, FlowRun, run_in_dagster
from drawing import draw, node
from flow_nodes.raises import ERRORS
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_flows import RandomFlow, class_path, random_flows
from reference import interpret

from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.orchestrator import Connect, FlowOrchestrator
from rayflow_dagster.runner import NodeReply
from rayflow_dagster.testing import InProcessActors, in_process
from rayflow_dagster.types import NodeState


def _direct(
    drawn: RandomFlow, connect: Connect = in_process
) -> tuple[dict[str, Any], dict[str, str]]:
    orchestrator = FlowOrchestrator(PROJECT, connect=connect)
    outcome = asyncio.run(orchestrator.execute_flow(drawn.flow, drawn.inputs))
    assert orchestrator.state_tracker is not None, outcome["error"]
    states = orchestrator.state_tracker.get_state()["node_states"]
    return outcome, {node_id: _outcome(state) for node_id, state in states.items()}


def _outcome(state: NodeState) -> str:
    result = state["result"]
    return "skipped" if result and result["status"] == "skipped" else state["status"]


def _in_dagster(
    drawn: RandomFlow, executor_def: Any = None, connect: Connect = in_process
) -> FlowRun:
    with DagsterInstance.ephemeral() as instance:
        return run_in_dagster(drawn.flow, drawn.inputs, instance, executor_def, connect)


class _Noted:
    """One worker, which notes what it runs."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def __call__(self, orchestrator: FlowOrchestrator) -> InProcessActors:
        assert orchestrator.graph is not None
        ran = self.ran

        class Actors(InProcessActors):
            def _run(self, node_id: str, *arguments: Any) -> NodeReply:
                ran.append(node_id)
                return super()._run(node_id, *arguments)

        return Actors(orchestrator, orchestrator.graph, workers=1)


@given(drawn=random_flows(size=10, race_free=True))
@settings(max_examples=25)
def test_a_random_flow_ends_alike_directly_and_as_a_job(drawn: RandomFlow) -> None:
    outcome, statuses = _direct(drawn)

    run = _in_dagster(drawn)

    assert run.statuses == statuses
    assert run.success == outcome["success"]
    assert run.result == outcome["result"]


def _every_error(*, handled: bool) -> RandomFlow:
    """Every error, raised once by a node that may try twice."""
    names = {f"n{number}": name for number, name in enumerate(ERRORS)}
    nodes: dict[str, Any] = {"start": node(class_path("start"), inputs={"value": "int"})}
    wires = []
    ports = {}
    for node_id, name in names.items():
        values = {"ERROR": name, "COUNTER": node_id, "TIMES": 1}
        nodes[node_id] = node("raises", values=values, retry={"max": 1, "delay": 0})
        wires.append(f"start > {node_id}, start.value - {node_id}.value, {node_id} > return")
        wires.append(f"{node_id}.value - return.{node_id}")
        ports[node_id] = {"type": "any", "default": None}
        if handled:
            ports[f"{node_id}_error"] = {"type": "any", "default": None}
            wires.append(f"{node_id}.error > return, {node_id}.error - return.{node_id}_error")
    nodes["return"] = node(class_path("return"), inputs=ports)
    variables = {node_id: {"type": "int", "default": 0} for node_id in names}
    flow = draw(nodes, ", ".join(wires), on_error="continue", variables=variables)
    return RandomFlow(flow, {"value": 1})


@pytest.mark.parametrize("handled", [True, False])
def test_every_class_of_error_is_tried_again_and_handled_alike(handled: bool) -> None:
    drawn = _every_error(handled=handled)
    wanted = interpret(drawn.flow, drawn.inputs)

    outcome, statuses = _direct(drawn)
    run = _in_dagster(drawn)

    assert statuses == wanted.statuses
    assert run.statuses == wanted.statuses
    assert outcome["result"] == run.result == wanted.result


@pytest.mark.parametrize("executor_def", [None, in_process_executor])
@pytest.mark.parametrize(
    ("retry_on", "attempts"),
    [(["ValueError"], 1), (["OSError"], 3), (["timeout", "ConnectionError"], 3), (None, 3)],
)
def test_an_error_is_tried_again_alike_where_retry_on_names_it(
    executor_def: Any, retry_on: list[str] | None, attempts: int
) -> None:
    retry: dict[str, Any] = {"max": 2, "delay": 0.0, "max_delay": 1.0}
    if retry_on is not None:
        retry["retry_on"] = retry_on
    flow = draw(
        {
            "start": "start",
            "flaky": node("flaky", values={"value": 1, "FAILURES": 9}, retry=retry),
            "count": node("variables.get_variable", values={"VARIABLE": "attempts"}),
            "return": "return",
        },
        "start > flaky, flaky.error > count, count > return, count.value - return.n",
        variables={"attempts": {"type": "int", "default": 0}},
    )
    drawn = RandomFlow(flow, {})

    outcome, statuses = _direct(drawn)
    run = _in_dagster(drawn, executor_def)

    assert outcome["result"] == run.result == {"n": attempts}
    assert run.statuses == statuses
    assert run.of_step("flaky").count("STEP_UP_FOR_RETRY") == attempts - 1


@given(drawn=random_flows(size=8, race_free=True))
@settings(max_examples=10)
def test_stock_executors_agree_where_no_node_fails_and_one_return_is_reached(
    drawn: RandomFlow,
) -> None:
    outcome, statuses = _direct(drawn)
    if not outcome["success"]:
        return
    for each in drawn.flow["nodes"]:  # a stock executor waits for all
        assume(each["data"].get("join") is None)

    run = _in_dagster(drawn, in_process_executor)

    assert run.statuses == statuses
    assert run.result == outcome["result"]


@given(drawn=random_flows(size=8, race_free=True, failures=False), data=st.data())
@settings(max_examples=20)
def test_disabled_nodes_are_skipped_alike_directly_and_as_a_job(
    drawn: RandomFlow, data: st.DataObject
) -> None:
    flow = copy.deepcopy(drawn.flow)
    disabled = data.draw(st.lists(st.sampled_from(flow["nodes"][1:-1]), min_size=1, max_size=2))
    for each in disabled:
        each["disabled"] = True
    # Without the disabled nodes, a RETURN may overtake others, and a failure that lost its handler.
    flow["settings"] = {"ends": "all_settled"}
    flow["on_error"] = "continue"
    assume(FlowValidator(NodeLoader(PROJECT.registry)).validate(flow)[0])  # type: ignore[arg-type]

    outcome, statuses = _direct(RandomFlow(flow, drawn.inputs))
    run = _in_dagster(RandomFlow(flow, drawn.inputs))

    assert all(statuses[each["id"]] == "skipped" for each in disabled)
    assert run.statuses == statuses
    assert (run.success, run.result) == (outcome["success"], outcome["result"])


@pytest.mark.parametrize("executor_def", [None, in_process_executor])
def test_a_disabled_node_is_recorded_as_skipped_with_what_only_it_leads_to(
    executor_def: ExecutorDefinition | None,
) -> None:
    flow = draw(
        {
            "start": node("start", inputs={"a": "int"}),
            "off": {**node("identity"), "disabled": True},
            "behind": node("sleep", values={"value": 1}),
            "never": node("return", inputs={"x": "any"}),
            "read": node("variables.get_variable", values={"VARIABLE": "v"}, disabled=True),
            "join": node("collect", values={"a": 7, "b": 8}),
            "return": "return",
        },
        "start > off, start.a - off.value, off > behind, behind > never, off.value - never.x,"
        "off > join, start > join, off.value - join.a, read.value - join.b,"
        "join > return, join.values - return.x",
        variables={"v": {"type": "int", "default": 1}},
    )

    outcome, statuses = _direct(RandomFlow(flow, {"a": 1}))
    run = _in_dagster(RandomFlow(flow, {"a": 1}), executor_def)

    assert outcome["result"] == run.result == {"x": [7, 8]}
    assert [key for key, status in statuses.items() if status == "skipped"] == [
        "off", "behind", "never", "read",
    ]  # fmt: skip
    assert run.statuses == statuses


def test_results_may_have_any_names() -> None:
    names = ("1", "error rate", "error_rate", "größe", "self", "class")
    flow = draw(
        {"start": node("start", inputs={"a": "int"}),
         "return": node("return", inputs=dict.fromkeys(names, "int"))},
        "start > return",
    )  # fmt: skip
    flow["edges"] += [
        {"source": "start", "target": "return", "sourceHandle": "a", "targetHandle": name}
        for name in names
    ]
    drawn = RandomFlow(flow, {"a": 5})

    outcome, _ = _direct(drawn)

    assert outcome["result"] == _in_dagster(drawn).result == dict.fromkeys(names, 5)


@pytest.mark.parametrize("order", list(permutations(["one", "two", "three"])))
def test_what_is_ready_at_one_moment_starts_as_it_is_drawn(order: tuple[str, ...]) -> None:
    labels = dict(zip(order, ("c", "b", "a"), strict=True))
    nodes: dict[str, Any] = {"start": node("start")}
    nodes |= {each: node("identity", label=labels[each], values={"value": 1}) for each in order}
    nodes |= {f"return_{each}": node("return", label=labels[each]) for each in order}
    wires = "start > one, start > two, start > three"
    for each in order[::-1]:
        wires += "".join(f", {source} > return_{each}" for source in order[::-1])
        wires += f", {each}.value - return_{each}.{each}"
    drawn = RandomFlow(draw(nodes, wires), {})
    direct, as_job = _Noted(), _Noted()

    outcome, _ = _direct(drawn, direct)
    run = _in_dagster(drawn, connect=as_job)

    assert direct.ran == as_job.ran == list(order)
    assert outcome["result"] == run.result == {order[0]: 1}


@pytest.mark.parametrize("fails", [False, True])
def test_a_flow_that_ends_when_all_has_settled_keeps_its_first_result(fails: bool) -> None:
    """Audit and mail go on beside the first RETURN; the second comes after it."""
    flow = draw(
        {
            "start": node("start", inputs={"fail": "bool"}),
            "first": node("return", inputs={"value": {"type": "any", "default": 1}}),
            "audit": node("fragile", values={"value": 2}, retry={"max": 1, "delay": 0.01}),
            "mail": node("identity", values={"value": 3}),
            "second": "return",
        },
        "start > first, start > audit, start.fail - audit.fail, audit > mail, mail > second,"
        "mail.value - second.value",
        settings={"ends": "all_settled"},
    )
    drawn = RandomFlow(flow, {"fail": fails})

    outcome, statuses = _direct(drawn)
    run = _in_dagster(drawn)

    rest = ["failed", "pending", "pending"] if fails else ["completed", "completed", "skipped"]
    assert list(statuses.values()) == ["completed", "completed", *rest]
    assert run.statuses == statuses
    assert outcome["result"] == run.result == {"value": 1}
    assert outcome["success"] == run.success == (not fails)


def test_two_inputs_may_merge_the_same_sources_in_any_order() -> None:
    flow = draw(
        {
            "start": node("start", inputs={"fail": {"type": "bool", "default": True}}),
            "risky": node("fragile", values={"value": 1}),
            "collect": "collect",
            "return": "return",
        },
        "start > risky, start.fail - risky.fail, risky > collect, risky.error > collect,"
        "risky.error - collect.a, risky.value - collect.a, risky.value - collect.c,"
        "risky.error - collect.c, collect > return, collect.values - return.values",
    )
    for fail in (True, False):
        drawn = RandomFlow(flow, {"fail": fail})

        outcome, statuses = _direct(drawn)
        run = _in_dagster(drawn)

        assert run.success
        assert (run.result, run.statuses) == (outcome["result"], statuses)


def test_an_output_that_the_class_itself_calls_error_is_never_the_error_of_a_failure() -> None:
    flow = draw(
        {
            "start": node("start", inputs={"fail": "bool"}),
            "risky": "own_error",
            "return": "return",
            "handled": node("return", inputs={"text": {"type": "str", "default": "as declared"}}),
        },
        "start > risky, start.fail - risky.fail, risky > return, risky.error > handled,"
        "risky.error - return.text, risky.error - handled.text",
    )
    for fail, text in ((False, "none found"), (True, "as declared")):
        drawn = RandomFlow(flow, {"fail": fail})

        outcome, statuses = _direct(drawn)
        run = _in_dagster(drawn)

        assert outcome["result"] == run.result == {"text": text}
        assert run.statuses == statuses


def test_a_flow_that_a_handled_failure_led_astray_names_that_first() -> None:
    flow = draw(
        {
            "start": "start",
            "fragile": node("fragile", values={"value": 1, "fail": True}),
            "mail": node("fragile", values={"value": 1}),
            "return": "return",
        },
        "start > fragile, fragile > return, fragile.error > mail",
    )
    first = "node 'fragile' failed and its 'error' output handled that: ValueError: told to fail; "
    told = f"{first}the flow ended without reaching a RETURN ('return')"

    outcome, _ = _direct(RandomFlow(flow, {}))
    run = _in_dagster(RandomFlow(flow, {}))

    assert outcome["error"].startswith(told)
    failure = next(e for e in run.events if e.event_type_value == "PIPELINE_FAILURE")
    assert told in failure.job_failure_data.error.message
