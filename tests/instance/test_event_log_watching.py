"""Watchers of runs, as the webserver's live log is one."""

import logging
import queue
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterRunStatus, EventLogEntry
from event_log_processes import PATIENCE
from event_logs import SHARDS, event, log, open_storage

from rayflow_dagster.instance.event_log import FastSqliteEventLogStorage

RUN = "11111111-1111-1111-1111-111111111111"
OTHER = "22222222-2222-2222-2222-222222222222"


class Viewer:
    """Keeps what it is told, and says what it is to say."""

    def __init__(self, says: object = None) -> None:
        self.told: queue.Queue[str] = queue.Queue()
        self._says = says

    def __call__(self, entry: EventLogEntry, _cursor: str) -> object:
        self.told.put(entry.user_message)
        if isinstance(self._says, Exception):
            raise self._says
        return self._says

    def next(self) -> str:
        return self.told.get(timeout=PATIENCE)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[FastSqliteEventLogStorage]:
    storage = open_storage(tmp_path)
    yield storage
    storage.dispose()


def test_a_viewer_that_has_seen_the_end_is_told_no_more(
    storage: FastSqliteEventLogStorage,
) -> None:
    ended, going_on = Viewer(DagsterRunStatus.SUCCESS), Viewer()
    storage.watch(RUN, None, ended)
    storage.watch(RUN, None, going_on)
    for text in ("one", "two"):
        storage.store_event(event(RUN, "STEP_SUCCESS", text))
        # Told after the other, which came first.
        assert going_on.next() == text
    assert ended.next() == "one"
    assert ended.told.empty()


def test_a_viewer_that_raises_is_told_the_rest(
    storage: FastSqliteEventLogStorage, caplog: pytest.LogCaptureFixture
) -> None:
    viewer = Viewer(ValueError("of the viewer"))
    with caplog.at_level(logging.WARNING):
        storage.watch(RUN, None, viewer)
        for text in ("one", "two"):
            storage.store_event(log(RUN, text))
            assert viewer.next() == text
    assert any("telling a watcher" in text for text in caplog.messages)


def test_watching_goes_on_after_disposal_when_asked_again(
    storage: FastSqliteEventLogStorage,
) -> None:
    before, after = Viewer(), Viewer()
    storage.watch(RUN, None, before)
    storage.store_event(event(RUN, "STEP_SUCCESS", "one"))
    assert before.next() == "one"
    storage.dispose()
    storage.watch(RUN, None, after)
    storage.store_event(event(RUN, "STEP_SUCCESS", "two"))
    assert [after.next(), after.next()] == ["one", "two"]
    assert before.told.empty()


def test_a_watched_run_that_is_deleted_stays_deleted(
    storage: FastSqliteEventLogStorage, tmp_path: Path
) -> None:
    gone, other = Viewer(), Viewer()
    storage.store_event(event(RUN, "STEP_SUCCESS", "one"))
    storage.watch(RUN, None, gone)
    assert gone.next() == "one"
    storage.wipe()
    storage.watch(OTHER, None, other)
    for text in ("two", "three"):
        storage.store_event(event(OTHER, "STEP_SUCCESS", text))
        # The deleted run was asked about before.
        assert other.next() == text
    assert not (tmp_path / SHARDS / f"{RUN}.db").exists()


def test_a_run_that_cannot_be_read_is_reported_once_and_disturbs_no_other(
    storage: FastSqliteEventLogStorage, caplog: pytest.LogCaptureFixture
) -> None:
    broken, other = Viewer(), Viewer()
    storage.store_event(event(RUN, "STEP_SUCCESS"))
    with storage.run_connection(RUN) as connection:
        connection.exec_driver_sql("UPDATE event_logs SET event = '{bar}'")
    with caplog.at_level(logging.WARNING):
        storage.watch(RUN, None, broken)
        storage.watch(OTHER, None, other)
        for text in ("one", "two", "three"):
            storage.store_event(event(OTHER, "STEP_SUCCESS", text))
            assert other.next() == text
    assert sum("reading new events" in text for text in caplog.messages) == 1
