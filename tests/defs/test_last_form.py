"""What stays of a flow in Dagster while it cannot run."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, DefaultScheduleStatus, RepositoryDefinition
from defs.triggers.triggered import Ticks, flow_of, load, schedule_tick
from drawing import draw, node

from rayflow_dagster.types import RETURN_CLASS, START_CLASS

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


def test_no_run_for_a_part_is_made_of_a_broken_flow(tmp_path: Path) -> None:
    job = breaking(tmp_path, HALF_SAVED).get_job("daily")
    assert job.partitioned_config is not None
    with pytest.raises(Exception, match="it is not JSON"):
        job.partitioned_config.get_run_config_for_partition_key("2026-01-02")


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
    (file,) = (tmp_path / "home" / "storage" / "rayflow" / "flows" / "forms").iterdir()
    file.write_text('{"daily.json": 1}')
    (tmp_path / "p" / "flows" / "daily.json").write_text(HALF_SAVED)
    repository = load(tmp_path / "p", {})
    assert "cannot run" in (repository.get_job("daily").description or "")
