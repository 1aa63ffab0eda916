"""Nodes that leave something running behind, in every way that code can."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rayflow_dagster import RayflowNode

LONG = 600.0
TELLS_ITSELF = "echo $$; exec sleep 600 >&-"


class LeavingNode(RayflowNode):
    """Leave one process, whose id is in FILE before the node ends; or the node's own, with a
    thread at work. With STAYS the node itself does not end.
    """

    outputs = {"pid": "int"}

    HOW = ""
    FILE = ""
    STAYS = False

    def process(self) -> dict[str, int]:
        pid = getattr(self, f"leave_{self.HOW}")()
        written = Path(f"{self.FILE}.partial")
        written.write_text(str(pid))
        written.rename(self.FILE)
        if self.STAYS:
            time.sleep(LONG)
        return {"pid": pid}

    def leave_child_deaf_to_sigterm(self) -> int:
        return _told(f"trap '' TERM; {TELLS_ITSELF}")

    def leave_setsid(self) -> int:
        return _told(f"setsid -f sh -c '{TELLS_ITSELF}'")

    def leave_double_fork(self) -> int:
        return _told("sleep 600 >&- & echo $!")

    def leave_child_of_a_daemon(self) -> int:
        return _told("setsid -f sh -c 'sleep 600 >&- & echo $!; exec >&-; wait'")

    def leave_thread(self) -> int:
        return _in_thread(lambda: time.sleep(LONG))

    def leave_busy_thread(self) -> int:
        return _in_thread(_for_ever)


def _told(script: str) -> int:
    """The process id that a script prints first."""
    process = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return int(process.stdout.readline())


def _in_thread(work: Callable[[], None]) -> int:
    threading.Thread(target=work, daemon=False).start()
    return os.getpid()


def _for_ever() -> None:
    while True:
        pass
