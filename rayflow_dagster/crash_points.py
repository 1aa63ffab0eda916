"""``crash_point(name)``: where tests have a process of ours die, at the same instant each time.

``RAYFLOW_CRASH_AT=<name>,<name>`` has a process that comes to such a point be killed (SIGKILL),
after it has put a file of that name into the folder ``RAYFLOW_CRASH_NOTES``, so that it happens
once at each. Unset, as ever outside of tests, ``crash_point`` is a function that does nothing.
"""

import contextlib
import os
import signal
from pathlib import Path

_AT = frozenset(os.environ.get("RAYFLOW_CRASH_AT", "").split(",")) - {""}

if not _AT:

    def crash_point(name: str) -> None:
        """Nothing."""

else:

    def crash_point(name: str) -> None:
        """Die here, if this is a point to die at and nobody has before."""
        if name in _AT:
            with contextlib.suppress(FileExistsError):
                (Path(os.environ["RAYFLOW_CRASH_NOTES"]) / name).touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
