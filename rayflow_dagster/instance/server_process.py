"""The fork server as the process that launches runs sees it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from .fork_server import DRAIN, RunOrder, encode

ANSWER_SECONDS = 60.0
"""How long a launch waits for the server, which imports for some seconds when it starts."""

_MAIN = "from rayflow_dagster.instance.fork_server import main; main()"


class ForkServerError(Exception):
    """The fork server has not started a run; says why."""


class ForkServer:
    """A fork server of this process, started when it is first needed.

    Args:
        on_start: called in a thread of its own once the server has been started.
        on_death: called in that thread when the server has died though it was not told to.
    """

    def __init__(self, on_start: Callable[[], None], on_death: Callable[[], None]) -> None:
        self._on_start = on_start
        self._on_death = on_death
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The server's process, if one runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the server, if none runs. Returns before it can fork."""
        with self._lock:
            self._started()

    def launch(self, order: RunOrder) -> int:
        """Start a run; gives the process id of its worker.

        Raises:
            ForkServerError: nothing was started.
        """
        with self._lock:
            control = self._started()
            answer = self._ask(control, order)
        if "error" in answer:
            raise ForkServerError(str(answer["error"]))
        return int(answer["pid"])

    def close(self) -> None:
        """Let the runs that are going finish; the server ends after the last of them."""
        with self._lock:
            self._closed = True
            control, self._control = self._control, None
            if control is not None and self.pid is not None:
                with contextlib.suppress(ForkServerError):  # it has just died, and its runs
                    self._ask(control, DRAIN)
            if control is not None:
                control.close()
            self._process = None

    def _started(self) -> socket.socket:
        if self._control is not None and self.pid is not None:
            return self._control
        if self._control is not None:
            self._control.close()
        self._closed = False
        self._control, theirs = socket.socketpair()
        self._control.settimeout(ANSWER_SECONDS)
        started = threading.Event()
        # The kernel takes the thread that starts a process for its parent: it must live on.
        keeper = threading.Thread(
            target=self._keep, args=(theirs, started), name="fork-server", daemon=True
        )
        keeper.start()
        started.wait()
        theirs.close()
        if self._process is None:
            raise ForkServerError(f"{sys.executable} could not be started")
        return self._control

    def _keep(self, theirs: socket.socket, started: threading.Event) -> None:
        try:
            # -P: nothing that lies in the working directory may be imported by the server.
            command = [sys.executable, "-P", "-c", _MAIN, str(theirs.fileno()), str(os.getpid())]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )
            self._process = process
        except OSError:
            self._process = None
            return
        finally:
            started.set()
        self._on_start()
        process.wait()
        if not self._closed:
            self._on_death()

    def _ask(self, control: socket.socket, message: RunOrder | dict[str, Any]) -> dict[str, Any]:
        try:
            control.sendall(encode(message))
            line = control.makefile("rb").readline()
        except OSError as error:
            self._kill()
            raise ForkServerError(f"the fork server does not answer: {error}") from error
        if not line:
            self._kill()
            raise ForkServerError("the fork server has ended; its output says why")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _kill(self) -> None:
        """Make sure that an order without an answer is not executed after all."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait()
