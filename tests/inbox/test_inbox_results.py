"""What a caller is told of the run of its request."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, JobDefinition
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster_runs import PROJECT
from drawing import draw, node

from inbox.inbox_flows import INBOX, Served, serving, write_flow
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.jobs import job_name
from rayflow_dagster.defs.results import run_result
from rayflow_dagster.defs.triggers.inbox_sensor import (
    InboxRequest,
    inbox_requests,
    mark_offered,
    skip_requests,
)
from rayflow_dagster.errors import RayflowError
from rayflow_dagster.inbox.flows import InboxFlows
from rayflow_dagster.inbox.inputs import RequestInputs
from rayflow_dagster.testing import in_process
from rayflow_dagster.types import RETURN_CLASS, START_CLASS

ANY_INPUTS = RequestInputs({"value": "any"}, {}, {}, {})


def through(kind: str, **data: Any) -> dict[str, Any]:
    """START's value through a node to RETURN."""
    nodes = {
        "start": node(START_CLASS, inputs={"value": "any"}),
        "work": node(kind, **data),
        "back": RETURN_CLASS,
    }
    wires = "start > work, work > back, start.value - work.value, work.value - back.given"
    return draw(nodes, wires, sensors=[INBOX])


def create(instance: DagsterInstance, job: JobDefinition, request: InboxRequest) -> DagsterRun:
    config = {"ops": {"start": {"config": dict(request.inputs)}}}
    return instance.create_run_for_job(
        job, run_config=config, tags={**job.run_tags, **request.tags}
    )


def waiting(
    served: Served, instance: DagsterInstance, inputs: RequestInputs = ANY_INPUTS
) -> list[InboxRequest]:
    """What a tick finds in the inbox."""
    return inbox_requests(instance, served.folder, "flow", inputs, 10)


def drain(served: Served, instance: DagsterInstance, flow: Mapping[str, Any]) -> list[str]:
    """What sensor and daemon do, until the runs have ended; gives their ids."""
    job = build_job(flow, "flow", project=PROJECT, connect=in_process)
    runs = []
    requests = waiting(served, instance)
    mark_offered(served.folder, [each.id for each in requests])
    for request in requests:
        run = create(instance, job, request)
        execute_run(InMemoryJob(job), run, instance)
        runs.append(run.run_id)
    return runs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "flows"
    folder.mkdir()
    return folder


def test_success_has_the_result(folder: Path, memory: DagsterInstance) -> None:
    flow = through("identity")
    write_flow(folder, "flow", flow)
    large = {"text": "x" * 100_000}
    with serving(folder, memory) as served:
        small_id = served.caller.started("flow", {"value": [1, None]})
        large_id = served.caller.started("flow", {"value": large})
        runs = drain(served, memory, flow)

        about = served.caller.about(small_id)
        assert about["status"] == "success"
        assert about["result"] == {"given": [1, None]}
        assert about["run_id"] == runs[0]
        assert about["error"] is None
        assert served.caller.about(large_id)["result"] == {"given": large}


def test_a_body_that_goes_to_one_input_reaches_the_run(
    folder: Path, memory: DagsterInstance
) -> None:
    flow = {**through("identity"), "sensors": [{**INBOX, "body": "value"}]}
    write_flow(folder, "flow", flow)
    with serving(folder, memory) as served:
        request_id = served.caller.started("flow", {"value": 1, "more": [2]})
        drain(served, memory, flow)

        assert served.caller.about(request_id)["result"] == {"given": {"value": 1, "more": [2]}}


def test_failure_has_the_error(folder: Path, memory: DagsterInstance) -> None:
    flow = through("boom")
    write_flow(folder, "flow", flow)
    with serving(folder, memory) as served:
        request_id = served.caller.started("flow", {"value": 1})
        drain(served, memory, flow)

        about = served.caller.about(request_id)
        assert about["status"] == "failure"
        assert about["error"].startswith("Node work failed: ")
        assert "inputs:" not in about["error"]
        assert about["result"] is None


def test_the_error_of_a_failed_run_has_no_paths_of_ours(
    folder: Path, memory: DagsterInstance
) -> None:
    flow = through("boom", values={"MESSAGE": "cannot open '/srv/a b/x' of /srv/y"})
    write_flow(folder, "flow", flow)
    with serving(folder, memory) as served:
        request_id = served.caller.started("flow", {"value": 1})
        drain(served, memory, flow)

        error = served.caller.about(request_id)["error"]
        expected = "Node work failed: ValueError: boom: cannot open '<path>' of <path>"
        assert error == expected


def request_with_run(served: Served, memory: DagsterInstance) -> tuple[str, DagsterRun]:
    request_id = served.caller.started("flow", {"value": 1})
    job = build_job(through("identity"), "flow", project=PROJECT, connect=in_process)
    (request,) = waiting(served, memory)
    mark_offered(served.folder, [request.id])
    return request_id, create(memory, job, request)


