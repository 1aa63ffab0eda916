"""``"scope": "flow"``: variables that recorded runs keep for the next ones."""

import itertools
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterInstance,
    ReexecutionOptions,
    build_reconstructable_job,
    execute_job,
    in_process_executor,
)
from dagster_runs import PROJECT, FlowRun, compile_test_flow, read_run, run_in_dagster, run_job
from drawing import draw, node

from rayflow_dagster.defs import prestart
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.storage import kept_variables
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project
from rayflow_dagster.testing import InProcessActors, in_process
from rayflow_dagster.variables.kept import KeptVariables

VARIABLES = {
    "count": {"type": "int", "default": 0, "scope": "flow"},
    "cursor": {"type": "str", "default": "", "scope": "flow"},
    "own": {"type": "int", "default": 0},
}


def variable(kind: str, name: str, **values: Any) -> dict[str, Any]:
    return node(f"variables.{kind}_variable", values={"VARIABLE": name, **values})


COUNTS = draw(
    {
        "start": "start",
        "add": variable("increment", "count", BY=2),
        "own": variable("increment", "own"),
        "return": "return",
    },
    "start > add, add > own, own > return, add.value - return.count, own.value - return.own",
    variables=VARIABLES,
)
SETS = draw(
    {
        "start": node("start", inputs={"cursor": "str"}),
        "before": variable("get", "cursor"),
        "set": variable("set", "cursor"),
        "return": "return",
    },
    "start > before, before > set, set > return, start.cursor - set.value,"
    "before.value - return.before",
    variables=VARIABLES,
)


def run(
    flow: dict[str, Any],
    instance: DagsterInstance,
    meanwhile: Callable[[], Any] = lambda: None,
    **inputs: Any,
) -> FlowRun:
    """Run a flow; ``meanwhile`` is called when the run has read its variables."""

    def connect(orchestrator: FlowOrchestrator) -> InProcessActors:
        meanwhile()
        return in_process(orchestrator)

    return run_in_dagster(flow, inputs, instance, connect=connect)


def stored(instance: DagsterInstance, project: Project = PROJECT) -> KeptVariables:
    return kept_variables(instance, "test", project.tag)


def kept(instance: DagsterInstance, project: Project = PROJECT) -> dict[str, Any]:
    found = stored(instance, project).read()
    return {name: each.value for name, each in found.items()}


def error_of(run: FlowRun) -> str:
    failure = next(e for e in run.events if e.event_type_value == "PIPELINE_FAILURE")
    return str(failure.event_specific_data)


def test_a_run_begins_with_what_the_last_one_has_kept(instance: DagsterInstance) -> None:
    assert run(COUNTS, instance).result == {"count": 2, "own": 1}
    assert run(COUNTS, instance).result == {"count": 4, "own": 1}
    assert kept(instance) == {"count": 4}


def test_the_log_of_a_run_says_what_it_has_kept(instance: DagsterInstance) -> None:
    events = run(COUNTS, instance).events
    messages = [event.message for event in events]
    said = messages.index("Kept for the next run: count")
    assert said < [event.event_type_value for event in events].index("PIPELINE_SUCCESS")


def test_increments_of_runs_that_overlap_add_up(instance: DagsterInstance) -> None:
    def meanwhile() -> None:
        assert run(COUNTS, instance).result["count"] == 2

    assert run(COUNTS, instance, meanwhile).result["count"] == 2
    assert kept(instance) == {"count": 4}


def test_a_conflicting_set_fails_the_later_run_and_names_both(instance: DagsterInstance) -> None:
    others: list[FlowRun] = []

    def meanwhile() -> None:
        others.append(run(SETS, instance, cursor="theirs"))

    later = run(SETS, instance, meanwhile, cursor="mine")

    assert others[0].success
    assert not later.success
    assert set(later.statuses.values()) == {"completed"}
    said = error_of(later)
    assert "variable 'cursor' of flow 'test'" in said
    assert f"run {others[0].run_id} wrote it after run {later.run_id} had read it" in said
    assert kept(instance) == {"cursor": "theirs"}


def test_a_set_by_hand_during_a_run_fails_it(instance: DagsterInstance) -> None:
    store = stored(instance)
    later = run(SETS, instance, lambda: store.set("cursor", "by hand"), cursor="mine")

    assert not later.success
    assert "the command line wrote it" in error_of(later)
    assert kept(instance) == {"cursor": "by hand"}


