"""The private API of Dagster that the run launcher, the coordinator and the commands stand on."""

import inspect
import os
from pathlib import Path
from typing import Any

import pytest
from dagster import QueuedRunCoordinator
from dagster._cli.api import _execute_run_command_body
from dagster._cli.utils import _inject_local_env_file, get_instance_for_cli
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.run_coordinator import SubmitRunContext
from dagster._utils import get_run_crash_explanation

from rayflow_dagster.instance._dagster import local_environment


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            _execute_run_command_body,
            ["run_id", "instance", "write_stream_fn", "set_exit_code_on_failure"],
        ),
        (_inject_local_env_file, ["logger"]),
        (get_instance_for_cli, ["instance_ref", "logger"]),
        (get_run_crash_explanation, ["prefix", "exit_code"]),
        (RunLauncher.launch_run, ["self", "context"]),
        (RunLauncher.terminate, ["self", "run_id"]),
        (RunLauncher.join, ["self", "timeout"]),
        (RunLauncher.check_run_worker_health, ["self", "run"]),
        (QueuedRunCoordinator.submit_run, ["self", "context"]),
    ],
)
def test_a_function_takes_what_it_took(function: Any, parameters: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == parameters


def test_the_contexts_carry_what_they_carried() -> None:
    assert LaunchRunContext._fields == ("dagster_run", "workspace")
    assert SubmitRunContext._fields == ("dagster_run", "workspace")


def test_an_exit_is_explained_by_code_and_by_signal() -> None:
    assert "code 3" in get_run_crash_explanation("It", 3)
    assert "SIGSEGV" in get_run_crash_explanation("It", -11)


def test_the_env_file_of_the_working_folder_wins_until_the_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONE", "before")
    Path(".env").write_text("ONE=file\n")
    with local_environment():
        assert os.environ["ONE"] == "file"
    assert os.environ["ONE"] == "before"
