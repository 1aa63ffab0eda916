"""The value of a secret is nowhere after a run: not in the home, the events, nor Ray's logs."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, serialize_value
from dagster_runs import FlowRun, run_job
from drawing import draw, node
from shapes import TESTS

from rayflow_dagster.cluster.residents import end_residents
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.project import Project

pytestmark = pytest.mark.ray

PROJECT = Project.at(TESTS, ["flow_nodes", "secret_nodes"])
TELLER = "secret_nodes.teller.TellerNode"
REFERENCE = {"$env": "RF_TOKEN"}
VALUE = "tok-8f3e61b7c2"
ESCAPED = 'ño"\\' + "pass-51d0\nsecond line 77aa"
PIN = "7306194825"
NEEDLES = (VALUE, "pass-51d0", "second line 77aa", PIN)


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RF_TOKEN", VALUE)
    monkeypatch.setenv("RF_KEY", ESCAPED)


def _run(flow: dict[str, Any], inputs: dict[str, Any], instance: DagsterInstance) -> FlowRun:
    job = build_job(flow, "test", project=PROJECT)
    return run_job(job, compile_flow(flow, "test", PROJECT), inputs, instance)


def _telling(**options: Any) -> dict[str, Any]:
    teller = node(TELLER, values={"KEY": {"$env": "RF_KEY"}, "HEADERS": {"a": [REFERENCE]}})
    teller["data"].update(options)
    nodes = {
        "start": node("start", inputs={"token": "str", "fails": "bool"}),
        "teller": teller,
        "set": node("variables.set_variable", values={"VARIABLE": "other"}),
        "seen": "identity",
        "return_": "return",
    }
    wires = (
        "start > teller, teller > set, set > seen, seen > return_, start.token - teller.token,"
        "start.fails - teller.fails, teller.same - set.value, teller.nested - seen.value,"
        "seen.value - return_.nested, set.value - return_.same, teller.size - return_.size"
    )
    variables = {name: {"type": "str", "default": ""} for name in ("kept", "other")}
    return draw(nodes, wires, variables=variables)


def _everything(run: FlowRun, instance: DagsterInstance) -> Iterator[tuple[str, bytes]]:
    """(where, bytes) of all that a run leaves behind."""
    record = instance.get_run_by_id(run.run_id)
    assert record is not None
    yield "run", serialize_value(record).encode()
    for entry in instance.all_logs(run.run_id):
        yield "event", serialize_value(entry).encode()
    for folder in (Path(instance.root_directory), Path(os.environ["RAYFLOW_RAY_DIR"])):
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield str(path), path.read_bytes()


def _places_with_a_value(run: FlowRun, instance: DagsterInstance) -> list[str]:
    needles = [
        form
        for each in NEEDLES
        for form in (each.encode(), each.encode("utf-16-le"), each.encode("unicode_escape"))
    ]
    found = list(_everything(run, instance))
    # Otherwise nothing would have been looked at.
    assert any(b"RF_TOKEN" in content for _, content in found)
    assert any("/logs/" in where for where, _ in found)
    return [where for where, content in found if any(each in content for each in needles)]


@pytest.mark.parametrize("resident", [False, True])
def test_a_run_that_tells_its_secrets_leaves_no_value_behind(
    ray_session: None, instance: DagsterInstance, tokens: None, resident: bool
) -> None:
    run = _run(_telling(resident=resident), {"token": REFERENCE, "fails": False}, instance)
    end_residents()

    assert run.success
    assert run.result == {
        "nested": {"a": [{"$env": "RF_KEY"}]}, "same": REFERENCE, "size": len(VALUE + ESCAPED),
    }  # fmt: skip
    logged = [e.user_message for e in instance.all_logs(run.run_id) if not e.is_dagster_event]
    assert "logged '***'" in logged
    assert _places_with_a_value(run, instance) == []


@pytest.mark.parametrize("resident", [False, True])
def test_a_run_that_fails_with_its_secrets_leaves_no_value_behind(
    ray_session: None, instance: DagsterInstance, tokens: None, resident: bool
) -> None:
    run = _run(_telling(resident=resident), {"token": REFERENCE, "fails": True}, instance)
    end_residents()

    assert run.statuses["teller"] == "failed"
    failure = next(event for event in run.events if event.is_step_failure)
    error = failure.step_failure_data.error
    assert error is not None
    assert error.cause is not None
    assert "ValueError: refused: ***" in error.cause.message
    assert "teller.py" in "".join(error.cause.stack)
    assert error.cause.cause is not None
    assert "KeyError: '***'\nwith ***" in error.cause.cause.message
    assert _places_with_a_value(run, instance) == []


def test_what_is_handed_on_in_containers_and_numbers_leaves_no_value_behind(
    ray_session: None, instance: DagsterInstance, tokens: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RF_PIN", PIN)
    nodes = {
        "start": node("start", inputs={"token": "str", "pin": "int"}),
        "pack": "secret_nodes.teller.PackingNode",
        "pass": "identity",
        "return_": node("return", asset={"key": "packed"}),
    }
    outputs = ("pin", "keyed", "packed", "members")
    wires = (
        "start > pack, start.token - pack.token, start.pin - pack.pin, pack > pass, pass > return_,"
        "pack.packed - pass.value, pass.value - return_.passed,"
        + ",".join(f"pack.{name} - return_.{name}" for name in outputs)
    )

    run = _run(draw(nodes, wires), {"token": REFERENCE, "pin": {"$env": "RF_PIN"}}, instance)

    text, pin = '{"$env": "RF_TOKEN"}', {"$env": "RF_PIN"}
    packed = (REFERENCE, {"a": [REFERENCE, pin]}, frozenset([text]))
    assert run.result == {
        "pin": pin, "keyed": {text: pin}, "packed": packed, "passed": packed,
        "members": {text, '{"$env": "RF_PIN"}'},
    }  # fmt: skip
    assert _places_with_a_value(run, instance) == []


def test_an_async_node_and_a_failing_check_leave_no_value_behind(
    ray_session: None, instance: DagsterInstance, tokens: None
) -> None:
    nodes = {
        "start": node("start", inputs={"token": "str"}),
        "waits": "flow_nodes.async_identity.AsyncIdentityNode",
        "wrong": "secret_nodes.teller.WrongOutputNode",
        "return_": "return",
    }
    wires = (
        "start > waits, waits > wrong, wrong > return_, start.token - waits.value,"
        "waits.value - wrong.token, wrong.count - return_.count"
    )

    run = _run(draw(nodes, wires), {"token": REFERENCE}, instance)

    assert run.statuses["waits"] == "completed"
    assert run.statuses["wrong"] == "failed"
    assert _places_with_a_value(run, instance) == []


def test_what_a_node_makes_of_a_secret_is_masked_in_events_and_kept_in_its_value_file(
    ray_session: None, instance: DagsterInstance, tokens: None
) -> None:
    nodes = {
        "start": node("start", inputs={"token": "str"}),
        "make": "secret_nodes.teller.ComputingNode",
        "return_": "return",
    }
    wires = "start > make, make > return_, start.token - make.token, make.count - return_.count"

    run = _run(draw(nodes, wires), {"token": REFERENCE}, instance)

    assert run.success
    assert [Path(place).name for place in _places_with_a_value(run, instance)] == ["header.pkl"]
    previews = [
        event.step_output_data.metadata["preview"].value
        for event in run.events
        if event.is_successful_output
        and event.step_key == "make"
        and event.step_output_data.step_output_handle.output_name == "header"
    ]
    assert previews == ["'Bearer ***'"]


def test_a_resident_node_sees_the_new_value_of_a_secret_that_has_changed(
    ray_session: None, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    compares = node("secret_nodes.teller.CompareTokenNode", values={"KEY": REFERENCE})
    nodes = {
        "start": node("start", inputs={"token": "str", "expected_size": "int"}),
        "n": compares,
        "return_": "return",
    }
    wires = (
        "start > n, n > return_, start.token - n.token, start.expected_size - n.expected_size,"
        "n.right - return_.right"
    )
    flow = draw(nodes, wires)
    results = []
    for value in ("abc", "abcdef"):
        monkeypatch.setenv("RF_TOKEN", value)
        inputs = {"token": REFERENCE, "expected_size": len(value)}
        results.append(_run(flow, inputs, instance).result)
    end_residents()

    assert results == [{"right": True}, {"right": True}]


def test_a_missing_variable_fails_the_step_without_another_attempt(
    ray_session: None, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RF_KEY", ESCAPED)
    monkeypatch.delenv("RF_TOKEN", raising=False)

    run = _run(_telling(retry={"max": 3}), {"token": REFERENCE, "fails": False}, instance)

    assert "STEP_UP_FOR_RETRY" not in run.of_step("teller")
    failure = next(event for event in run.events if event.is_step_failure)
    assert "input 'token': secret 'RF_TOKEN'" in str(failure.step_failure_data)
