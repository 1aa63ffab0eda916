"""Runs for partitions, on a real instance."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance
from defs.triggers.triggered import (
    ONE_AT_A_TIME,
    Ticks,
    flow_of,
    kept_instance,
    load,
    schedule_tick,
)

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.errors import InvalidInputsError
from rayflow_dagster.testing import in_process

DAILY = {"kind": "daily", "start": "2026-01-01", "input": "day"}
NAMES = {"kind": "static", "values": ["north", "south"], "input": "day"}


def parted(partitions: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return flow_of({"day": "str"}, partitions=partitions, **keys)


def run(flow: dict[str, Any], instance: DagsterInstance, **keys: Any) -> Any:
    job = build_job(flow, "sales", connect=in_process)
    return job.execute_in_process(instance=instance, raise_on_error=False, **keys)


def messages(result: Any) -> str:
    return "\n".join(str(event.event_specific_data) for event in result.all_events)


@pytest.mark.parametrize(
    ("partitions", "key"),
    [
        (DAILY, "2026-01-05"),
        ({**DAILY, "kind": "hourly"}, "2026-01-05-13:00"),
        ({**DAILY, "kind": "weekly"}, "2026-01-04"),
        ({**DAILY, "kind": "monthly"}, "2026-02-01"),
        (NAMES, "south"),
    ],
)
def test_the_run_of_a_partition_gives_it_to_the_input(
    memory: DagsterInstance, partitions: dict[str, Any], key: str
) -> None:
    result = run(parted(partitions), memory, partition_key=key)
    assert result.output_for_node("back", "result") == {"day": key}


def test_a_dynamic_partition_is_given_once_it_was_added(memory: DagsterInstance) -> None:
    memory.add_dynamic_partitions("sales", ["ada"])
    flow = parted({"kind": "dynamic", "input": "day"})
    assert run(flow, memory, partition_key="ada").output_for_node("back", "result") == {
        "day": "ada"
    }


def test_a_run_without_a_partition_takes_the_input_like_any_other(memory: DagsterInstance) -> None:
    config = {"ops": {"start": {"config": {"day": "any day"}}}}
    result = run(parted(DAILY), memory, run_config=config)
    assert result.output_for_node("back", "result") == {"day": "any day"}


def test_a_run_without_partition_and_input_fails_and_says_what_is_missing(
    memory: DagsterInstance,
) -> None:
    result = run(parted(DAILY), memory)
    assert not result.success
    assert "'day' (str) is missing" in messages(result)


def test_a_run_for_one_partition_that_names_another_fails_before_any_node(
    memory: DagsterInstance,
) -> None:
    config = {"ops": {"start": {"config": {"day": "2026-01-06"}}}}
    result = run(parted(DAILY), memory, run_config=config, partition_key="2026-01-05")
    assert not result.success
    assert "for partition '2026-01-05'" in messages(result)


def test_a_default_gives_way_to_the_partition(memory: DagsterInstance) -> None:
    flow = flow_of({"day": {"type": "str", "default": "today"}}, partitions=DAILY)
    result = run(flow, memory, partition_key="2026-01-05")
    assert result.output_for_node("back", "result") == {"day": "2026-01-05"}


def test_a_schedule_without_cron_runs_at_the_end_of_each_day_for_it(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    flow = parted({**DAILY, "timezone": "Europe/Madrid"}, schedules=[{}])
    repository = load(tmp_path, {"sales": flow})
    schedule = repository.get_schedule_def("sales_schedule")
    assert schedule.cron_schedule == "0 0 * * *"
    assert schedule.execution_timezone == "Europe/Madrid"
    midnight = datetime(2026, 1, 5, 23, 0, tzinfo=UTC)
    (request,), _ = schedule_tick(repository, "sales_schedule", instance, midnight)
    assert request.partition_key == "2026-01-05"
    assert request.run_config == {}
    assert request.tags["dagster/partition"] == "2026-01-05"


def test_a_schedule_with_cron_runs_for_the_newest_day_that_is_over(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    repository = load(tmp_path, {"sales": parted(DAILY, schedules=[{"cron": "0 6 * * *"}])})
    six = datetime(2026, 1, 7, 6, 0, tzinfo=UTC)
    (request,), _ = schedule_tick(repository, "sales_schedule", instance, six)
    assert request.partition_key == "2026-01-06"


def test_before_the_first_day_is_over_nothing_runs(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    repository = load(tmp_path, {"sales": parted(DAILY, schedules=[{}])})
    early = datetime(2026, 1, 1, 0, 0, tzinfo=UTC)
    requests, why = schedule_tick(repository, "sales_schedule", instance, early)
    assert (requests, why) == ([], "no partition is due")


def test_after_the_last_day_nothing_runs(tmp_path: Path, instance: DagsterInstance) -> None:
    ending = parted({**DAILY, "end": "2026-01-10"}, schedules=[{}])
    repository = load(tmp_path, {"sales": ending})
    last = datetime(2026, 1, 10, tzinfo=UTC)
    (request,), _ = schedule_tick(repository, "sales_schedule", instance, last)
    assert request.partition_key == "2026-01-09"
    requests, why = schedule_tick(
        repository, "sales_schedule", instance, datetime(2026, 1, 11, tzinfo=UTC)
    )
    assert (requests, why) == ([], "no partition is due")


@pytest.mark.parametrize("overlap", ["skip", "cancel", "queue"])
def test_the_runs_of_all_parts_are_not_in_each_others_way(tmp_path: Path, overlap: str) -> None:
    flow = parted(NAMES, schedules=[{"cron": "@daily", "overlap": overlap}])
    now = datetime(2026, 1, 7, tzinfo=UTC)
    with kept_instance(tmp_path / "home", ONE_AT_A_TIME) as instance:
        requests, _ = schedule_tick(
            load(tmp_path / "p", {"sales": flow}), "sales_schedule", instance, now
        )
    assert [each.partition_key for each in requests] == ["north", "south"]


def test_a_schedule_of_names_runs_for_each(tmp_path: Path, instance: DagsterInstance) -> None:
    repository = load(tmp_path, {"sales": parted(NAMES, schedules=[{"cron": "@daily"}])})
    now = datetime(2026, 1, 7, tzinfo=UTC)
    requests, _ = schedule_tick(repository, "sales_schedule", instance, now)
    assert [each.partition_key for each in requests] == ["north", "south"]


def test_a_sensor_names_the_partition_and_adds_it_where_they_are_dynamic(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "ada.csv").write_text("")
    sensor = {
        "type": "file",
        "path": "inbox/*",
        "settle": 0,
        "inputs": {"day": "{{ file.name }}"},
    }
    flow = parted({"kind": "dynamic", "input": "day"}, sensors=[sensor])
    ticks = Ticks(load(tmp_path, {"sales": flow}), "sales_file", instance)
    (request,) = ticks.tick()
    assert request.partition_key == "ada.csv"
    (added,) = ticks.added
    assert (added.partitions_def_name, list(added.partition_keys)) == ("sales", ["ada.csv"])


@pytest.mark.parametrize(
    ("name", "key"), [(b"ad\xff.csv", "ad\\xff.csv"), ("añé.csv".encode(), "añé.csv")]
)
def test_a_file_names_a_partition_whatever_bytes_its_name_has(
    tmp_path: Path, instance: DagsterInstance, name: bytes, key: str
) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / os.fsdecode(name)).write_text("")
    sensor = {"type": "file", "path": "inbox/*", "settle": 0, "inputs": {"day": "{{ file.name }}"}}
    flow = parted({"kind": "dynamic", "input": "day"}, sensors=[sensor])
    (request,) = Ticks(load(tmp_path, {"sales": flow}), "sales_file", instance).tick()
    assert request.partition_key == key
    instance.add_dynamic_partitions("sales", [key])


def test_a_file_whose_name_cannot_be_a_partition_is_named(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "a...b").write_text("")
    sensor = {"type": "file", "path": "inbox/*", "settle": 0, "inputs": {"day": "{{ file.name }}"}}
    flow = parted({"kind": "dynamic", "input": "day"}, sensors=[sensor])
    ticks = Ticks(load(tmp_path, {"sales": flow}), "sales_file", instance)
    with pytest.raises(InvalidInputsError, match=r"a\.\.\.b: 'a\.\.\.b' cannot be a part"):
        ticks.tick()


def test_assets_of_the_flow_have_its_partitions(tmp_path: Path) -> None:
    flow = parted(DAILY)
    flow["nodes"][1]["data"] = {"asset": {"key": "sales"}}
    repository = load(tmp_path, {"sales": flow})
    (spec,) = [spec for each in repository.assets_defs_by_key.values() for spec in each.specs]
    assert spec.partitions_def == repository.get_job("sales").partitions_def
