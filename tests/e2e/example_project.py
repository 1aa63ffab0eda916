"""The example flows as a project, and what their runs gave."""

import shutil
import time
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from rayflow_dagster.defs.results import run_result

PROJECT = Path(__file__).parents[2]
SECONDS = 180.0


def example_project(folder: Path, orders: str) -> Path:
    """The example flows and their nodes, with these orders and an empty inbox."""
    for name in ("flows", "nodes"):
        shutil.copytree(PROJECT / name, folder / name)
    for name in ("definitions.py", "workspace.yaml"):
        shutil.copy(PROJECT / name, folder)
    (folder / "data").mkdir()
    (folder / "inbox").mkdir()
    (folder / "data" / "orders.csv").write_text(orders)
    return folder


def results(instance: DagsterInstance, job: str, number: int) -> list[dict[str, Any]]:
    """The results of a job's runs, the oldest first, once so many have succeeded."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        runs = runs_of(instance, job)
        bad = [run.status for run in runs if run.status == DagsterRunStatus.FAILURE]
        assert not bad, job
        if len(runs) >= number and all(run.is_success for run in runs):
            return [dict(run_result(instance, run)) for run in reversed(runs)]  # type: ignore[call-overload]
        time.sleep(0.3)
    raise AssertionError(f"{job}: {[run.status for run in runs_of(instance, job)]}")


def runs_of(instance: DagsterInstance, job: str) -> list[DagsterRun]:
    """A job's runs, the newest first."""
    return [run for run in instance.get_runs() if run.job_name == job]
