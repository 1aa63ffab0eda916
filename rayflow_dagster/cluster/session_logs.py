"""Ray's log files: a folder and a number in, no more files of ended processes than that left.

Ray begins three or four files for each worker and driver, and keeps them for as long as it runs;
the embedded Ray may run for weeks.
"""

import errno
import os
from pathlib import Path

from . import _ray

LOGS_KEPT = 200
"""So many log files of ended processes stay: those of the last fifty or so."""


def remove_old_logs(sessions: Path, kept: int) -> None:
    """Remove the log files of processes that have ended, but for the ``kept`` newest ones."""
    ended = [file for file, pid in _ray.logs_of_processes(sessions).items() if not _lives(pid)]
    written = {file: file.stat().st_mtime for file in ended}
    for file in sorted(ended, key=written.__getitem__)[: max(0, len(ended) - kept)]:
        file.unlink()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:  # another user's process refuses, and lives
        return error.errno != errno.ESRCH
    return True
