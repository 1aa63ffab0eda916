"""What stays of a flow in Dagster while it cannot run."""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, DefaultScheduleStatus, RepositoryDefinition
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.remote_representation.external import RemoteRepository
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget, PythonFileTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._scheduler.scheduler import launch_scheduled_runs
from defs.triggers.triggered import (
    Ticks,
    flow_of,
    kept_instance,
    load,
    schedule_tick,
)
from drawing import draw, node

from rayflow_dagster.types import RETURN_CLASS, START_CLASS

LOG = logging.getLogger("the tests' daemon")
DEFINITIONS = """
from pathlib import Path
from rayflow_dagster import build_definitions
defs = build_definitions(Path(__file__).with_name("flows"))
"""
HALF_SAVED = '{"nodes": ['


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))


def daily(**keys: Any) -> dict[str, Any]:
    """A flow that has everything that Dagster remembers a flow by."""
    nodes = {
        "start": node(START_CLASS, inputs={"day": {"type": "str"}}),
        "back": node(RETURN_CLASS, asset={"key": "sales/daily", "deps": ["shop"]}),
    }
    return draw(
        nodes,
        "start > back, start.day - back.day",
        partitions={"kind": "daily", "input": "day", "start": "2026-01-01"},
        schedules=[{"running": True}],
        sensors=[{"type": "inbox", "running": True}],
        **keys,
    )


def breaking(project: Path, text: str) -> RepositoryDefinition:
    """The location after ``daily.json`` has become ``text``."""
    load(project, {"daily": daily()})
    (project / "flows" / "daily.json").write_text(text)
    return load(project, {})


