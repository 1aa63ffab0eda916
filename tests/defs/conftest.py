"""A real Dagster instance on disk, for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
)


@pytest.fixture(autouse=True)
def loading_anew() -> Iterator[None]:
    """Dagster keeps what it loaded a code location from; each test begins anew."""
    with DefinitionsLoadContext.scoped(DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION)):
        yield


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
