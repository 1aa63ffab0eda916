"""A flow gives the same result and the same statuses through ``execute_flow`` and as a job."""

import asyncio
from typing import Any

from dagster import DagsterInstance, in_process_executor
from dagster_runs import PROJECT, FlowRun, run_in_dagster
from drawing import draw, node
from hypothesis import given, settings
from random_flows import RandomFlow, random_flows

from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process
from rayflow_dagster.types import NodeState


def _direct(drawn: RandomFlow) -> tuple[dict[str, Any], dict[str, str]]:
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    outcome = asyncio.run(orchestrator.execute_flow(drawn.flow, drawn.inputs))
    assert orchestrator.state_tracker is not None, outcome["error"]
    states = orchestrator.state_tracker.get_state()["node_states"]
    return outcome, {node_id: _outcome(state) for node_id, state in states.items()}


def _outcome(state: NodeState) -> str:
    result = state["result"]
    return "skipped" if result and result["status"] == "skipped" else state["status"]


def _in_dagster(drawn: RandomFlow, executor_def: Any = None) -> FlowRun:
    with DagsterInstance.ephemeral() as instance:
        return run_in_dagster(drawn.flow, drawn.inputs, instance, executor_def, in_process)


@given(drawn=random_flows(size=10, race_free=True))
@settings(max_examples=25, deadline=None)
def test_a_random_flow_ends_alike_directly_and_as_a_job(drawn: RandomFlow) -> None:
    outcome, statuses = _direct(drawn)

    run = _in_dagster(drawn)

    assert run.statuses == statuses
    assert run.success == outcome["success"]
    assert run.result == outcome["result"]


@given(drawn=random_flows(size=8, race_free=True))
@settings(max_examples=10, deadline=None)
def test_stock_executors_agree_where_no_node_fails_and_one_return_is_reached(
    drawn: RandomFlow,
) -> None:
    outcome, statuses = _direct(drawn)
    if not outcome["success"]:
        return

    run = _in_dagster(drawn, in_process_executor)

    assert run.statuses == statuses
    assert run.result == outcome["result"]


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