def test_a_run_that_has_not_ended_is_started(folder: Path, memory: DagsterInstance) -> None:
    write_flow(folder, "flow", through("identity"))
    with serving(folder, memory) as served:
        request_id, run = request_with_run(served, memory)

        about = served.caller.about(request_id)
        assert about["status"] == "started"
        assert about["run_id"] == run.run_id


def test_a_terminated_run_is_canceled(folder: Path, memory: DagsterInstance) -> None:
    write_flow(folder, "flow", through("identity"))
    with serving(folder, memory) as served:
        request_id, run = request_with_run(served, memory)
        memory.report_run_canceling(run)
        memory.report_run_canceled(run)

        about = served.caller.about(request_id)
        assert about["status"] == "canceled"
        assert about["error"] == "the run was stopped"


def test_a_request_whose_run_was_deleted_is_gone(folder: Path, memory: DagsterInstance) -> None:
    write_flow(folder, "flow", through("identity"))
    with serving(folder, memory) as served:
        request_id, run = request_with_run(served, memory)
        waiting(served, memory)
        memory.delete_run(run.run_id)

        answered = served.caller.get(f"/requests/{request_id}")
        assert answered.status == 410
        assert run.run_id in answered.body["error"]


def test_the_newest_run_for_a_request_counts(folder: Path, memory: DagsterInstance) -> None:
    flow = through("boom")
    write_flow(folder, "flow", flow)
    with serving(folder, memory) as served:
        request_id = served.caller.started("flow", {"value": 1})
        drain(served, memory, flow)
        mended = build_job(through("identity"), "flow", project=PROJECT, connect=in_process)
        again = create(memory, mended, InboxRequest(request_id, {"value": 1}))
        execute_run(InMemoryJob(mended), again, memory)

        about = served.caller.about(request_id)
        assert (about["status"], about["run_id"]) == ("success", again.run_id)
        assert waiting(served, memory) == []


def test_a_request_that_a_changed_flow_refuses_has_failed(
    folder: Path, memory: DagsterInstance
) -> None:
    write_flow(folder, "flow", through("identity"))
    with serving(folder, memory) as served:
        request_id = served.caller.started("flow", {"value": 1})
        waiting(served, memory, RequestInputs({"value": "str"}, {}, {}, {}))

        about = served.caller.about(request_id)
        assert about["status"] == "failure"
        assert "'value' takes str" in about["error"]
        assert about["run_id"] is None


def test_a_skipped_request_is_canceled(folder: Path, memory: DagsterInstance) -> None:
    write_flow(folder, "flow", through("identity"))
    with serving(folder, memory) as served:
        request_id = served.caller.started("flow", {"value": 1})
        ids = [each.id for each in waiting(served, memory)]
        skip_requests(served.folder, ids, "another run goes on")

        about = served.caller.about(request_id)
        assert about["status"] == "canceled"
        assert "another run goes on" in about["error"]


def test_a_result_whose_file_is_gone_is_said_to_be(folder: Path, memory: DagsterInstance) -> None:
    flow = through("identity")
    write_flow(folder, "flow", flow)
    with serving(folder, memory) as served:
        request_id = served.caller.started("flow", {"value": "x" * 10_000})
        (run_id,) = drain(served, memory, flow)
        for file in (Path(memory.storage_directory()) / "rayflow" / run_id).rglob("*.pkl"):
            file.unlink()

        about = served.caller.about(request_id)
        assert about["status"] == "success"
        assert about["result"] is None
        assert "FileNotFoundError" in about["error"]
        assert "<path>" in about["error"]
        assert str(folder.parent) not in about["error"]


def test_the_result_is_that_of_return_and_not_of_a_node_with_such_an_output(
    memory: DagsterInstance,
) -> None:
    nodes = {
        "start": node(START_CLASS, inputs={"value": "float"}),
        "add": node("rayflow_dagster.nodes.math.add.AddNode", values={"y": 1}),
        "back": RETURN_CLASS,
    }
    flow = draw(nodes, "start > add, add > back, start.value - add.x, add.result - back.sum")
    job = build_job(flow, "flow", project=PROJECT, connect=in_process)
    run = create(memory, job, InboxRequest("x", {"value": 1}))
    with pytest.raises(RayflowError, match="reached no RETURN"):
        run_result(memory, run)
    execute_run(InMemoryJob(job), run, memory)

    assert run_result(memory, run) == {"sum": 2}


def test_what_a_sensor_takes_is_what_the_endpoint_accepts(folder: Path) -> None:
    write_flow(folder, "flow", through("identity"))
    (flow,) = InboxFlows(folder, job_name).current().takes.values()

    assert flow.inputs == ANY_INPUTS
