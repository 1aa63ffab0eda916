"""``rayflow-dagster dev``: ``dagster dev`` that reloads what is saved."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rayflow_dagster.project import Project
from rayflow_dagster.values.stored import our_folder_at

from .addresses import free_port, is_free, url_of, warn_if_open
from .group import Refused
from .home import use_home

HOST = "127.0.0.1"
PORT = 3000
"""Where Dagster's webserver listens unless told otherwise."""
_OPEN = (
    "and Dagster's webserver asks nobody who they are: whoever reaches it can launch, end and "
    "delete runs, and read every input, result and log; put a proxy that asks for a password in "
    "front, and let only it in"
)


def run_dev(
    arguments: Sequence[str], host: str | None, port: int | None, more: Sequence[str]
) -> NoReturn:
    """Become ``dagster dev``, with a watcher beside it.

    This process is replaced, so that signals and the exit code are Dagster's own.

    Args:
        arguments: what ``dagster dev`` gets besides host and port.
        host: where the webserver listens; by default on the loopback.
        port: by default 3000, or any free one when that is taken.
        more: files and folders to watch besides the project's own.

    Raises:
        Refused: what is to be watched is not there.
    """
    root = Project.around(Path.cwd()).root
    watched = [str(_existing(path)) for path in more]
    stored = our_folder_at(use_home(root))
    listening = host or HOST
    if port is None:
        port = PORT if is_free(listening, PORT) else free_port(listening)
    warn_if_open(listening, _OPEN)
    if is_free(listening, port):  # else Dagster says so and ends, and another one answers there
        _start_watcher(url_of(listening, port), root, stored, watched)
    address = ["--port", str(port), *(["--host", host] if host else [])]
    sys.stdout.flush()
    _heed_signals()
    os.execv(sys.executable, [sys.executable, "-m", "dagster", "dev", *address, *arguments])


def _heed_signals() -> None:
    """A shell has what it starts with "&" in a script ignore SIGINT, and Dagster takes what is done
    on SIGINT for SIGTERM, too: nothing could end it in good order then.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _existing(path: str) -> Path:
    found = Path(path).resolve()
    if not found.exists():
        raise Refused(f"there is no {path}; --watch takes a file or folder that is there")
    return found


def _start_watcher(url: str, root: Path, stored: Path, more: list[str]) -> None:
    told = [str(os.getpid()), url, str(root), str(stored), *more]
    command = [sys.executable, "-P", "-m", f"{__package__}.dev_watcher", *told]
    subprocess.Popen(command, stdin=subprocess.DEVNULL)
