"""``rayflow-dagster inbox`` and Dagster's daemon as processes, for tests."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from forked_pythons import ForkedProcess, ForkedPythons

from inbox.inbox_flows import SECRET, Caller

COMMAND = ["-m", "rayflow_dagster", "inbox"]


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAYFLOW_", "DAGSTER_"))
    }
    return {**kept, "DAGSTER_HOME": str(home), **more}


@contextlib.contextmanager
def started(
    pythons: ForkedPythons, flows: Path, home: Path, *options: str, secret: str | None = SECRET
) -> Iterator[tuple[ForkedProcess, Caller]]:
    more = {} if secret is None else {"RAYFLOW_INBOX_SECRET": secret}
    command = [*COMMAND, "--port", "0", *options]
    process = pythons.start(command, flows.parent, environment(home, **more))
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+) for the flows: (.*)", line)
        assert found, line + process.communicate()[1]
        assert found[2] == "order"
        yield process, Caller(int(found[1]))
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def daemon(
    project: Path, home: Path, ray: Path, **more: str
) -> "Iterator[subprocess.Popen[bytes]]":
    with (home / "daemon.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-w", "workspace.yaml"],
            cwd=project,
            env=environment(home, RAYFLOW_RAY_DIR=str(ray), **more),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a daemon and the code servers that it has started, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
