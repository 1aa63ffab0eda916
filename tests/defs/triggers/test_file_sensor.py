"""Sensors of files, evaluated as the daemon does."""

import os
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, build_sensor_context
from defs.triggers.triggered import Ticks, flow_of, load, started

from rayflow_dagster.defs.triggers.file_sensor import LISTINGS
from rayflow_dagster.errors import TriggerError

INPUTS = {"path": "str", "size": "int", "mtime": "float", "name": "str"}


def watching(**keys: Any) -> dict[str, Any]:
    sensor = {
        "type": "file",
        "path": "inbox/*.csv",
        "settle": 60,
        "inputs": {name: f"{{{{ file.{name} }}}}" for name in INPUTS},
        "min_interval": 1,
        **keys,
    }
    return flow_of(INPUTS if "inputs" not in keys else {"paths": "list[str]"}, sensors=[sensor])


def put(folder: Path, name: str, age: float, text: str = "a,b\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(text)
    os.utime(file, (time.time() - age,) * 2)
    return file


@pytest.fixture(autouse=True)
def fresh_listings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticks of a test follow one another faster than listings age."""
    monkeypatch.setattr("rayflow_dagster.defs.triggers.file_sensor.MAX_AGE", -1.0)


def test_a_password_in_a_url_is_in_no_tick(tmp_path: Path, memory: DagsterInstance) -> None:
    quiet = watching(path="memory://ada:s3cret@shop/inbox/*.csv")
    failing = watching(path="nothing://ada:s3cret@shop/inbox/*.csv")
    repository = load(tmp_path, {"quiet": quiet, "failing": failing})
    ticks = Ticks(repository, "quiet_file", memory)
    assert ticks.inputs() == []
    assert ticks.skipped == "no new files match memory://ada:***@shop/inbox/*.csv"
    with pytest.raises(TriggerError) as failed:
        Ticks(repository, "failing_file", memory).tick()
    assert "ada:***@shop" in str(failed.value)
    assert "s3cret" not in "".join(traceback.format_exception(failed.value))


def test_files_outside_of_the_data_folders_start_nothing(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    repository = load(tmp_path, {"take": watching(path="flows/*.json")})
    assert "lies in none of the folders that flows may use files of" in str(
        repository.get_job("take").description
    )


def test_a_complete_file_starts_one_run_and_one_that_grows_waits(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    inbox = tmp_path / "inbox"
    done = put(inbox, "done.csv", age=100)
    growing = put(inbox, "growing.csv", age=5)
    put(inbox, "other.txt", age=100)
    ticks = Ticks(load(tmp_path, {"take": watching()}), "take_file", memory)
    (given,) = ticks.inputs()
    assert given == {
        "path": str(done),
        "name": "done.csv",
        "size": 4,
        "mtime": pytest.approx(done.stat().st_mtime),
    }
    assert ticks.inputs() == []
    os.utime(growing, (time.time() - 61,) * 2)
    assert [each["name"] for each in ticks.inputs()] == ["growing.csv"]


def test_a_new_version_of_a_file_starts_a_run_with_another_key(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    put(tmp_path / "inbox", "a.csv", age=100)
    ticks = Ticks(load(tmp_path, {"take": watching()}), "take_file", memory)
    (first,) = ticks.tick()
    put(tmp_path / "inbox", "a.csv", age=80, text="longer,text\n")
    (second,) = ticks.tick()
    assert first.run_key != second.run_key


def test_a_file_that_comes_back_as_it_was_is_told_and_starts_after_the_cursor_was_cleared(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    file = put(tmp_path / "inbox", "a.csv", age=100)
    ticks = Ticks(load(tmp_path, {"take": watching()}), "take_file", memory)
    (run,) = started(ticks, ticks.tick())
    away = file.rename(tmp_path / "a.csv")
    assert ticks.tick() == []
    away.rename(file)
    assert ticks.tick() == []
    assert run.run_id in (ticks.skipped or "")
    assert str(file) in (ticks.skipped or "")
    ticks.cursor = None
    assert len(started(ticks, ticks.tick())) == 1
    assert ticks.tick() == []


def test_what_is_too_much_for_one_tick_comes_with_the_next(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    for number in range(5):
        put(tmp_path / "inbox", f"{number}.csv", age=200 - number)
    ticks = Ticks(load(tmp_path, {"take": watching(max_per_tick=2)}), "take_file", memory)
    names = [[each["name"] for each in ticks.inputs()] for _ in range(4)]
    assert names == [["0.csv", "1.csv"], ["2.csv", "3.csv"], ["4.csv"], []]


def test_a_batch_is_one_run_for_all_files(tmp_path: Path, memory: DagsterInstance) -> None:
    files = [put(tmp_path / "inbox", f"{number}.csv", age=200 - number) for number in range(3)]
    flow = watching(batch=True, inputs={"paths": "{{ paths }}"})
    ticks = Ticks(load(tmp_path, {"take": flow}), "take_file", memory)
    assert ticks.inputs() == [{"paths": [str(file) for file in files]}]
    assert ticks.inputs() == []
    assert ticks.skipped == "no new files match inbox/*.csv"


def test_a_folder_that_is_not_there_fails_the_tick(tmp_path: Path, memory: DagsterInstance) -> None:
    ticks = Ticks(load(tmp_path, {"take": watching()}), "take_file", memory)
    with pytest.raises(Exception, match="inbox is not there"):
        ticks.tick()
    put(tmp_path / "inbox", "a.csv", age=100)
    assert len(ticks.tick()) == 1


def test_many_flows_that_look_into_one_folder_share_one_pass(
    tmp_path: Path, memory: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayflow_dagster.defs.triggers.file_sensor.MAX_AGE", 15.0)
    put(tmp_path / "inbox", "a.csv", age=100)
    flows = {f"take{number}": watching(min_interval=600) for number in range(50)}
    repository = load(tmp_path, flows)
    before = LISTINGS.passes
    for sensor in repository.sensor_defs:
        with build_sensor_context(instance=memory, repository_def=repository) as context:
            assert len(sensor.evaluate_tick(context).run_requests or []) == 1
    assert LISTINGS.passes - before == 1
