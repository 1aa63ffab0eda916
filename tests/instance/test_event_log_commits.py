"""When events are committed, who sees them, and what becomes of connections and files."""

import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy.event
from dagster import DagsterInstance
from event_log_processes import (
    PATIENCE,
    fork_while_writing,
    process,
    receive,
    watch,
    write_steps,
    write_steps_for_ever,
)
from event_logs import SHARDS, event, log, messages, open_files, open_instance, open_storage
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from rayflow_dagster.instance.event_log import FastSqliteEventLogStorage
from rayflow_dagster.instance.shard_files import TEMPLATES
from rayflow_dagster.instance.shards import MAX_OPEN

RUN = "11111111-1111-1111-1111-111111111111"


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[FastSqliteEventLogStorage]:
    storage = open_storage(tmp_path)
    yield storage
    storage.dispose()


def _wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.01)


def _count(home: Path, run_id: str = RUN) -> int:
    """The events of a run as any other connection sees them."""
    connection = sqlite3.connect(home / SHARDS / f"{run_id}.db")
    try:
        count: int = connection.execute("SELECT count(*) FROM event_logs").fetchone()[0]
    finally:
        connection.close()
    return count


def test_a_held_event_is_committed_without_a_further_call(
    storage: FastSqliteEventLogStorage, tmp_path: Path
) -> None:
    storage.store_event(event(RUN, "STEP_SUCCESS"))
    storage.store_event(log(RUN, "held"))
    _wait_for(lambda: _count(tmp_path) == 2)
    storage.store_event(log(RUN, "held again"))
    _wait_for(lambda: _count(tmp_path) == 3)


@pytest.mark.parametrize(
    "kind",
    [
        "STEP_SUCCESS",
        "STEP_FAILURE",
        "STEP_UP_FOR_RETRY",
        "STEP_SKIPPED",
        "ENGINE_EVENT",
        "PIPELINE_START",
        "PIPELINE_FAILURE",
    ],
)
def test_what_ends_a_step_or_concerns_the_run_is_committed_on_return(
    kind: str, storage: FastSqliteEventLogStorage, tmp_path: Path
) -> None:
    storage.store_event(event(RUN, "STEP_SUCCESS"))
    storage.store_event(event(RUN, "STEP_START", "held"))
    storage.store_event(event(RUN, kind, "last"))
    assert _count(tmp_path) == 3


def test_a_file_that_another_process_locks_does_not_stop_what_a_step_says(
    storage: FastSqliteEventLogStorage, tmp_path: Path
) -> None:
    storage.store_event(event(RUN, "STEP_SUCCESS"))
    other = sqlite3.connect(tmp_path / SHARDS / f"{RUN}.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    storage.store_event(log(RUN, "held"))
    other.execute("COMMIT")
    other.close()
    assert messages(storage, RUN) == ["", "held"]


def test_a_killed_process_loses_nothing_that_it_had_reported(tmp_path: Path) -> None:
    with process(write_steps_for_ever, tmp_path, RUN) as (child, pipe):
        while (last := receive(pipe)) < 40:
            pass
        child.kill()
        child.join()
        while pipe.poll():
            try:
                last = pipe.recv()
            except EOFError:
                break
    with open_instance(tmp_path, "stock") as instance:
        texts = messages(instance.event_log_storage, RUN)
    reported = [f"{what} {n}" for n in range(last + 1) for what in ("start", "log", "end")]
    assert texts[: len(reported)] == reported
    assert len(texts) <= len(reported) + 3


def test_two_processes_write_to_one_run_and_to_the_index(tmp_path: Path) -> None:
    count = 40
    open_storage(tmp_path).dispose()
    with (
        process(write_steps, tmp_path, RUN, "a", count) as (_, first),
        process(write_steps, tmp_path, RUN, "b", count) as (_, second),
    ):
        for pipe in (first, second):
            assert receive(pipe) == "ready"
        for pipe in (first, second):
            pipe.send("go")
        for pipe in (first, second):
            assert receive(pipe) == "done"
    storage = open_storage(tmp_path)
    texts = messages(storage, RUN)
    for name in ("a", "b"):
        mine = [text for text in texts if text.startswith(name)]
        kinds = ("start", "end", "status")
        assert mine == [f"{name} {what} {n}" for n in range(count) for what in kinds]
    assert len(texts) == 2 * 3 * count
    assert len(storage.get_logs_for_all_runs_by_log_id()) == 2 * count
    storage.dispose()


def test_a_second_process_sees_each_event_before_the_next_is_stored(tmp_path: Path) -> None:
    with open_instance(tmp_path) as instance:
        storage = instance.event_log_storage
        storage.store_event(event(RUN, "PIPELINE_START", "start"))
        with process(watch, tmp_path, RUN) as (_, pipe):
            assert receive(pipe) == "watching"
            assert receive(pipe) == "start"
            for number in range(10):
                for entry in (
                    event(RUN, "STEP_START", f"start {number}"),
                    log(RUN, f"log {number}"),
                    event(RUN, "STEP_SUCCESS", f"end {number}"),
                ):
                    storage.store_event(entry)
                    assert receive(pipe) == entry.user_message


def test_forks_while_threads_write_lose_double_and_block_nothing(tmp_path: Path) -> None:
    forks = 6
    with process(fork_while_writing, tmp_path, RUN, forks) as (_, pipe):
        codes, counts = receive(pipe)
    assert codes == [0] * forks
    storage = open_storage(tmp_path)
    texts = messages(storage, RUN)
    storage.dispose()
    for writer, count in enumerate(counts):
        mine = [text for text in texts if text.startswith(f"thread {writer} ")]
        assert mine == [f"thread {writer} {number}" for number in range(count)]
    for number in range(forks):
        assert texts.count(f"held at fork {number}") == 1
        mine = [text for text in texts if text.startswith(f"child {number} ")]
        assert mine == [f"child {number} {what}" for what in ("log", "end", "status", "last")]
    for file in (tmp_path / SHARDS).glob("*.db"):
        connection = sqlite3.connect(file)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], file
        connection.close()


