"""Regions as steps in Dagster: what a person sees of them, and what comes of them."""

from typing import Any

import pytest
from dagster import DagsterInstance, TableMetadataValue, serialize_value
from dagster_runs import PROJECT, FlowRun, run_in_dagster, run_job
from drawing import draw, node
from running import ODD, project_of
from shapes import TESTS

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process

START = node("start", inputs={"xs": "list"})
EACH = "start > loop, start.xs - loop.items, loop.done > end, loop.body > one,"


def run(nodes: dict[str, Any], wires: str, memory: DagsterInstance, /, **inputs: Any) -> FlowRun:
    variables = {"attempts": {"type": "int", "default": 0}, "total": {"type": "int", "default": 0}}
    flow = draw({"start": START, "end": "return", **nodes}, wires, variables=variables)
    return run_in_dagster(flow, {"xs": [], **inputs}, memory, connect=in_process)


def tables(found: FlowRun, step: str) -> dict[str, list[dict[str, Any]]]:
    """The tables in the metadata of a step's events, by name."""
    metadata: dict[str, Any] = {}
    for event in found.events:
        if event.step_key == step and event.event_specific_data is not None:
            metadata |= getattr(event.event_specific_data, "metadata", {})
    return {
        name: [dict(record.data) for record in value.records]
        for name, value in metadata.items()
        if isinstance(value, TableMetadataValue)
    }


def test_a_region_is_one_step_whose_table_tells_of_its_iterations(memory: DagsterInstance) -> None:
    nodes = {"loop": node("control.for_each", on_item_error="collect"), "one": "fragile"}
    wires = EACH + "loop.item - one.fail, loop.item - one.value, one.value - end.out"
    found = run(nodes, wires, memory, xs=[False, True, False])
    assert found.result == {"out": [False, False]}
    assert found.statuses == dict.fromkeys(("start", "loop", "end"), "completed")
    told = tables(found, "loop")
    assert [(row["item"], row["status"], row["error"]) for row in told["iterations"]] == [
        (1, "failed", "item 1, node 'one': ValueError: told to fail"),
        (0, "success", ""),
        (2, "success", ""),
    ]
    (totals,) = told["nodes of the body"]
    assert (totals["node"], totals["ran"], totals["failed"]) == ("one", 3, 1)


def test_a_regions_description_lists_its_body() -> None:
    flow = draw(
        {
            "start": START,
            "loop": "control.for_each",
            "one": node("identity", label="Look *closely*"),
            "group": "control.group",
            "two": "identity",
            "end": "return",
        },
        EACH + "loop.item - one.value, one > group, group.body > two, one.value - two.value",
    )
    job = build_job(flow, "test", project=PROJECT, connect=in_process)
    text = job.get_node_named("loop").definition.description or ""
    assert text.startswith("loop\n\n![what it runs](data:image/svg+xml;base64,")
    assert text.endswith(
        "Runs, in this step:\n\n"
        "- **Look *closely*** `flow_nodes.identity.IdentityNode`\n"
        "- **group** `control.group`, after Look *closely*\n"
        "    - **two** `flow_nodes.identity.IdentityNode`"
    )


def tag_of(found: FlowRun, memory: DagsterInstance) -> str | None:
    """The run's tag with the steps in which a failure was handled."""
    recorded = memory.get_run_by_id(found.run_id)
    assert recorded is not None
    return recorded.tags.get("rayflow/handled")


def test_an_item_that_fails_and_is_left_out_is_an_event(memory: DagsterInstance) -> None:
    nodes = {"loop": node("control.for_each", on_item_error="skip"), "one": "fragile"}
    wires = EACH + "loop.item - one.fail, loop.item - one.value"
    found = run(nodes, wires, memory, xs=[True])
    told = [event for event in found.events if event.step_key == "loop" and event.is_engine_event]
    assert [event.message for event in told] == [
        "item 0, node 'one': ValueError: told to fail; the loop goes on"
    ]
    error = told[0].engine_event_data.error
    assert error is not None
    assert error.cls_name == "ValueError"
    assert "node 'loop' failed at item 0, node 'one', inputs:\n  fail = True" in error.message
    assert tag_of(found, memory) == "loop"


def told_at(found: FlowRun, step: str) -> list[tuple[str, str]]:
    """The events of a step that tell of failures: their text, and the class of their error."""
    data = [(each, each.engine_event_data) for each in found.events if each.is_engine_event]
    return [
        (each.message or "", about.error.cls_name or "")
        for each, about in data
        if each.step_key == step and about.error is not None
    ]


