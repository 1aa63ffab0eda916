"""Which runs Dagster launches again when their process died, by the tags that they get."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, JobDefinition
from dagster._core.events import JobFailureData, RunFailureReason
from defs.triggers.triggered import Ticks, flow_of, job_of, kept_instance, load, record, started
from drawing import draw, node

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.lost_runs import AGAIN, STARTED_FOR_TAG
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process
from rayflow_dagster.types import RETURN_CLASS, START_CLASS

MAX = "dagster/max_retries"
WILL = "dagster/will_retry"
SENSOR: dict[str, Any] = {
    "type": "file",
    "path": "inbox/*",
    "settle": 0,
    "inputs": {"path": "{{ file.path }}"},
}
INPUTS = {"path": {"type": "str", "default": "x"}}
HANDLER = flow_of({"run_id": "str"})


def arriving(**keys: Any) -> dict[str, Any]:
    return draw(
        {
            "start": node(START_CLASS, inputs=INPUTS),
            "parse": node(
                "rayflow_dagster.nodes.data.json_parse.JsonParseNode", values={"text": "{}"}
            ),
            "back": RETURN_CLASS,
        },
        "start > parse, parse > back",
        sensors=[SENSOR],
        **keys,
    )


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    """Its ``dagster.yaml`` has the line that those of new projects have."""
    with kept_instance(tmp_path / "home", {"run_retries": {"enabled": True}}) as instance:
        yield instance


def asked_for(project: Path, instance: DagsterInstance, **keys: Any) -> tuple[Any, JobDefinition]:
    """What a tick of the file sensor asks for, and the job that it is for."""
    (project / "inbox").mkdir(exist_ok=True)
    (project / "inbox" / "one.csv").touch()
    ticks = Ticks(load(project, {"first": arriving(**keys)}), "first_file", instance)
    (request,) = ticks.tick()
    return request, job_of(ticks.repository, "first")


def tags_after(
    project: Path, instance: DagsterInstance, inputs: dict[str, Any], **keys: Any
) -> dict[str, str]:
    """The tags of a run that a trigger has started, when it has ended."""
    job = build_job(arriving(**keys), "first", project=Project(project), connect=in_process)
    tags = {**job.tags, STARTED_FOR_TAG: "file x"}
    ran = job.execute_in_process(
        instance=instance,
        run_config={"ops": {"start": {"config": inputs}}},
        tags=tags if MAX in job.tags else {**AGAIN, **tags},
        raise_on_error=False,
    )
    run = instance.get_run_by_id(ran.run_id)
    assert run is not None
    return dict(run.tags)


def test_what_a_trigger_starts_says_for_what_and_is_launched_again(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    request, job = asked_for(tmp_path, instance)
    assert request.tags[STARTED_FOR_TAG] == f"file {tmp_path / 'inbox' / 'one.csv'}"
    assert request.tags[MAX] == "3"
    assert MAX not in job.tags


def test_a_flow_that_says_itself_how_often_it_is_launched_again_is_heard(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    request, job = asked_for(tmp_path, instance, tags={MAX: "1"})
    assert MAX not in request.tags
    assert job.tags[MAX] == "1"
    assert tags_after(tmp_path, instance, {}, tags={MAX: "1"})[MAX] == "1"


def test_once_a_node_runs_it_is_not_launched_again_unless_the_flow_says_so(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    assert tags_after(tmp_path, instance, {})[MAX] == "0"
    kept = tags_after(tmp_path, instance, {}, settings={"retry_lost": True})
    assert kept[MAX] == "3"


def lost(
    instance: DagsterInstance, job: JobDefinition, tags: dict[str, str], why: RunFailureReason
) -> DagsterRun:
    run = record(instance, job, DagsterRunStatus.STARTED, tags)
    instance.report_run_failed(run, "it has died", JobFailureData(None, failure_reason=why))
    failed = instance.get_run_by_id(run.run_id)
    assert failed is not None
    return failed


def test_dagster_launches_again_what_has_died_and_not_what_a_node_has_failed(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    _, job = asked_for(tmp_path, instance)
    died, failed = RunFailureReason.UNEXPECTED_TERMINATION, RunFailureReason.STEP_FAILURE
    assert lost(instance, job, AGAIN, died).tags[WILL] == "true"
    assert lost(instance, job, AGAIN, failed).tags[WILL] == "false"
    assert lost(instance, job, {**AGAIN, MAX: "0"}, died).tags[WILL] == "false"


def test_on_failure_hears_of_a_run_only_when_it_is_not_launched_again(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    flows = {"first": arriving(on_failure="handler"), "handler": HANDLER}
    ticks = Ticks(load(tmp_path, flows), "first_on_failure", instance)
    assert ticks.tick() == []
    job = job_of(ticks.repository, "first")
    again = lost(instance, job, AGAIN, RunFailureReason.UNEXPECTED_TERMINATION)
    assert ticks.tick() == []
    instance.add_run_tags(again.run_id, {WILL: "false"})  # as Dagster does where it cannot
    (request,) = ticks.tick()
    assert request.run_key == again.run_id
    started(ticks, [request])
    assert ticks.tick() == []
