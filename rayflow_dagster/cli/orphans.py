"""Processes that a killed parent has left behind."""

import contextlib
import os
import signal
from pathlib import Path

_PROC = Path("/proc")


class Children:
    """The other child processes of a process, remembered for when it has died.

    Where the system has no ``/proc``, none are known.
    """

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._started: dict[int, str] = {}

    def remember(self) -> None:
        """Note those that live now."""
        found = {}
        for path in _PROC.glob(f"{self._parent}/task/*/children"):
            with contextlib.suppress(OSError):  # a thread that has just ended
                found.update({int(pid): _started(int(pid)) for pid in path.read_text().split()})
        found.pop(os.getpid(), None)
        if found:  # else the parent has just died
            self._started = {pid: started for pid, started in found.items() if started}

    def end(self) -> None:
        """Have those that still live end, in good order."""
        for pid, started in self._started.items():
            if _started(pid) == started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)


def _started(pid: int) -> str:
    """When a process was started, which tells it from a later one with its id; else nothing."""
    try:
        # The command stands in brackets and may hold anything.
        return (_PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
