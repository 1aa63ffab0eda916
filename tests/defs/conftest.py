"""A real Dagster instance on disk, for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    quiet = {"telemetry": {"enabled": False}}
    with DagsterInstance.local_temp(str(tmp_path), overrides=quiet) as instance:
        yield instance


@pytest.fixture
def memory() -> Iterator[DagsterInstance]:
    """A real instance that keeps everything in memory: making one on disk takes a second."""
    with DagsterInstance.ephemeral() as instance:
        yield instance