@pytest.mark.parametrize("on_item_error", ["skip", "collect"])
def test_what_is_handled_deep_in_a_body_is_told_at_the_step(
    memory: DagsterInstance, on_item_error: str
) -> None:
    nodes = {
        "outer": "control.group",
        "loop": node("control.for_each", parallel=1, on_item_error=on_item_error),
        "one": "fragile",
        "two": node("fragile", values={"fail": True}),
        "mend": "collect",
    }
    wires = (
        "start > outer, outer.done > end, outer.body > loop, start.xs - loop.items,"
        "loop.body > one, loop.item - one.fail, loop.item - one.value, one > two,"
        "one.value - two.value, two.error > mend, two.error - mend.a, one.value - mend.b"
    )
    found = run(nodes, wires, memory, xs=[True, False])
    assert found.success
    assert told_at(found, "outer") == [
        ("item 0, node 'one': ValueError: told to fail; the loop goes on", "ValueError"),
        (
            "item 1, node 'two': ValueError: told to fail; its 'error' output handles that",
            "ValueError",
        ),
    ]
    assert tag_of(found, memory) == "outer"
    rows = tables(found, "outer")["nodes of the body"]
    assert {row["node"]: (row["ran"], row["failed"]) for row in rows} == {
        "loop": (1, 0), "one": (2, 1), "two": (1, 1), "mend": (1, 0)
    }  # fmt: skip


def test_of_many_failures_that_are_handled_the_last_event_says_that_there_may_be_more(
    memory: DagsterInstance,
) -> None:
    loop = node("control.for_each", parallel=1, on_item_error="skip")
    wires = (
        "start > outer, outer.done > end, outer.body > loop, start.xs - loop.items,"
        "loop.body > one, loop.item - one.fail, loop.item - one.value"
    )
    nodes = {"outer": "control.group", "loop": loop, "one": "fragile"}
    events = told_at(run(nodes, wires, memory, xs=[True] * 120), "outer")
    assert len(events) == 100
    assert [text.endswith("the tables of the step tell") for text, _ in events].count(True) == 1
    assert events[-1][0].startswith("item 99, node 'one': ")


def test_an_error_without_a_traceback_is_told_as_any(memory: DagsterInstance) -> None:
    one = node("identity", values={"value": {"$expr": "1 / item"}})
    nodes = {"loop": node("control.for_each", on_item_error="skip"), "one": one}
    found = run(nodes, EACH.removesuffix(","), memory, xs=[0])
    ((text, kind),) = told_at(found, "loop")
    assert text.startswith("item 0, node 'one': ")
    assert text.endswith("; the loop goes on")
    assert kind == "ExpressionError"


@pytest.mark.ray
@pytest.mark.parametrize("settings", [{}, {"ray": {"num_cpus": 0.5}}], ids=["fused", "unfused"])
def test_a_worker_that_dies_is_told_as_any_error(
    ray_session: None, memory: DagsterInstance, settings: dict[str, Any]
) -> None:
    nodes = {
        "start": START,
        "loop": node("control.for_each", on_item_error="collect"),
        "one": node(ODD + "FailNode", values={"HOW": "death"}),
        "end": "return",
    }
    flow = draw(nodes, EACH + "loop.errors - end.errors", settings=settings)
    project = Project.at(TESTS, ["flow_nodes", "odd_nodes"])
    job = build_job(flow, "test", project=project)
    found = run_job(job, compile_flow(flow, "test", project), {"xs": [1]}, memory)
    ((text, kind),) = told_at(found, "loop")
    assert kind == "NodeCrashedError"
    (error,) = found.result["errors"]
    assert text.startswith("item 0")
    assert text.endswith(f": {error['message']}; the loop goes on")
    (data,) = [e.engine_event_data for e in found.events if e.is_engine_event and e.message == text]
    assert data.error is not None
    assert "\nnode 'loop' failed at item 0" in data.error.message
    assert "inputs:" not in data.error.message  # they are not known any more


def test_a_failed_loop_fails_its_step_with_the_error_of_its_node(memory: DagsterInstance) -> None:
    nodes = {"loop": "control.for_each", "one": "fragile"}
    wires = EACH + "loop.item - one.fail, loop.item - one.value"
    found = run(nodes, wires, memory, xs=[False, True])
    assert found.statuses == {"start": "completed", "loop": "failed", "end": "pending"}
    (failure,) = [event for event in found.events if event.is_step_failure]
    text = failure.step_failure_data.error_display_string
    assert "told to fail" in text
    assert "node 'loop' failed at item 1, node 'one', inputs:\n  fail = True" in text
    assert tables(found, "loop")["iterations"][0]["item"] == 1


