"""What becomes of runs and of the fork server when one of the processes dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterEvent, DagsterInstance, DagsterRunStatus
from dagster._core.launcher import WorkerStatus
from forked_pythons import ForkedPythons
from instance.launching import (
    create,
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

from rayflow_dagster.instance import executing
from rayflow_dagster.instance.executing import record_dead
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

LAUNCH = """
from dagster import DagsterInstance
with DagsterInstance.from_config({home!r}) as instance:
    instance.launch_run({run_id!r}, None)
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

    def end(self) -> None:
        """Wait for its end. Its fork server ends when the last run has."""
        with self.process:
            self.process.wait()

    def kill(self) -> None:
        """End it, as the kernel does where memory is short."""
        self.process.kill()
        self.end()


def kill_unseen(worker: int) -> None:
    """Kill the process of a run and the one that looks after it, as when the machine goes down."""
    keeper = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: is_gone(worker))


def launcher_of(instance: DagsterInstance) -> WarmRunLauncher:
    launcher = instance.run_launcher
    assert isinstance(launcher, WarmRunLauncher)
    return launcher


@pytest.mark.parametrize("then", ["pass", "time.sleep(1000)"])
def test_the_runs_of_a_process_that_ends_or_is_killed_go_on_to_their_end(
    pythons: ForkedPythons, home: Path, instance: DagsterInstance, location: Path, then: str
) -> None:
    launching = Launching(pythons, home, location, then, "wait")
    (run_id,) = launching.run_ids
    wait_until((location / "reached-open").exists)
    if then == "pass":
        launching.end()
    else:
        launching.kill()
    assert status(instance, run_id) == DagsterRunStatus.STARTED
    assert not is_gone(launching.server)
    (location / "open").touch()
    assert end_of(instance, run_id) == DagsterRunStatus.SUCCESS
    wait_until(lambda: is_gone(launching.server))


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
    launching = Launching(pythons, home, location, "time.sleep(1000)", *["wait"] * 3)
    for run_id in launching.run_ids:
        wait_until(lambda run_id=run_id: instance.get_run_step_stats(run_id))
        kill_unseen(worker_of(instance, run_id))
    launching.kill()
    terminated, asked_after, left = launching.run_ids
    for run_id in launching.run_ids:
        assert status(instance, run_id) == DagsterRunStatus.STARTED
    assert launcher_of(instance).terminate(terminated)
    assert status(instance, terminated) == DagsterRunStatus.CANCELED
    run = instance.get_run_by_id(asked_after)
    assert run is not None
    assert launcher_of(instance).check_run_worker_health(run).status == WorkerStatus.FAILED
    assert status(instance, asked_after) == DagsterRunStatus.FAILURE
    assert end_of(instance, launch(instance, location, "speak")) == DagsterRunStatus.SUCCESS
    assert end_of(instance, left) == DagsterRunStatus.FAILURE


@pytest.mark.parametrize(
    ("point", "end"),
    [("launch_begun", DagsterRunStatus.FAILURE), ("launch_ordered", DagsterRunStatus.SUCCESS)],
)
def test_a_launch_that_dies_on_the_way_leaves_no_run_that_starts_for_ever(
    instance: DagsterInstance, location: Path, point: str, end: DagsterRunStatus
) -> None:
    run_id = create(instance, location, "speak")
    script = LAUNCH.format(home=instance.root_directory, run_id=run_id)
    crash = {"RAYFLOW_CRASH_AT": point, "RAYFLOW_CRASH_NOTES": str(location)}
    died = subprocess.run([sys.executable, "-c", script], check=False, env={**os.environ, **crash})
    assert died.returncode == -signal.SIGKILL
    record_dead(instance)
    assert end_of(instance, run_id) == end
    if end == DagsterRunStatus.FAILURE:
        assert "before the run had a process of its own" in messages(instance, run_id)


def test_a_run_that_nobody_launches_any_more_has_failed(
    instance: DagsterInstance, location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its launch was cut off between two lines of Dagster's own."""
    run_id = create(instance, location, "speak")
    starting = DagsterEvent("PIPELINE_STARTING", "job_speak")
    instance.report_dagster_event(starting, run_id)
    record_dead(instance)
    assert status(instance, run_id) == DagsterRunStatus.STARTING
    monkeypatch.setattr(executing, "START_SECONDS", 0)
    record_dead(instance)
    assert status(instance, run_id) == DagsterRunStatus.FAILURE
    assert "before the run had a process of its own" in messages(instance, run_id)
