"""Runs that the fork server cannot execute."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from instance.launching import (
    create,
    end_of,
    make_home,
    messages,
    open_instance,
    status,
    wait_until,
    write_location,
)

from rayflow_dagster.instance._dagster import foreign_code
from rayflow_dagster.instance.launcher import WarmRunLauncher


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    with open_instance(make_home(tmp_path / "home")) as instance:
        yield instance


@pytest.fixture
def location(tmp_path: Path) -> Path:
    return write_location(tmp_path / "location")


@pytest.fixture
def server(location: Path) -> Iterator[int]:
    """The port of a code server that somebody else has started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    file = ["--python-file", "location.py", "--attribute", "defs"]
    command = [sys.executable, "-m", "dagster", "api", "grpc", "--port", str(port), *file]
    with subprocess.Popen(command, cwd=location) as process:
        wait_until(lambda: _listens(port))
        yield port
        process.kill()  # it may have inherited that SIGTERM is ignored


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def submit_to(instance: DagsterInstance, workspace: Any, op: str) -> str:
    """What the webserver does."""
    repository = workspace.get_code_location("theirs").get_repository("__repository__")
    job = repository.get_full_job(f"job_{op}")
    plan = workspace.get_execution_plan(job, {}, step_keys_to_execute=None, known_state=None)
    unused = (
        "run_id", "status", "tags", "root_run_id", "parent_run_id", "step_keys_to_execute",
        "parent_job_snapshot", "op_selection", "asset_selection", "asset_check_selection",
        "resolved_op_selection", "asset_graph",
    )  # fmt: skip
    arguments: dict[str, Any] = dict.fromkeys(unused)
    run = instance.create_run(
        **{
            **arguments,
            "job_name": job.name,
            "run_config": {},
            "execution_plan_snapshot": plan.execution_plan_snapshot,
            "job_snapshot": job.job_snapshot,
            "remote_job_origin": job.get_remote_origin(),
            "job_code_origin": job.get_python_origin(),
        }
    )
    instance.submit_run(run.run_id, workspace)
    return run.run_id


def test_a_run_whose_code_server_somebody_else_started_is_executed_there(
    instance: DagsterInstance, location: Path, server: int
) -> None:
    target = GrpcServerTarget("127.0.0.1", server, None, "theirs")
    with WorkspaceProcessContext(instance, target) as process:
        run_id = submit_to(instance, process.create_request_context(), "wait")
        assert f"Dagster's own way, which takes some seconds: its code is served by 127.0.0.1:{server}" in messages(instance, run_id)  # fmt: skip # noqa: E501
        wait_until((location / "reached-open").exists)
        launcher = instance.run_launcher
        assert isinstance(launcher, WarmRunLauncher)
        assert launcher.server_pid is None
        assert launcher.terminate(run_id)
        assert end_of(instance, run_id) == DagsterRunStatus.CANCELED


def test_a_python_of_its_own_is_named(instance: DagsterInstance, location: Path) -> None:
    run = instance.get_run_by_id(create(instance, location, "speak"))
    assert run is not None
    assert run.job_code_origin is not None
    assert foreign_code(run) is None
    theirs = run.job_code_origin.repository_origin._replace(executable_path="/elsewhere/python")
    origin = run.job_code_origin._replace(repository_origin=theirs)
    assert "/elsewhere/python" in str(foreign_code(run._replace(job_code_origin=origin)))


def test_a_run_goes_dagsters_own_way_if_the_fork_server_does_not_start(
    instance: DagsterInstance, location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", os.devnull)
    run_id = create(instance, location, "speak")
    with pytest.raises(Exception, match="requires a workspace"):
        instance.launch_run(run_id, None)  # type: ignore[arg-type]
    assert "Dagster's own way" in messages(instance, run_id)
    assert status(instance, run_id) == DagsterRunStatus.FAILURE
