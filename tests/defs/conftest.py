"""A real Dagster instance on disk, for each test, with the event log of the project."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

SETTINGS = {
    "telemetry": {"enabled": False},
    "event_log_storage": {
        "module": "rayflow_dagster.instance.event_log",
        "class": "FastSqliteEventLogStorage",
    },
}


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an instance without runs. Copying it takes a tenth of making another."""
    folder = tmp_path_factory.mktemp("home")
    with DagsterInstance.local_temp(str(folder), overrides=SETTINGS) as instance:
        instance.get_runs()
        assert instance.schedule_storage is not None
    return folder


@pytest.fixture
def instance(tmp_path: Path, empty_home: Path) -> Iterator[DagsterInstance]:
    shutil.copytree(empty_home, tmp_path, dirs_exist_ok=True)
    with DagsterInstance.local_temp(str(tmp_path), overrides=SETTINGS) as instance:
        yield instance


@pytest.fixture
def memory() -> Iterator[DagsterInstance]:
    """A real instance that keeps everything in memory."""
    with DagsterInstance.ephemeral() as instance:
        yield instance
