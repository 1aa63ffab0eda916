"""A real Dagster instance on disk, for each test, with the event log of the project."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance
from event_logs import open_instance


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an instance without runs. Copying it takes a tenth of making another."""
    folder = tmp_path_factory.mktemp("home")
    with open_instance(folder) as instance:
        instance.get_runs()
        assert instance.schedule_storage is not None
    return folder


@pytest.fixture
def instance(tmp_path: Path, empty_home: Path) -> Iterator[DagsterInstance]:
    shutil.copytree(empty_home, tmp_path, dirs_exist_ok=True)
    with open_instance(tmp_path) as instance:
        yield instance


@pytest.fixture
def memory() -> Iterator[DagsterInstance]:
    """A real instance that keeps everything in memory."""
    with DagsterInstance.ephemeral() as instance:
        yield instance