@pytest.mark.parametrize("on_error", ["stop", "continue"])
def test_a_failed_run_keeps_nothing(instance: DagsterInstance, on_error: str) -> None:
    flow = draw(
        {
            "start": "start",
            "add": variable("increment", "count"),
            "boom": "boom",
            "return": "return",
        },
        "start > add, add > boom, boom > return, add.value - return.count",
        variables=VARIABLES,
        on_error=on_error,
    )
    failed = run(flow, instance)
    assert not failed.success
    assert failed.statuses["add"] == "completed"
    assert kept(instance) == {}


def test_a_run_that_reaches_no_return_keeps_nothing(instance: DagsterInstance) -> None:
    flow = draw(
        {
            "start": node("start", inputs={"flag": "bool"}),
            "add": variable("increment", "count"),
            "branch": "logic.branch",
            "return": "return",
        },
        "start > add, add > branch, start.flag - branch.condition, branch.true > return",
        variables=VARIABLES,
    )
    assert run(flow, instance, flag=True).success
    assert not run(flow, instance, flag=False).success
    assert kept(instance) == {"count": 1}


def test_flows_without_durable_values_keep_their_variables(instance: DagsterInstance) -> None:
    flow = {**COUNTS, "settings": {"durable": False}}
    assert run(flow, instance).result["count"] == 2
    assert run(flow, instance).result["count"] == 4


def test_a_run_that_cannot_read_its_variables_fails_before_any_node(
    instance: DagsterInstance,
) -> None:
    stored(instance).set("count", "text")
    failed = run(COUNTS, instance)
    assert set(failed.statuses.values()) == {"pending"}
    assert "which is not int" in error_of(failed)
    assert "rayflow-dagster variables test reset count" in error_of(failed)


def test_a_flow_that_keeps_variables_is_not_connected_before_its_run(
    instance: DagsterInstance,
) -> None:
    job_def = build_job(COUNTS, "test", project=PROJECT, connect=in_process)
    prestart.start_early(job_def)
    assert prestart._started == {}


def test_another_executor_refuses_such_a_flow(instance: DagsterInstance) -> None:
    refused = run_in_dagster(
        COUNTS, {}, instance, executor_def=in_process_executor, connect=in_process
    )
    assert not refused.success
    assert refused.statuses == {
        "start": "failed", "add": "pending", "own": "pending", "return": "pending"
    }  # fmt: skip
    said = next(str(e.event_specific_data) for e in refused.events if e.is_step_failure)
    assert "keeps variables between runs (count, cursor), which only its own executor does" in said


def test_another_executor_runs_it_where_no_run_is_kept_either() -> None:
    job_def = build_job(COUNTS, "test", project=PROJECT, connect=in_process)
    for _ in range(2):
        result = job_def.execute_in_process()
        assert result.output_for_node("Return", "result") == {"count": 2, "own": 1}


MENDED = {"counter": {"type": "int", "default": 0, "scope": "flow"}, **VARIABLES}


def job_of(flow: str) -> Any:
    """Dagster reconstructs the job by calling this again."""
    return build_job(json.loads(flow), "test", project=PROJECT, connect=in_process)


def first_run(flow: dict[str, Any], instance: DagsterInstance) -> FlowRun:
    return _read(flow, instance, execute_job(_job(flow), instance).run_id)


def from_failure(flow: dict[str, Any], instance: DagsterInstance, run: FlowRun) -> FlowRun:
    options = ReexecutionOptions.from_failure(run.run_id, instance)
    return _read(
        flow, instance, execute_job(_job(flow), instance, reexecution_options=options).run_id
    )


def _job(flow: dict[str, Any]) -> Any:
    return build_reconstructable_job("test_variables_between_runs", "job_of", (json.dumps(flow),))


def _read(flow: dict[str, Any], instance: DagsterInstance, run_id: str) -> FlowRun:
    return read_run(instance, run_id, compile_test_flow(flow))


def mended(marker: Path, *before: str) -> dict[str, Any]:
    """A flow whose second last node fails until ``marker`` is there, and adds 1 to ``counter``."""
    steps = {
        "get": variable("get", "cursor"),
        "count": variable("increment", "counter", BY=10),
        "set": variable("set", "cursor", value="mine"),
    }
    names = [*before, "mended"]
    pairs = itertools.pairwise(["start", *names, "return"])
    wires = ", ".join(f"{source} > {target}" for source, target in pairs)
    return draw(
        {
            "start": "start",
            **{name: steps[name] for name in before},
            "mended": node("flow_nodes.mended.MendedNode", values={"FILE": str(marker)}),
            "return": node("return", values={"done": True}, inputs={"done": "bool"}),
        },
        wires,
        variables=MENDED,
    )