BROKEN = {
    "half saved": HALF_SAVED,
    "no wires": json.dumps({**daily(), "edges": []}),
    "wrong keys": json.dumps({**daily(), "partitions": {"kind": "dialy"}, "schedules": 3}),
    "empty": "{}",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_flow_keeps_all_that_it_had_and_starts_nothing(
    tmp_path: Path, text: str, memory: DagsterInstance
) -> None:
    repository = breaking(tmp_path / "p", text)

    job = repository.get_job("daily")
    assert "cannot run" in (job.description or "")
    assert job.partitions_def is not None
    assert "2026-01-02" in job.partitions_def.get_partition_keys()
    schedule = repository.get_schedule_def("daily_schedule")
    assert schedule.cron_schedule == "0 0 * * *"
    assert schedule.default_status == DefaultScheduleStatus.RUNNING
    spec = repository.asset_graph.get(AssetKey(["sales", "daily"]))
    assert spec.parent_keys == {AssetKey("shop")}
    assert spec.partitions_def == job.partitions_def
    requests, why = schedule_tick(
        repository, "daily_schedule", memory, datetime(2026, 1, 3, tzinfo=UTC)
    )
    assert requests == []
    assert "daily.json" in (why or "")
    ticks = Ticks(repository, "daily_inbox", memory)
    ticks.cursor = "kept"
    assert ticks.tick() == []
    assert ticks.cursor == "kept"
    assert "daily.json" in (ticks.skipped or "")


# Dagster asks itself for what it has deprecated.
as_the_daemon = pytest.mark.filterwarnings("ignore:Property .ScheduleDefinition.env:Warning")


@contextmanager
def code_server(project: Path, instance: DagsterInstance) -> Iterator[WorkspaceProcessContext]:
    """The project as Dagster's daemon sees it now, in a process of its own."""
    file = project / "served.py"
    file.write_text(DEFINITIONS)
    target = PythonFileTarget(str(file), None, str(project), "p")
    with create_test_daemon_workspace_context(target, instance) as context:
        yield context


@contextmanager
def workspace(project: Path, instance: DagsterInstance) -> Iterator[WorkspaceProcessContext]:
    """The same, in this process, which is faster. Errors of the code do not look the same."""
    file = project / "served_here.py"
    file.write_text(DEFINITIONS)
    sys.modules.pop(file.stem, None)
    target = LoadableTargetOrigin(executable_path=sys.executable, python_file=str(file))
    origin = InProcessCodeLocationOrigin(target, location_name="p")
    with WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as context:
        yield context


def repository_of(context: WorkspaceProcessContext) -> RemoteRepository:
    return context.create_request_context().get_code_location("p").get_repository("__repository__")


@as_the_daemon
def test_a_schedule_that_was_switched_off_stays_off_though_its_flow_was_broken_for_long(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    project, flow = tmp_path / "p", tmp_path / "p" / "flows" / "daily.json"

    def the_daemon_comes(hours: float) -> InstigatorState | None:
        with workspace(project, instance) as context:
            schedule = repository_of(context).get_schedule("daily_schedule")
            if not hours:
                instance.stop_schedule(
                    schedule.get_remote_origin_id(), schedule.selector_id, schedule
                )
            at = datetime.now(UTC) + timedelta(hours=hours)
            assert not any(launch_scheduled_runs(context, LOG, at, {}))
            return instance.get_instigator_state(
                schedule.get_remote_origin_id(), schedule.selector_id
            )

    load(project, {"daily": daily()})
    the_daemon_comes(0)
    flow.write_text(HALF_SAVED)
    the_daemon_comes(26)
    load(project, {"daily": daily()})
    state = the_daemon_comes(52)

    assert state is not None
    assert state.status == InstigatorStatus.STOPPED
    assert instance.get_runs() == []


QUEUING = {
    "run_coordinator": {
        "module": "rayflow_dagster.instance.coordinator",
        "class": "PromptRunCoordinator",
        "config": {"max_concurrent_runs": 0},
    }
}


def two_days(context: WorkspaceProcessContext) -> PartitionBackfill:
    """A backfill as the UI asks for it."""
    (parts,) = repository_of(context).get_partition_sets()
    return PartitionBackfill(
        backfill_id="b",
        partition_set_origin=parts.get_remote_origin(),
        status=BulkActionStatus.REQUESTED,
        partition_names=["2026-01-02", "2026-01-03"],
        from_failure=False,
        reexecution_steps=None,
        tags={},
        backfill_timestamp=datetime.now(UTC).timestamp(),
    )


@as_the_daemon
def test_a_backfill_waits_while_its_flow_is_broken_and_goes_on_when_it_is_mended(
    tmp_path: Path,
) -> None:
    project, flow = tmp_path / "p", tmp_path / "p" / "flows" / "daily.json"
    load(project, {"daily": daily()})
    whole = flow.read_text()
    with kept_instance(tmp_path / "dagster", QUEUING) as instance:
        with workspace(project, instance) as context:
            instance.add_backfill(two_days(context))
        flow.write_text(HALF_SAVED)
        with code_server(project, instance) as context:
            (told,) = execute_backfill_iteration(context, LOG)
        assert "flow 'daily' cannot run" in str(told)
        assert instance.get_runs() == []
        waiting = instance.get_backfill("b")
        assert waiting is not None
        assert waiting.status == BulkActionStatus.REQUESTED
        assert waiting.failure_count == 0  # or Dagster gives up after some tries
        flow.write_text(whole)
        with workspace(project, instance) as context:
            assert not any(execute_backfill_iteration(context, LOG))
        days = [run.tags["dagster/partition"] for run in instance.get_runs()]
        assert sorted(days) == ["2026-01-02", "2026-01-03"]


def test_what_is_mended_is_as_before_and_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    breaking(tmp_path, HALF_SAVED)
    broken_again = load(tmp_path, {})
    assert broken_again.get_job("daily").partitions_def is not None
    mended = load(tmp_path, {"daily": daily()})
    assert "cannot run" not in (mended.get_job("daily").description or "")
    (tmp_path / "flows" / "daily.json").unlink()
    load(tmp_path, {})
    (tmp_path / "flows" / "daily.json").write_text(HALF_SAVED)
    assert load(tmp_path, {}).get_job("daily").partitions_def is None


def test_a_name_of_its_own_is_kept_when_the_file_cannot_be_read(tmp_path: Path) -> None:
    load(tmp_path, {"file": {**daily(), "name": "sales"}})
    (tmp_path / "flows" / "file.json").write_text(HALF_SAVED)
    assert load(tmp_path, {}).get_job("sales").partitions_def is not None


def test_who_had_a_name_keeps_it_when_a_copy_claims_it_too(tmp_path: Path) -> None:
    flow = {**daily(), "name": "sales"}
    load(tmp_path, {"one": flow})
    repository = load(tmp_path, {"a_copy": flow})
    assert repository.get_job("sales").partitions_def is not None
    assert "one.json" in (repository.get_job("sales").description or "")
    assert repository.has_schedule_def("sales_schedule")


def test_a_flow_that_takes_a_trigger_or_an_asset_of_a_broken_one_gets_it(tmp_path: Path) -> None:
    load(tmp_path, {"daily": daily()})
    other: Mapping[str, Any] = {**daily(), "partitions": None, "name": "other", "schedules": []}
    taking = {**other, "sensors": [{"type": "inbox", "name": "x"}]}
    (tmp_path / "flows" / "daily.json").write_text(HALF_SAVED)
    repository = load(tmp_path, {"other": taking})
    assert repository.get_job("daily").partitions_def is not None
    spec = repository.asset_graph.get(AssetKey(["sales", "daily"]))
    assert spec.partitions_def is None


def test_a_list_of_forms_that_is_no_such_list_is_passed_over(tmp_path: Path) -> None:
    load(tmp_path / "p", {"daily": daily(), "other": flow_of({})})
    (file,) = (tmp_path / "home" / "storage" / "rayflow" / "forms").iterdir()
    file.write_text('{"daily.json": 1}')
    (tmp_path / "p" / "flows" / "daily.json").write_text(HALF_SAVED)
    repository = load(tmp_path / "p", {})
    assert "cannot run" in (repository.get_job("daily").description or "")
