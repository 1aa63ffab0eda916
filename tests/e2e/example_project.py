"""The example flows as a project, and what their runs gave."""

import os
import shutil
import time
from collections.abc import Callable
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


def put(file: Path, text: str) -> Path:
    """A file that has not changed for a minute."""
    file.write_text(text)
    os.utime(file, (time.time() - 60,) * 2)
    return file


def ticks_of(instance: DagsterInstance) -> list[list[Any]]:
    """The ticks of each trigger."""
    return [
        list(instance.get_ticks(state.instigator_origin_id, state.selector_id))
        for state in instance.all_instigator_state()
    ]


def wait_until(true: Callable[[], object], home: Path, seconds: float = SECONDS) -> None:
    """Until it is so. If it never is, the error shows the end of the daemon's log."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, (home / "daemon.log").read_text()[-6000:]
        time.sleep(0.3)


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
