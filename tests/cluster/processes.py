"""Processes of their own, and an embedded Ray of the test's own, for tests about connecting."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rayflow_dagster.cluster import connection, embedded

PATIENCE = 60.0  # seconds; how long a test waits before it gives up, not what it asserts
ROOT = Path(__file__).parents[2]


def eventually(is_so: Callable[[], bool]) -> bool:
    """Wait until it is so; False when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def family(pid: int) -> set[int]:
    """A process and all that descend from it."""
    parents = {child: parent for child, parent, _state in processes()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def living(pids: set[int]) -> set[int]:
    return pids & {pid for pid, _parent, state in processes() if not state.startswith("Z")}


def processes() -> list[tuple[int, int, str]]:
    listing = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listing.stdout.splitlines()]
    return [(int(pid), int(parent), state) for pid, parent, state in rows]


def driver(source: str, **environment: str) -> subprocess.Popen[str]:
    """A process of its own that runs the source."""
    prelude = "from rayflow_dagster.cluster.connection import *\nimport os, ray, signal\n"
    return subprocess.Popen(
        [sys.executable, "-c", prelude + source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def said(process: subprocess.Popen[str]) -> str:
    """What the process prints until it ends well, in silence otherwise."""
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    return out


def process_named(name: str, among: set[int]) -> int:
    listing = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,command="], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=1) for line in listing.stdout.splitlines()]
    return next(int(pid) for pid, command in rows if int(pid) in among and name in command)


def private_folder() -> Iterator[Path]:
    """A short folder of the test's own as RAYFLOW_RAY_DIR; nothing stays in it or runs after."""
    path = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYFLOW_RAY_DIR", str(path))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield path
        patch.setenv("RAYFLOW_RAY_DIR", str(path))
        connection.stop()
    # One that has just begun to end by itself is not waited for by ``stop``.
    deadline = time.monotonic() + PATIENCE
    while embedded.is_alive(embedded.Folder(path)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shutil.rmtree(path, ignore_errors=True)
