"""What becomes of runs and of the fork server when one of the processes dies."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.launcher import WorkerStatus
from forked_pythons import ForkedPythons
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
    run_ids = [launch(instance, Path(sys.argv[2]), op) for op in sys.argv[3:]]
    print(instance.run_launcher.server_pid, *run_ids, flush=True)
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
    """Another process that launches runs of these ops, and then does ``then``."""

    def __init__(
        self, pythons: ForkedPythons, home: Path, location: Path, then: str, *ops: str
    ) -> None:
        search = os.pathsep.join([str(TESTS), os.environ["PYTHONPATH"]])
        self.process = pythons.start(
            ["-c", LAUNCH_AND.format(then=then), str(home), str(location), *ops],
            variables={**os.environ, "PYTHONPATH": search},
        )
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        server, *self.run_ids = line.split()
        self.server = int(server)

    def kill(self) -> None:
        """End it, if it has not ended, and what it has started."""
        self.process.kill()
        with self.process:  # not until what it has started prints no more
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
    pythons: ForkedPythons, home: Path, instance: DagsterInstance, location: Path
) -> None:
    launching = Launching(pythons, home, location, "time.sleep(1000)", "wait", "wait_deaf")
    run_id, deaf = launching.run_ids
    wait_until((location / "reached-open").exists)
    wait_until((location / "reached-deaf").exists)
    worker = worker_of(instance, run_id)
    launching.kill()
    wait_until(lambda: is_gone(worker))
    assert end_of(instance, run_id) == DagsterRunStatus.FAILURE
    assert "interrupted" in messages(instance, run_id)
    assert end_of(instance, deaf) == DagsterRunStatus.FAILURE
    assert "SIGKILL" in messages(instance, deaf)


def test_a_parent_that_ends_in_good_order_lets_its_runs_finish(
    pythons: ForkedPythons, home: Path, instance: DagsterInstance, location: Path
) -> None:
    launching = Launching(pythons, home, location, "pass", "wait")
    (run_id,) = launching.run_ids
    assert launching.process.wait() == 0
    wait_until((location / "reached-open").exists)
    assert status(instance, run_id) == DagsterRunStatus.STARTED
    assert not is_gone(launching.server)
    (location / "open").touch()
    assert end_of(instance, run_id) == DagsterRunStatus.SUCCESS
    launching.kill()


def test_after_the_fork_server_was_killed_its_runs_have_failed_and_the_next_starts_another(
    instance: DagsterInstance, location: Path
) -> None:
    first = launch(instance, location, "speak")
    assert end_of(instance, first) == DagsterRunStatus.SUCCESS
    waiting = launch(instance, location, "wait")
    wait_until((location / "reached-open").exists)
    worker, server = worker_of(instance, waiting), launcher_of(instance).server_pid
    assert server is not None
    os.kill(server, signal.SIGKILL)
    assert end_of(instance, waiting) == DagsterRunStatus.FAILURE
    assert "interrupted" in messages(instance, waiting)
    wait_until(lambda: is_gone(worker))
    wait_until(lambda: is_gone(server))
    second = launch(instance, location, "speak")
    assert end_of(instance, second) == DagsterRunStatus.SUCCESS
    assert launcher_of(instance).server_pid not in (None, server)
    assert "Dagster's own way" not in messages(instance, second)


def test_runs_that_nothing_watched_can_be_terminated_and_have_failed_at_the_next_start(
    pythons: ForkedPythons, home: Path, instance: DagsterInstance, location: Path
) -> None:
    launching = Launching(pythons, home, location, "time.sleep(1000)", "wait", "wait")
    for run_id in launching.run_ids:
        wait_until(lambda run_id=run_id: instance.get_run_step_stats(run_id))
        kill_unseen(worker_of(instance, run_id))
    launching.kill()
    for run_id in launching.run_ids:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status == DagsterRunStatus.STARTED
        assert launcher_of(instance).check_run_worker_health(run).status == WorkerStatus.FAILED

    terminated, left = launching.run_ids
    assert launcher_of(instance).terminate(terminated)
    assert status(instance, terminated) == DagsterRunStatus.CANCELED
    assert end_of(instance, launch(instance, location, "speak")) == DagsterRunStatus.SUCCESS
    assert end_of(instance, left) == DagsterRunStatus.FAILURE