def test_dagsters_class_reads_and_goes_on_with_what_ours_wrote(tmp_path: Path) -> None:
    for kind, text in (("stock", "one"), ("ours", "two"), ("stock", "three"), ("ours", "four")):
        with open_instance(tmp_path, kind) as instance:
            instance.event_log_storage.store_event(event(RUN, "PIPELINE_START", text))
            instance.event_log_storage.store_event(log(RUN, f"log {text}"))
            texts = messages(instance.event_log_storage, RUN)
            assert texts[-2:] == [text, f"log {text}"]
    assert len(texts) == 8


def test_a_failed_commit_is_logged_kept_and_raised_at_the_next_use(
    storage: FastSqliteEventLogStorage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage.store_event(event(RUN, "STEP_SUCCESS", "gone with its file"))
    shutil.rmtree(tmp_path / SHARDS)
    with caplog.at_level(logging.ERROR):
        storage.store_event(log(RUN, "kept"))
        _wait_for(lambda: any("Could not commit" in text for text in caplog.messages))
    with pytest.raises(OperationalError, match="unable to open"):
        storage.store_event(log(RUN, "refused"))
    with pytest.raises(OperationalError, match="unable to open"):
        storage.get_logs_for_run(RUN)
    (tmp_path / SHARDS).mkdir()
    assert messages(storage, RUN) == ["kept"]


def test_ctrl_c_right_after_a_commit_stores_nothing_twice(
    storage: FastSqliteEventLogStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.store_event(event(RUN, "STEP_SUCCESS", "first"))
    storage.store_event(log(RUN, "held"))
    commit = Connection.commit

    def commit_and_strike(connection: Connection) -> None:
        commit(connection)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "commit", commit_and_strike)
        with pytest.raises(KeyboardInterrupt):
            storage.store_event(event(RUN, "STEP_SUCCESS", "end"))
    assert messages(storage, RUN) == ["first", "held", "end"]


def test_an_event_that_storing_events_gives_rise_to_is_stored_too(
    storage: FastSqliteEventLogStorage,
) -> None:
    """As when SQLAlchemy's log goes to the run log."""
    to_come = ["told while writing"]

    def tell(*_: object) -> None:
        if to_come:
            storage.store_event(log(RUN, to_come.pop()))

    storage.store_event(event(RUN, "STEP_SUCCESS", "first"))
    sqlalchemy.event.listen(sqlalchemy.Engine, "after_cursor_execute", tell)
    try:
        storage.store_event(event(RUN, "STEP_SUCCESS", "second"))
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "after_cursor_execute", tell)
    assert messages(storage, RUN) == ["first", "second", "told while writing"]


def test_using_a_shard_within_its_own_transaction_is_refused(
    storage: FastSqliteEventLogStorage,
) -> None:
    with storage.index_connection(), pytest.raises(RuntimeError, match="'index'"):
        storage.get_maximum_record_id()


def test_a_result_that_is_not_read_to_its_end_hides_nothing_later(
    storage: FastSqliteEventLogStorage, tmp_path: Path
) -> None:
    for number in range(3):
        storage.store_event(event(RUN, "STEP_SUCCESS", str(number)))
    with storage.run_connection(RUN) as connection:
        unread = connection.exec_driver_sql("SELECT id FROM event_logs")
        assert unread.fetchone() is not None
    second = open_storage(tmp_path)
    second.store_event(event(RUN, "STEP_SUCCESS", "of another connection"))
    assert messages(storage, RUN)[-1] == "of another connection"
    storage.store_event(event(RUN, "STEP_SUCCESS", "last"))
    second.dispose()
    assert unread is not None


