"""What becomes of runs and of the fork server when one of the processes dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.launcher import WorkerStatus
from instance.launching import (
    end_of,
    is_gone,
    launch,
    make_home,
    messages,
    open_instance,
    status,
    wait_until,
    worker_of,
    write_location,
)

from rayflow_dagster.instance.launcher import WarmRunLauncher

TESTS = Path(__file__).parents[1]

LAUNCH_AND = """
import sys, time
from pathlib import Path
from dagster import DagsterInstance
from instance.launching import launch
with DagsterInstance.from_config(sys.argv[1]) as instance:
    run_id = launch(instance, Path(sys.argv[2]), sys.argv[3])
    print(run_id, instance.run_launcher.server_pid, flush=True)
    {then}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path / "home")


@pytest.fixture
def instance(home: Path) -> Iterator[DagsterInstance]:
    with open_instance(home) as instance:
        yield instance


@pytest.fixture
def location(tmp_path: Path) -> Path:
    return write_location(tmp_path / "location")


class Launching:
    """Another process that launches a run which waits, and then does ``then``."""

    def __init__(self, home: Path, location: Path, then: str, op: str = "wait") -> None:
        code = LAUNCH_AND.format(then=then)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, str(home), str(location), op],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            text=True,
        )
        assert self.process.stdout is not None
        self.run_id, server = self.process.stdout.readline().split()
        self.server = int(server)

    def kill(self) -> None:
        """End it, if it has not ended, and what it has started."""
        self.process.kill()
        with self.process:
            self.process.wait()
        wait_until(lambda: is_gone(self.server))


def kill_unseen(worker: int) -> None:
    """Kill the process of a run and the one that looks after it, as when the machine goes down."""
    keeper = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: is_gone(worker))


def launcher_of(instance: DagsterInstance) -> WarmRunLauncher:
    launcher = instance.run_launcher
    assert isinstance(launcher, WarmRunLauncher)
    return launcher


def test_the_fork_server_and_its_runs_end_with_a_parent_that_is_killed(
    home: Path, instance: DagsterInstance, location: Path
) -> None:
    launching = Launching(home, location, "time.sleep(1000)")
    wait_until((location / "reached-open").exists)
    worker = worker_of(instance, launching.run_id)
    launching.kill()
    wait_until(lambda: is_gone(worker))
    assert end_of(instance, launching.run_id) == DagsterRunStatus.FAILURE
    assert "interrupted" in messages(instance, launching.run_id)


def test_a_run_that_does_not_stop_with_its_parent_is_killed_and_has_failed(
    home: Path, instance: DagsterInstance, location: Path
) -> None:
    launching = Launching(home, location, "time.sleep(1000)", "wait_deaf")
    wait_until((location / "reached-open").exists)
    launching.kill()
    assert end_of(instance, launching.run_id) == DagsterRunStatus.FAILURE
    assert "SIGKILL" in messages(instance, launching.run_id)


def test_a_parent_that_ends_in_good_order_lets_its_runs_finish(
    home: Path, instance: DagsterInstance, location: Path
) -> None:
    launching = Launching(home, location, "pass")
    assert launching.process.wait(60) == 0
    wait_until((location / "reached-open").exists)
    assert status(instance, launching.run_id) == DagsterRunStatus.STARTED
    assert not is_gone(launching.server)
    (location / "open").touch()
    assert end_of(instance, launching.run_id) == DagsterRunStatus.SUCCESS
    launching.kill()


def test_after_the_fork_server_was_killed_the_next_launch_starts_another(
    instance: DagsterInstance, location: Path
) -> None:
    first = launch(instance, location, "speak")
    assert end_of(instance, first) == DagsterRunStatus.SUCCESS
    server = launcher_of(instance).server_pid
    assert server is not None
    os.kill(server, signal.SIGKILL)
    wait_until(lambda: is_gone(server))
    second = launch(instance, location, "speak")
    assert end_of(instance, second) == DagsterRunStatus.SUCCESS
    assert launcher_of(instance).server_pid not in (None, server)
    assert "Dagster's own way" not in messages(instance, second)


def test_runs_of_a_fork_server_that_was_killed_are_recorded_as_failed(
    instance: DagsterInstance, location: Path
) -> None:
    run_id = launch(instance, location, "wait")
    wait_until((location / "reached-open").exists)
    worker, server = worker_of(instance, run_id), launcher_of(instance).server_pid
    assert server is not None
    os.kill(server, signal.SIGKILL)
    assert end_of(instance, run_id) == DagsterRunStatus.FAILURE
    assert "interrupted" in messages(instance, run_id)
    wait_until(lambda: is_gone(worker))


def test_a_run_that_nothing_watched_is_recorded_as_failed_at_the_next_start(
    home: Path, instance: DagsterInstance, location: Path
) -> None:
    launching = Launching(home, location, "time.sleep(1000)")
    wait_until((location / "reached-open").exists)
    kill_unseen(worker_of(instance, launching.run_id))
    launching.kill()
    run = instance.get_run_by_id(launching.run_id)
    assert run is not None
    assert run.status == DagsterRunStatus.STARTED
    assert launcher_of(instance).check_run_worker_health(run).status == WorkerStatus.FAILED

    assert end_of(instance, launch(instance, location, "speak")) == DagsterRunStatus.SUCCESS
    assert end_of(instance, launching.run_id) == DagsterRunStatus.FAILURE


def test_terminate_ends_a_run_that_nothing_watched(
    home: Path, instance: DagsterInstance, location: Path
) -> None:
    launching = Launching(home, location, "time.sleep(1000)")
    wait_until((location / "reached-open").exists)
    kill_unseen(worker_of(instance, launching.run_id))
    launching.kill()
    assert launcher_of(instance).terminate(launching.run_id)
    assert status(instance, launching.run_id) == DagsterRunStatus.CANCELED
