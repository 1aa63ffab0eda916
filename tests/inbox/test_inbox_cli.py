"""``rayflow-dagster inbox``: in a process of its own, or in this one where it does not start."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from forked_pythons import ForkedPythons

from inbox.inbox_flows import SECRET, Caller
from inbox.inbox_processes import COMMAND, environment, started
from rayflow_dagster.cli import main


def refused(flows: Path, home: Path, *options: str, **more: str) -> str:
    """What is said instead of taking requests."""
    given = environment(home, **more)
    changed = {name: given.get(name) for name in {*os.environ, *given}}
    with contextlib.chdir(flows.parent):
        done = CliRunner().invoke(main, ["inbox", *options], env=changed)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    return done.stderr


def test_an_accepted_request_survives_kill_9(
    flows: Path, home: Path, pythons: ForkedPythons
) -> None:
    with started(pythons, flows, home) as (process, caller):
        request_id = caller.started("order", {"customer": "Ada"})
        process.send_signal(signal.SIGKILL)
        process.wait()

    with started(pythons, flows, home) as (_, caller):
        assert caller.about(request_id)["status"] == "waiting"


def test_it_ends_when_it_is_told_to(flows: Path, home: Path, pythons: ForkedPythons) -> None:
    with started(pythons, flows, home) as (process, caller):
        assert caller.get("/flows").status == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()

    assert process.returncode == 130
    assert errors == "Stopped.\n"


def test_the_secret_may_stand_in_a_file(
    flows: Path, home: Path, tmp_path: Path, pythons: ForkedPythons
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    with started(pythons, flows, home, "--secret-file", str(file), secret=None) as (_, caller):
        assert caller.get("/flows").status == 200
        assert Caller(caller.port, "a-wrong-secret-of-tests").get("/flows").status == 401


def test_it_does_not_start_without_a_secret(flows: Path, home: Path, tmp_path: Path) -> None:
    assert "has no secret" in refused(flows, home)
    assert "16 or more" in refused(flows, home, RAYFLOW_INBOX_SECRET="short")
    assert "no space" in refused(flows, home, RAYFLOW_INBOX_SECRET="a secret with its spaces")
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert "has no secret" in refused(flows, home, "--secret-file", str(empty))
    assert "No such file" in refused(flows, home, "--secret-file", str(tmp_path / "none"))


def test_a_port_that_is_taken_is_said_to_be(flows: Path, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        errors = refused(flows, home, "--port", port, RAYFLOW_INBOX_SECRET=SECRET)

    assert f"cannot listen at 127.0.0.1 port {port}" in errors
    assert "--port" in errors


def test_an_unknown_host_and_a_missing_folder_are_one_message(flows: Path, home: Path) -> None:
    assert "cannot listen at" in refused(
        flows, home, "--host", "no.such.host.invalid", RAYFLOW_INBOX_SECRET=SECRET
    )
    assert "--flows" in refused(flows, home, "--flows", "none", RAYFLOW_INBOX_SECRET=SECRET)


def test_listening_for_other_machines_is_warned_of(flows: Path, home: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = str(taken.getsockname()[1])
    command = [sys.executable, *COMMAND, "--host", "0.0.0.0", "--port", port]
    with subprocess.Popen(
        command,
        cwd=flows.parent,
        env=environment(home, RAYFLOW_INBOX_SECRET=SECRET),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert errors.startswith("Warning: 0.0.0.0 can be reached from other machines")