def test_the_end_of_a_run_its_deletion_and_disposal_close_its_files(
    storage: FastSqliteEventLogStorage, tmp_path: Path
) -> None:
    def is_open() -> bool:
        return any(RUN in path for path in open_files(tmp_path))

    storage.store_event(event(RUN, "STEP_SUCCESS"))
    assert is_open()
    storage.store_event(event(RUN, "PIPELINE_SUCCESS"))
    assert not is_open()
    storage.get_logs_for_run(RUN)
    assert is_open()
    storage.delete_events(RUN)
    assert not is_open()
    storage.store_event(event(RUN, "STEP_SUCCESS"))
    storage.wipe()
    assert not is_open()
    storage.store_event(event(RUN, "STEP_SUCCESS"))
    storage.dispose()
    assert open_files(tmp_path) == []


def test_many_runs_keep_few_files_open(storage: FastSqliteEventLogStorage, tmp_path: Path) -> None:
    for number in range(200):
        storage.store_event(event(f"run-{number}", "STEP_SUCCESS"))
        storage.store_event(log(f"run-{number}", "held"))
    _wait_for(lambda: _count(tmp_path, "run-199") == 2)
    # A file, its WAL and its shared memory for each; nothing is added by reading the others.
    for number in range(100):
        assert len(messages(storage, f"run-{number}")) == 2
    assert len(open_files(tmp_path)) <= 3 * MAX_OPEN


def test_a_run_whose_file_was_deleted_gets_a_new_one(
    storage: FastSqliteEventLogStorage, tmp_path: Path
) -> None:
    storage.store_event(event(RUN, "STEP_SUCCESS", "gone"))
    for file in (tmp_path / SHARDS).glob(f"{RUN}*"):
        file.unlink()
    storage.store_event(event(RUN, "STEP_SUCCESS", "anew"))
    assert _count(tmp_path) == 1
    assert messages(storage, RUN) == ["anew"]


def test_a_template_of_another_version_is_not_used_and_goes(tmp_path: Path) -> None:
    templates = tmp_path / SHARDS / TEMPLATES
    templates.mkdir(parents=True)
    (templates / "0.1-old.sqlite").write_text("an old schema")
    storage = open_storage(tmp_path)
    for run in ("one", "two"):
        storage.store_event(event(run, "STEP_SUCCESS", run))
        assert messages(storage, run) == [run]
    storage.dispose()
    assert [file.suffix for file in templates.iterdir()] == [".sqlite"]
    assert "0.1-old.sqlite" not in os.listdir(templates)


def test_where_no_template_can_be_kept_dagster_makes_the_tables(tmp_path: Path) -> None:
    shards = tmp_path / SHARDS
    shards.mkdir(parents=True)
    (shards / TEMPLATES).write_text("in the way")
    storage = open_storage(tmp_path)
    storage.store_event(event(RUN, "STEP_SUCCESS", "all the same"))
    assert messages(storage, RUN) == ["all the same"]
    storage.dispose()


def test_without_a_path_it_takes_the_folder_of_dagsters_default(tmp_path: Path) -> None:
    with open_instance(tmp_path) as instance:
        assert isinstance(instance.event_log_storage, FastSqliteEventLogStorage)
        instance.event_log_storage.store_event(event(RUN, "PIPELINE_START"))
        with DagsterInstance.from_ref(instance.get_ref()) as again:
            assert len(messages(again.event_log_storage, RUN)) == 1
    with open_instance(tmp_path, "stock") as stock:
        assert len(messages(stock.event_log_storage, RUN)) == 1


def test_a_folder_can_be_named(tmp_path: Path) -> None:
    storage = {
        "module": "rayflow_dagster.instance.event_log",
        "class": "FastSqliteEventLogStorage",
        "config": {"base_dir": str(tmp_path / "elsewhere")},
    }
    (tmp_path / "home").mkdir()
    overrides = {"telemetry": {"enabled": False}, "event_log_storage": storage}
    with DagsterInstance.local_temp(str(tmp_path / "home"), overrides=overrides) as instance:
        instance.event_log_storage.store_event(event(RUN, "PIPELINE_START"))
    assert (tmp_path / "elsewhere" / f"{RUN}.db").exists()


def test_the_settings_of_this_project_name_it(tmp_path: Path) -> None:
    settings = Path(__file__).parents[2] / "dagster.yaml"
    shutil.copy(settings, tmp_path)
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.event_log_storage, FastSqliteEventLogStorage)
    assert (tmp_path / SHARDS / "index.db").exists()
