"""Runs in children of a fork server: how they end, and what of them can be seen."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, job
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.compute_log_manager import ComputeIOType
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

from rayflow_dagster.instance import launcher as module
from rayflow_dagster.instance.executing import record_lost, workers_of
from rayflow_dagster.instance.launcher import WarmRunLauncher
from rayflow_dagster.instance.workers import open_worker_file


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterInstance]:
    home = make_home(tmp_path_factory.mktemp("dagster") / "home")
    with open_instance(home) as instance:
        yield instance


@pytest.fixture
def location(tmp_path: Path) -> Path:
    return write_location(tmp_path / "location")


@job
def an_empty_job() -> None:
    pass


def launcher_of(instance: DagsterInstance) -> WarmRunLauncher:
    launcher = instance.run_launcher
    assert isinstance(launcher, WarmRunLauncher)
    return launcher


def test_a_run_succeeds_in_a_child_of_the_fork_server(
    instance: DagsterInstance, location: Path
) -> None:
    run_id = launch(instance, location, "speak")
    assert end_of(instance, run_id) == DagsterRunStatus.SUCCESS
    log = messages(instance, run_id)
    assert f"first; in {Path.cwd()}; process " in log
    assert f"process {os.getpid()}" not in log
    assert "Dagster's own way" not in log


def test_an_error_of_the_author_fails_the_run(instance: DagsterInstance, location: Path) -> None:
    run_id = launch(instance, location, "raise_error")
    assert end_of(instance, run_id) == DagsterRunStatus.FAILURE
    assert "job_raise_error" in messages(instance, run_id)


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        ("leave", "unexpectedly exited with code 3"),
        ("leave_politely", "unexpectedly exited with code 0"),
        ("kill_itself", "was terminated by signal 9 (SIGKILL)"),
    ],
)
def test_a_crash_fails_its_run_and_no_other(
    instance: DagsterInstance, location: Path, op: str, reason: str
) -> None:
    beside = launch(instance, location, "wait")
    server = launcher_of(instance).server_pid
    crashed = launch(instance, location, op)
    assert end_of(instance, crashed) == DagsterRunStatus.FAILURE
    assert reason in messages(instance, crashed)
    (location / "open").touch()
    assert end_of(instance, beside) == DagsterRunStatus.SUCCESS
    assert launcher_of(instance).server_pid == server


def test_two_runs_go_on_at_once(instance: DagsterInstance, location: Path) -> None:
    one = launch(instance, location, "meet", {"mine": "one", "other": "two"})
    two = launch(instance, location, "meet", {"mine": "two", "other": "one"})
    assert end_of(instance, one) == DagsterRunStatus.SUCCESS
    assert end_of(instance, two) == DagsterRunStatus.SUCCESS


def test_each_run_reads_the_code_of_the_author_fresh(
    instance: DagsterInstance, location: Path
) -> None:
    first = launch(instance, location, "speak")
    assert end_of(instance, first) == DagsterRunStatus.SUCCESS
    (location / "beside.py").write_text("WORD = 'changed afterwards'\n")
    second = launch(instance, location, "speak")
    assert end_of(instance, second) == DagsterRunStatus.SUCCESS
    assert "first" in messages(instance, first)
    assert "changed afterwards" in messages(instance, second)


def test_what_a_step_prints_is_captured(instance: DagsterInstance, location: Path) -> None:
    run_id = launch(instance, location, "speak")
    assert end_of(instance, run_id) == DagsterRunStatus.SUCCESS
    (event,) = instance.all_logs(run_id, of_type=DagsterEventType.LOGS_CAPTURED)
    assert event.dagster_event is not None
    key = [run_id, "compute_logs", event.dagster_event.logs_captured_data.file_key]
    for io_type in (ComputeIOType.STDOUT, ComputeIOType.STDERR):
        log, _ = instance.compute_log_manager.get_log_data_for_type(key, io_type, 0, None)
        assert log is not None
        assert f"said to {io_type.value}\n".encode() in log


def test_terminate_cancels_a_run(instance: DagsterInstance, location: Path) -> None:
    run_id = launch(instance, location, "wait")
    wait_until((location / "reached-open").exists)
    pid = worker_of(instance, run_id)
    assert launcher_of(instance).terminate(run_id)
    assert end_of(instance, run_id) == DagsterRunStatus.CANCELED
    wait_until(lambda: is_gone(pid))
    assert not launcher_of(instance).terminate(run_id)


@pytest.mark.parametrize("seconds", [0, 0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.3])
def test_a_run_that_only_starts_is_cancelled_by_terminate(
    instance: DagsterInstance, location: Path, seconds: float
) -> None:
    """Whatever moment of its start that is."""
    run_id = launch(instance, location, "wait")
    time.sleep(seconds)
    assert launcher_of(instance).terminate(run_id)
    assert end_of(instance, run_id) == DagsterRunStatus.CANCELED


def test_a_worker_that_is_not_there_yet_is_waited_for(
    instance: DagsterInstance, location: Path
) -> None:
    """As where the webserver terminates what it launches in that moment."""
    run = instance.create_run_for_job(an_empty_job, status=DagsterRunStatus.STARTING)
    with subprocess.Popen(["sleep", "600"]) as worker:
        file = open_worker_file(workers_of(instance), run.run_id)
        named = threading.Timer(0.3, file.name_process, [worker.pid])
        named.start()
        assert launcher_of(instance).terminate(run.run_id)
        assert worker.wait() == -signal.SIGKILL
        named.join()
    file.close()
    record_lost(instance, run.run_id)
    assert status(instance, run.run_id) == DagsterRunStatus.CANCELED


def test_another_process_can_terminate_a_run(instance: DagsterInstance, location: Path) -> None:
    run_id = launch(instance, location, "wait")
    wait_until((location / "reached-open").exists)
    with DagsterInstance.from_config(instance.root_directory) as other:
        assert other.run_launcher.terminate(run_id)
    assert end_of(instance, run_id) == DagsterRunStatus.CANCELED


def test_a_run_that_does_not_hear_terminate_is_killed(
    instance: DagsterInstance, location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KILL_SECONDS", 0.5)
    run_id = launch(instance, location, "wait_deaf")
    wait_until((location / "reached-deaf").exists)
    pid = worker_of(instance, run_id)
    assert launcher_of(instance).terminate(run_id)
    assert end_of(instance, run_id) == DagsterRunStatus.CANCELED
    wait_until(lambda: is_gone(pid))


def test_run_monitoring_sees_whether_a_worker_lives(
    instance: DagsterInstance, location: Path
) -> None:
    launcher = launcher_of(instance)
    assert launcher.supports_check_run_worker_health
    run_id = launch(instance, location, "wait")
    wait_until((location / "reached-open").exists)
    run = instance.get_run_by_id(run_id)
    assert run is not None
    health = launcher.check_run_worker_health(run)
    assert health.status == WorkerStatus.RUNNING
    assert health.run_worker_id == str(worker_of(instance, run_id))
    os.kill(worker_of(instance, run_id), signal.SIGKILL)
    assert end_of(instance, run_id) == DagsterRunStatus.FAILURE


def test_join_waits_for_the_runs(instance: DagsterInstance, location: Path) -> None:
    run_id = launch(instance, location, "wait")
    wait_until((location / "reached-open").exists)
    with pytest.raises(TimeoutError, match=run_id):
        launcher_of(instance).join(timeout=0)
    (location / "open").touch()
    launcher_of(instance).join(timeout=60)
    assert status(instance, run_id) == DagsterRunStatus.SUCCESS


def test_a_finished_run_leaves_no_file_behind(instance: DagsterInstance, location: Path) -> None:
    run_id = launch(instance, location, "speak")
    assert end_of(instance, run_id) == DagsterRunStatus.SUCCESS
    file = Path(instance.storage_directory()) / "rayflow" / "workers" / run_id
    wait_until(lambda: not file.exists())
