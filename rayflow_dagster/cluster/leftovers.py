"""A process in; what its descendants left behind, however they ended, and killed, out.

Linux hands an orphan to the nearest of its ancestors that has asked for orphans. Every worker asks,
so that whatever a node starts stays below the worker, detached or not. The keeper of the embedded
Ray asks as well: what a worker leaves behind becomes the keeper's child, also where the worker was
killed. Ray's own ways do less: a worker that ends kills its children and not theirs, one that is
killed none, and the raylet would look for orphans every ten seconds.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Set
from contextlib import suppress
from pathlib import Path

from rayflow_dagster.optional import optional

_PR_SET_CHILD_SUBREAPER = 36
_LOOK_SECONDS = 1.0
_END_SECONDS = 5.0
_POLL_SECONDS = 0.05


def adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent ends. On Linux; elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """The processes whose parent this one is. On Linux; elsewhere none are known."""
    return _below(os.getpid(), _families())


def keep_killing_all_but(kept: Set[int]) -> None:
    """From now on kill each child that is not among ``kept``, with all below it."""

    def look() -> None:
        while True:
            time.sleep(_LOOK_SECONDS)
            with optional("ending the processes that nodes left behind"):
                _kill_all_but(kept)

    threading.Thread(target=look, name="rayflow-leftovers", daemon=True).start()


def kill_all_but(kept: Set[int]) -> None:
    """Kill all children that are not among ``kept``, and all below them, until there are none."""
    deadline = time.monotonic() + _END_SECONDS
    while _kill_all_but(kept) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _kill_all_but(kept: Set[int]) -> bool:
    """Whether there were any; they may be about to end."""
    families = _families()
    adopted = _below(os.getpid(), families) - kept
    found = set(adopted)
    while more := {pid for parent in found for pid in _below(parent, families)} - found:
        found |= more
    for pid in found:
        with suppress(OSError):  # it has ended, or belongs to another user
            os.kill(pid, signal.SIGKILL)
    for pid in adopted:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return bool(adopted)


def _below(parent: int, families: dict[int, set[int]]) -> set[int]:
    return families.get(parent, set())


def _families() -> dict[int, set[int]]:
    """The children of each process. Not every kernel has ``/proc/<pid>/task/<tid>/children``."""
    found: dict[int, set[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            # The command stands in brackets and may hold anything.
            parent = path.read_bytes().rpartition(b")")[2].split()[1]
            found.setdefault(int(parent), set()).add(int(path.parent.name))
    return found