def test_a_rerun_from_failure_keeps_what_the_failed_run_did_as_well(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    flow = mended(tmp_path / "marker", "count")
    failed = first_run(flow, instance)
    stored(instance).set("counter", 1000)
    again = from_failure(flow, instance, failed)
    assert not again.success
    assert kept(instance) == {"counter": 1000}

    (tmp_path / "marker").touch()
    assert from_failure(flow, instance, again).success

    # 10 of the first run, 1 of the last.
    assert kept(instance) == {"counter": 1011}


def test_a_rerun_is_in_conflict_with_whoever_wrote_since_the_first_run_read(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    flow = mended(tmp_path / "marker", "set")
    failed = first_run(flow, instance)
    stored(instance).set("cursor", "theirs")
    (tmp_path / "marker").touch()

    rerun = from_failure(flow, instance, failed)

    assert not rerun.success
    assert f"wrote it after run {rerun.run_id} had read it" in error_of(rerun)
    assert kept(instance) == {"cursor": "theirs"}


def test_a_rerun_sees_the_values_that_the_first_run_had_read(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    flow = mended(tmp_path / "marker")
    store = stored(instance)
    store.set("counter", 5)
    failed = first_run(flow, instance)
    (tmp_path / "marker").touch()

    assert from_failure(flow, instance, failed).success

    assert kept(instance) == {"counter": 6}


def test_flows_of_one_name_in_two_projects_keep_each_their_own(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    other = Project.at(tmp_path)
    for project in (PROJECT, other, PROJECT):
        job = build_job(COUNTS, "test", project=project, connect=in_process)
        assert run_job(job, compile_test_flow(COUNTS), {}, instance).success
    assert kept(instance) == {"count": 4}
    assert kept(instance, other) == {"count": 2}


def test_a_project_that_is_moved_with_its_home_keeps_its_variables(tmp_path: Path) -> None:
    project, moved = Project.at(tmp_path / "a"), Project.at(tmp_path / "b")
    (project.root / ".dagster").mkdir(parents=True)
    with DagsterInstance.local_temp(str(project.root / ".dagster")) as instance:
        stored(instance, project).set("count", 3)
    project.root.rename(moved.root)
    with DagsterInstance.local_temp(str(moved.root / ".dagster")) as instance:
        assert kept(instance, moved) == {"count": 3}


def test_a_rerun_of_the_whole_flow_reads_anew(instance: DagsterInstance, tmp_path: Path) -> None:
    flow = mended(tmp_path / "marker", "set")
    failed = first_run(flow, instance)
    stored(instance).set("cursor", "theirs")
    (tmp_path / "marker").touch()

    options = ReexecutionOptions(parent_run_id=failed.run_id)
    assert execute_job(_job(flow), instance, reexecution_options=options).success

    assert kept(instance)["cursor"] == "mine"


def test_a_rerun_of_one_step_of_a_run_that_succeeded_adds_nothing_twice(
    instance: DagsterInstance,
) -> None:
    done = first_run(COUNTS, instance)
    for _ in range(2):
        options = ReexecutionOptions(parent_run_id=done.run_id, step_selection=["own+"])
        rerun = execute_job(_job(COUNTS), instance, reexecution_options=options)
        assert rerun.success
        assert kept(instance) == {"count": 2}
        done = _read(COUNTS, instance, rerun.run_id)


def test_a_rerun_of_a_rerun_of_the_whole_flow_begins_with_what_that_one_has_read(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    flow = mended(tmp_path / "marker", "count")
    failed = first_run(flow, instance)
    options = ReexecutionOptions(parent_run_id=failed.run_id)
    again = execute_job(_job(flow), instance, reexecution_options=options)
    (tmp_path / "marker").touch()
    assert from_failure(flow, instance, _read(flow, instance, again.run_id)).success
    assert kept(instance) == {"counter": 11}


@pytest.mark.ray
def test_what_is_set_by_hand_during_a_run_on_ray_is_added_to(
    ray_session: None, instance: DagsterInstance, tmp_path: Path
) -> None:
    values = {"MINE": str(tmp_path / "added"), "THEIRS": str(tmp_path / "set")}
    flow = draw(
        {
            "start": "start",
            "add": node("count_up", values={"NAME": "count", "BY": 3}),
            "meet": node("flow_nodes.meet.MeetNode", values=values),
            "return": "return",
        },
        "start > add, add > meet, meet > return, add.value - return.count",
        variables=VARIABLES,
    )
    with ThreadPoolExecutor(1) as threads:
        going = threads.submit(run_in_dagster, flow, {}, instance)
        while not (tmp_path / "added").exists() and not going.done():
            time.sleep(0.01)
        stored(instance).set("count", 100)
        (tmp_path / "set").touch()
        done = going.result()

    assert (done.success, done.result) == (True, {"count": 3})
    assert kept(instance) == {"count": 103}
