"""Random flows: what ``explain`` says of their nodes is what the reference interpreter does."""

from hypothesis import given, settings
from nested_flows import nested_flows
from random_flows import RandomFlow, random_flows
from reference import Ended, FlowMeaning, interpret, levels
from running import project_of
from shapes import test_loader

from rayflow_dagster.compiler.explain import Explained, explain

LOADER = test_loader()


def explained(drawn: RandomFlow) -> dict[str, Explained]:
    flow = project_of(drawn.called).validator().resolve(drawn.flow)
    return {each.id: each for each in explain(flow, LOADER)}


def check(run: Ended, found: dict[str, Explained]) -> None:
    """Of one run of one level in which nothing failed that is not handled."""
    for node_id, status in run.statuses.items():
        each = found[node_id]
        may_be_cut_off = each.is_overtaken or each.ended_by
        fired = {*run.fired, *((region, "body") for region in each.bodies[:1])}
        is_led_to = sum(end in fired for end in each.fired_by) >= (each.join or 1)
        has_run = status == "completed"
        assert (status == "skipped") is not has_run
        if each.runs == "never":
            assert not has_run, each
        if each.runs == "always" and not may_be_cut_off:
            assert has_run, each
        if has_run and each.fired_by:
            assert is_led_to, each
        if is_led_to and not (may_be_cut_off or each.is_disabled):
            assert has_run, each
        if each.decided_by is not None and not may_be_cut_off:
            assert has_run is (each.decided_by in fired), each
        if has_run:
            before = run.order[: run.order.index(node_id)]
            waits = {wait for wait in each.waits_for if run.statuses[wait] == "completed"}
            assert waits <= {*before}, each


@given(nested_flows())
@settings(max_examples=100, derandomize=True)
def test_of_nested_flows(drawn: RandomFlow) -> None:
    found = explained(drawn)
    meaning = FlowMeaning(drawn.flow, drawn.inputs)
    assert {n: {*each.bodies} for n, each in found.items()} == {
        n: {*meaning.regions_of(n)} for n in found
    }
    for run in levels(interpret(drawn.flow, drawn.inputs)):
        if run.failure is None:
            check(run, found)


@given(nested_flows(calls=True))
@settings(max_examples=60, derandomize=True)
def test_of_flows_that_call_others(drawn: RandomFlow) -> None:
    found = explained(drawn)
    for run in levels(interpret(drawn.flow, drawn.inputs, called=drawn.called)):
        if run.failure is None and found.keys() >= run.statuses.keys():
            check(run, found)


@given(random_flows())
@settings(max_examples=100, derandomize=True)
def test_of_flows_without_regions(drawn: RandomFlow) -> None:
    ended = interpret(drawn.flow, drawn.inputs)
    if ended.failure is None:
        check(ended, explained(drawn))
