"""Where runs are recorded."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_flows import write_waiting
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from forked_pythons import ForkedProcess, ForkedPythons

from rayflow_dagster.cli.flows import open_flow
from rayflow_dagster.cli.group import STOPPED, Refused
from rayflow_dagster.cli.home import use_home
from rayflow_dagster.cli.progress import NoProgress
from rayflow_dagster.cli.recorded import RecordedRunner
from rayflow_dagster.cli.recordings import open_instance
from rayflow_dagster.testing import in_process


def test_without_a_home_it_is_made_in_the_project(empty_folder: Path):
    home = use_home(empty_folder)

    assert home == empty_folder / ".dagster"
    assert os.environ["DAGSTER_HOME"] == str(home)
    assert (home / "dagster.yaml").read_text() == ""
    assert (home / ".gitignore").read_text() == "*\n"
    assert home.stat().st_mode & 0o777 == 0o700


def test_the_projects_settings_are_copied_whenever_they_changed(empty_folder: Path):
    settings = empty_folder / "dagster.yaml"
    settings.write_text("telemetry:\n  enabled: false\n")
    home = use_home(empty_folder)
    del os.environ["DAGSTER_HOME"]
    settings.write_text("nux:\n  enabled: false\n")
    use_home(empty_folder)

    assert (home / "dagster.yaml").read_text() == settings.read_text()


def test_a_home_that_is_set_is_used(empty_folder: Path, tmp_path: Path):
    os.environ["DAGSTER_HOME"] = str(tmp_path / "home")

    assert use_home(empty_folder) == tmp_path / "home"
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    assert not (empty_folder / ".dagster").exists()


def test_a_home_that_is_not_absolute_is_refused(empty_folder: Path):
    os.environ["DAGSTER_HOME"] = "home"
    with pytest.raises(Refused, match="absolute"):
        use_home(empty_folder)


def test_a_run_is_recorded_under_the_projects_own_job(project: Path):
    (project / "definitions.py").touch()
    runner = RecordedRunner(open_flow("linear"), in_process)
    report = runner.run({"a": 1}, NoProgress())
    with DagsterInstance.get() as instance:
        run = instance.get_run_by_id(report.run_id)

    assert run.status == DagsterRunStatus.SUCCESS
    assert run.job_name == "linear"
    assert run.run_config == {"ops": {"Start": {"config": {"a": 1}}}}
    assert run.tags[".dagster/repository"] == "__repository__@definitions.py"
    assert "rayflow/flow_hash" in run.tags


def test_a_run_of_a_flow_elsewhere_claims_no_code_location(project: Path):
    (project / "definitions.py").touch()
    (project / "linear.json").write_bytes((project / "flows" / "linear.json").read_bytes())
    report = RecordedRunner(open_flow("linear.json"), in_process).run({"a": 1}, NoProgress())
    with DagsterInstance.get() as instance:
        run = instance.get_run_by_id(report.run_id)

    assert ".dagster/repository" not in run.tags


def test_a_failed_run_is_recorded_as_failed(project: Path):
    report = RecordedRunner(open_flow("failing_node"), in_process).run({"value": 1}, NoProgress())
    with DagsterInstance.get() as instance:
        run = instance.get_run_by_id(report.run_id)

    assert run.status == DagsterRunStatus.FAILURE


def test_settings_that_dagster_refuses_are_one_message(project: Path):
    (project / "dagster.yaml").write_text("no_such_setting: 1\n")
    runner = RecordedRunner(open_flow("linear"), in_process)
    with pytest.raises(Refused, match="no_such_setting"):
        runner.run({"a": 1}, NoProgress())


def test_dagsters_console_log_is_not_seen(project: Path, capfd: pytest.CaptureFixture[str]):
    RecordedRunner(open_flow("linear"), in_process).run({"a": 1}, NoProgress())

    assert capfd.readouterr() == ("", "")


def test_runs_that_start_together_in_a_new_home_all_succeed(project: Path, pythons: ForkedPythons):
    code = (
        "from rayflow_dagster.cli.flows import open_flow\n"
        "from rayflow_dagster.cli.progress import NoProgress\n"
        "from rayflow_dagster.cli.recorded import RecordedRunner\n"
        "from rayflow_dagster.testing import in_process\n"
        "runner = RecordedRunner(open_flow('linear'), in_process)\n"
        "assert runner.run({'a': 1}, NoProgress()).success\n"
    )
    together = [pythons.start(["-c", code]) for _ in range(4)]
    printed = [process.communicate() for process in together]

    assert [process.wait() for process in together] == [0] * 4, printed


WAITING = """
from rayflow_dagster.cli.flows import open_flow
from rayflow_dagster.cli.progress import NoProgress
from rayflow_dagster.cli.recorded import RecordedRunner
from rayflow_dagster.testing import in_process
RecordedRunner(open_flow("waiting"), in_process).run({}, NoProgress())
"""
SETTINGS = Path(__file__).parents[2] / "dagster.yaml"


@contextmanager
def waiting_run(
    project: Path, pythons: ForkedPythons, *words: str
) -> Iterator[tuple[ForkedProcess, DagsterRun]]:
    """A run in another process, which waits in its only node, and that process."""
    write_waiting(project)
    shutil.copy(SETTINGS, project)
    os.environ["DAGSTER_HOME"] = str(use_home(project))
    with pythons.start(words) as process:
        try:
            yield process, started_run(project)
        finally:
            process.kill()


def started_run(project: Path) -> DagsterRun:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        # Of two processes that open a new home at once, Dagster alone may fail one.
        with open_instance(use_home(project)) as instance:
            for run in instance.get_runs():
                steps = instance.get_run_step_stats(run.run_id)
                if any(step.step_key == "wait" for step in steps):
                    return run
        time.sleep(0.2)
    raise AssertionError("no run has started")


def run_of(run_id: str) -> DagsterRun:
    with DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def messages(run_id: str) -> str:
    with DagsterInstance.get() as instance:
        return "\n".join(entry.message for entry in instance.all_logs(run_id))


def test_a_run_whose_process_is_killed_is_recorded_as_failed_by_the_next_run(
    project: Path, pythons: ForkedPythons, capfd: pytest.CaptureFixture[str]
):
    with waiting_run(project, pythons, "-c", WAITING) as (process, run):
        RecordedRunner(open_flow("linear"), in_process).run({"a": 1}, NoProgress())
        assert run_of(run.run_id).status == DagsterRunStatus.STARTED  # it lives
        process.kill()
        process.wait()
        capfd.readouterr()
        RecordedRunner(open_flow("linear"), in_process).run({"a": 1}, NoProgress())

        assert run_of(run.run_id).status == DagsterRunStatus.FAILURE
        assert f"(pid: {process.pid}) has died" in messages(run.run_id)
        assert capfd.readouterr() == ("", "")
    assert workers_in(project) == []


@pytest.mark.ray
def test_a_run_at_the_terminal_can_be_terminated_in_dagster(
    ray_session: None, project: Path, pythons: ForkedPythons
):
    command = ("-m", "rayflow_dagster", "run", "waiting")
    with waiting_run(project, pythons, *command) as (process, run):
        with DagsterInstance.get() as instance:
            assert instance.run_launcher.terminate(run.run_id)
        assert process.wait() == STOPPED

        assert run_of(run.run_id).status == DagsterRunStatus.CANCELED
        assert "Stopped at the terminal" not in messages(run.run_id)
    assert workers_in(project) == []


def workers_in(project: Path) -> list[str]:
    folder = project / ".dagster" / "storage" / "rayflow" / "workers"
    return [file.name for file in folder.glob("[!.]*")]
