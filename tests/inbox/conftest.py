"""A project with flows that take requests, and a server for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from inbox.inbox_flows import INBOX, Caller, Served, flow_of, serving, write_flow
from rayflow_dagster.inbox.store import RequestStore


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[DagsterInstance]:
    """A real instance that keeps its runs in memory."""
    with DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    """The folder of flows: ``order`` takes requests, ``plain`` does not."""
    folder = tmp_path / "project" / "flows"
    folder.mkdir(parents=True)
    inputs = {
        "customer": {"type": "str", "description": "Who buys."},
        "amounts": {"type": "list[float]", "default": [1.5]},
        "express": {"type": "bool | None", "default": None},
    }
    write_flow(folder, "order", flow_of(inputs, INBOX, description="Takes an order."))
    write_flow(folder, "plain", flow_of({}))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RequestStore]:
    with RequestStore(tmp_path / "inbox") as opened:
        yield opened


@pytest.fixture
def served(flows: Path, memory: DagsterInstance) -> Iterator[Served]:
    with serving(flows, memory) as opened:
        yield opened


@pytest.fixture
def caller(served: Served) -> Caller:
    return served.caller


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return folder