@pytest.mark.parametrize("fused", [True, False])
def test_what_a_body_made_of_a_secret_stands_in_no_event(
    memory: DagsterInstance, monkeypatch: pytest.MonkeyPatch, fused: bool
) -> None:
    monkeypatch.setenv("RF_TOKEN", "tok-8f3e61b7c2")
    project = Project.at(TESTS, ["flow_nodes", "secret_nodes"])
    nodes = {
        "start": START,
        "loop": "control.for_each",
        "one": node("secret_nodes.teller.ComputingNode", values={"token": {"$env": "RF_TOKEN"}}),
        "size": "data.list_length",
        "end": "return",
    }
    wires = (
        "start > loop, start.xs - loop.items, loop.body > one, loop.done > size, size > end,"
        "one.header - size.items, size.length - end.count"
    )
    flow = draw(nodes, wires, settings={} if fused else {"ray": {"num_cpus": 0.5}})
    job = build_job(flow, "test", project=project, connect=in_process)
    found = run_job(job, compile_flow(flow, "test", project), {"xs": [1, 2]}, memory)
    assert found.result == {"count": 2}
    events = "".join(serialize_value(entry) for entry in memory.all_logs(found.run_id))
    assert "tok-8f3e" not in events


@pytest.mark.parametrize("on_item_error", ["fail", "skip"])
@pytest.mark.parametrize("fused", [True, False])
def test_the_inputs_that_a_failure_shows_tell_no_secret(
    memory: DagsterInstance, monkeypatch: pytest.MonkeyPatch, fused: bool, on_item_error: str
) -> None:
    monkeypatch.setenv("RF_TOKEN", "tok-8f3e61b7c2")
    project = Project.at(TESTS, ["flow_nodes", "secret_nodes"])
    nodes = {
        "start": START,
        "loop": node("control.for_each", on_item_error=on_item_error),
        "one": node("secret_nodes.teller.ComputingNode", values={"token": {"$env": "RF_TOKEN"}}),
        "bad": node("fragile", values={"fail": True}),
        "end": "return",
    }
    flow = draw(
        nodes,
        EACH + "one > bad, one.header - bad.value",
        settings={} if fused else {"ray": {"num_cpus": 0.5}},
    )
    job = build_job(flow, "test", project=project, connect=in_process)
    found = run_job(job, compile_flow(flow, "test", project), {"xs": [1]}, memory)
    events = "".join(serialize_value(entry) for entry in memory.all_logs(found.run_id))
    assert "failed at item 0, node 'bad', inputs:" in events
    assert "tok-8f3e" not in events


def test_what_a_called_flow_that_is_one_step_handles_is_told_at_it(memory: DagsterInstance) -> None:
    called = draw(
        {"start": START, "loop": node("control.for_each", on_item_error="skip"),
         "one": "fragile", "end": "return"},
        EACH + "loop.item - one.fail, loop.item - one.value",
    )  # fmt: skip
    call = node("flow", flow="called", retry={"max": 1, "delay": 0})
    wires = "start > call, start.xs - call.xs, call > end"
    flow = draw({"start": START, "call": call, "end": "return"}, wires)
    project = project_of({"called": called})
    job = build_job(flow, "test", project=project, connect=in_process)
    found = run_job(job, compile_flow(flow, "test", project), {"xs": [False, True]}, memory)
    assert [text for text, _ in told_at(found, "call")] == [
        "flow 'called', item 1, node 'call.one': ValueError: told to fail; the loop goes on"
    ]
    assert tag_of(found, memory) == "call"


def test_what_hangs_on_always_reads_what_a_failed_group_brought(memory: DagsterInstance) -> None:
    nodes = {
        "group": "control.group",
        "make": node("constant", values={"VALUE": "a folder"}),
        "bad": "boom",
        "tidy": "collect",
    }
    wires = (
        "start > group, group.body > make, make > bad, group.done > end, group.always > tidy,"
        "make.value - tidy.a, group.error - tidy.b"
    )
    found = run(nodes, wires, memory)
    assert not found.success
    assert found.statuses == {
        "start": "completed", "group": "failed", "tidy": "completed", "end": "pending"
    }  # fmt: skip


def test_a_loop_that_is_tried_again_runs_only_what_had_not_ended(memory: DagsterInstance) -> None:
    nodes = {
        "loop": node("control.for_each", parallel=1, retry={"max": 1}),
        "one": node("count_up", values={"NAME": "total"}),
        "two": "flaky",
    }
    wires = EACH + "one > two, loop.item - two.value, one.value - end.counts, two.value - end.out"
    found = run(nodes, wires, memory, xs=["a", "b", "c"])
    assert found.result == {"counts": [2, 3, 4], "out": ["a", "b", "c"]}
    assert found.of_step("loop").count("STEP_UP_FOR_RETRY") == 1


def test_a_loops_log_has_the_place_of_each_line_and_how_many_are_left_out(
    memory: DagsterInstance,
) -> None:
    nodes = {"loop": node("control.for_each", parallel=1), "one": "debug.log"}
    found = run(nodes, EACH + "loop.item - one.value", memory, xs=list(range(1002)))
    told = [each for each in memory.all_logs(found.run_id) if not each.is_dagster_event]
    assert told[0].user_message == "[item 0, one] 0"
    assert [each.user_message for each in told[999:]] == [
        "[item 999, one] 999",
        "a step shows 1000 log records; it has left out 2 more",
    ]
