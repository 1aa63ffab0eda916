"""Runs whose disk is full or cannot be written to, and databases that stay locked."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli_flows import write_flow
from dagster import DagsterInstance, DagsterRunStatus
from disks import fill, mounted, small_disk
from drawing import draw, node

from rayflow_dagster.cli.flows import open_flow
from rayflow_dagster.cli.group import Refused
from rayflow_dagster.cli.home import use_home
from rayflow_dagster.cli.progress import NoProgress
from rayflow_dagster.cli.recorded import RecordedRunner
from rayflow_dagster.cli.report import RunReport
from rayflow_dagster.defs._dagster import databases
from rayflow_dagster.testing import in_process

NODES = """
import sqlite3
from disks import fill
from pathlib import Path
from rayflow_dagster import RayflowNode

held = []

class FillNode(RayflowNode):
    outputs = {"value": int}
    DISK = ""

    def process(self):
        fill(Path(self.DISK))
        return {"value": 1}

class LockNode(RayflowNode):
    outputs = {"value": int}
    FILE = ""

    def process(self):
        connection = sqlite3.connect(self.FILE, isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
        held.append(connection)
        return {"value": 1}

class LargeNode(RayflowNode):
    outputs = {"value": bytes}

    def process(self):
        return {"value": bytes(100_000)}
"""
OURS = Path(__file__).parents[2] / "dagster.yaml"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def run(project: Path) -> Callable[..., RunReport]:
    """``run("FillNode", DISK=...)`` runs a flow of that node as a recorded run."""
    (project / "pyproject.toml").write_text(
        '[tool.rayflow_dagster]\nnodes = ["nodes"]\nstorages = ["/"]\n'
    )
    (project / "nodes").mkdir()
    (project / "nodes" / "__init__.py").touch()
    (project / "nodes" / "disks_.py").write_text(NODES)
    (project / "dagster.yaml").write_text(OURS.read_text())

    def run(kind: str, settings: dict[str, Any] | None = None, **constants: str) -> RunReport:
        flow = draw(
            {
                "start": "start",
                "it": node(f"nodes.disks_.{kind}", values=constants),
                "return": "return",
            },
            "start > it, it > return, it.value - return.value",
            settings=settings or {},
        )
        write_flow(project / "flows" / "it.json", flow)
        return RecordedRunner(open_flow("it"), connect=in_process).run({}, NoProgress())

    return run


def test_a_disk_that_fills_up_in_a_run_is_one_error_and_the_next_run_records_it(
    run: Callable[..., RunReport], disk: Path
) -> None:
    os.environ["DAGSTER_HOME"] = str(disk / "home")
    (disk / "home").mkdir()
    (disk / "home" / "dagster.yaml").write_text(OURS.read_text())
    with pytest.raises(Refused, match=rf"{disk}/home: .*(full|I/O error)\. Free space on that"):
        run("FillNode", DISK=str(disk))
    (disk / "filling").unlink()
    assert run("LargeNode").success
    with DagsterInstance.get() as instance:
        statuses = [run.status for run in instance.get_runs()]
    assert statuses == [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE]


def test_a_full_disk_fails_the_step_whose_output_it_has_no_room_for(
    run: Callable[..., RunReport], disk: Path
) -> None:
    values = disk / "values"
    values.mkdir()
    report = run("FillNode", {"storage": str(values)}, DISK=str(disk))
    assert report.success  # what is small is in the event itself
    report = run("LargeNode", {"storage": str(values)})
    assert not report.success
    assert str(report.error).count("No space left on device") == 1
    assert str(values) in str(report.error)
    assert {node.id: node.status for node in report.nodes}["it"] == "failed"


def test_values_for_a_folder_that_cannot_be_written_to_fail_the_run_before_its_first_node(
    run: Callable[..., RunReport], tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    with mounted(tmp_path / "kept", "--bind", "-o", "ro", str(tmp_path / "source")) as kept:
        report = run("LargeNode", {"storage": str(kept / "values")})
    assert not report.success
    assert "Read-only file system" in str(report.error)
    assert {node.status for node in report.nodes} == {"pending"}


def test_a_home_on_a_full_or_read_only_disk_is_one_error(typed: Any, disk: Path) -> None:
    home = disk / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(OURS.read_text())
    fill(disk)
    os.environ["DAGSTER_HOME"] = str(home)
    full = typed("prune", "--older-than", "1d")
    (disk / "filling").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    refused = typed("prune", "--older-than", "1d")
    assert (full.exit_code, refused.exit_code) == (1, 1)
    assert "Free space on that disk" in full.stderr
    assert "Read-only file system" in refused.stderr


def test_a_database_that_stays_locked_is_one_error(
    run: Callable[..., RunReport], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "PATIENCE_SECONDS", 0.1)
    file = use_home(project) / "history" / "runs.db"
    with pytest.raises(Refused, match=r"database is locked\. End the process that holds"):
        run("LockNode", FILE=str(file))
    sys.modules["nodes.disks_"].held.pop().close()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT status FROM runs").fetchall() == [("STARTED",)]


def test_output_to_a_full_disk_is_one_error(project: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "rayflow_dagster", "validate", "flows", "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
