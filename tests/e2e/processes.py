"""Which processes belong to a test, read from ``/proc``."""

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Process(NamedTuple):
    """A process; ``started`` tells it from a later one with its pid."""

    pid: int
    started: str


def family(mark: str) -> set[Process]:
    """The processes that were started with ``mark`` in their environment or command, detached
    ones too, and all that descend from them."""
    parents = {pid: facts for pid in _pids() if (facts := _facts(pid)) is not None}
    found = {pid for pid in parents if pid != os.getpid() and _is_marked(pid, mark.encode())}
    while more := {pid for pid, (parent, _) in parents.items() if parent in found} - found:
        found |= more
    return {Process(pid, parents[pid][1]) for pid in found}


def left_after(processes: set[Process], seconds: float) -> set[Process]:
    """Those that still live after a while. They are ended."""
    deadline = time.monotonic() + seconds
    while (left := {each for each in processes if _lives(each)}) and time.monotonic() < deadline:
        time.sleep(0.2)
    for process in left:
        os.kill(process.pid, signal.SIGKILL)
    return left


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _facts(pid: int) -> tuple[int, str] | None:
    """Parent and start time; None when the process is gone or a zombie."""
    try:
        # The command stands in brackets and may hold anything.
        state, parent, *rest = (PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else (int(parent), rest[17])


def _lives(process: Process) -> bool:
    facts = _facts(process.pid)
    return facts is not None and facts[1] == process.started


def _is_marked(pid: int, mark: bytes) -> bool:
    try:
        return any(mark in (PROC / f"{pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
    except OSError:
        return False
