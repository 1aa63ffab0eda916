"""Databases that are locked or away in the middle of a run."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance
from event_logs import event, messages, open_instance
from postgres import Server, postgres_server

from rayflow_dagster.defs._dagster import databases, wait_for_databases
from rayflow_dagster.errors import StorageError
from rayflow_dagster.timing import PATIENCE_SECONDS

RUN = "11111111-1111-1111-1111-111111111111"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def instance(server: Server, tmp_path: Path) -> Iterator[DagsterInstance]:
    settings = {
        "telemetry": {"enabled": False},
        "storage": {"postgres": {"postgres_url": server.url}},
    }
    (tmp_path / "dagster.yaml").write_text(json.dumps(settings))
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        wait_for_databases(instance)
        wait_for_databases(instance)  # as a run at the terminal and its executor both do
        yield instance


def _wait_for_text(caplog: pytest.LogCaptureFixture, text: str) -> None:
    deadline = time.monotonic() + 60
    while not any(text in message for message in caplog.messages):
        assert time.monotonic() < deadline, "it was never logged"
        time.sleep(0.01)


def test_what_is_stored_while_postgresql_is_away_is_stored_when_it_is_back(
    server: Server, instance: DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    storage = instance.event_log_storage
    storage.store_event(event(RUN, "STEP_START", "before"))
    server.stop("fast")
    try:
        end = event(RUN, "STEP_SUCCESS", "meanwhile")
        storing = threading.Thread(target=storage.store_event, args=(end,))
        storing.start()
        _wait_for_text(caplog, "is waited for")
        assert storing.is_alive()
    finally:
        server.start()
    storing.join()
    assert messages(storage, RUN) == ["before", "meanwhile"]
    assert sum("is waited for" in text for text in caplog.messages) == 1


def test_postgresql_that_stays_away_is_one_error_that_says_what_to_do(
    server: Server, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "PATIENCE_SECONDS", 0.0)
    server.stop("fast")
    try:
        with pytest.raises(StorageError, match=r"could not be reached.* Start it again, or mend"):
            instance.get_runs()
    finally:
        server.start()
    assert instance.get_runs() == []


def test_sqlite_waits_for_a_lock_as_long_as_for_a_server(tmp_path: Path) -> None:
    with open_instance(tmp_path) as instance:
        wait_for_databases(instance)
        wait_for_databases(instance)
        runs: Any = instance.run_storage
        events: Any = instance.event_log_storage
        for opened in (runs.connect, events.index_connection):
            with opened() as connection:
                asked = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
            assert asked == PATIENCE_SECONDS * 1000
