"""The fork server as the process that launches runs sees it: orders in, or why not out."""

import json
import logging
import socket
import subprocess
import sys
import threading
from dataclasses import asdict

from .run_worker import RunOrder

ANSWER_SECONDS = 60.0
"""How long a launch waits for the server, which imports for some seconds when it starts."""

_MAIN = "from rayflow_dagster.instance.fork_server import main; main()"

_log = logging.getLogger("dagster.rayflow")


class ForkServerError(Exception):
    """The fork server has not started a run; says why."""


class ForkServer:
    """A fork server of this process, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process, if one runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the server, if none runs. Returns before it can fork."""
        with self._lock:
            self._started()

    def launch(self, order: RunOrder) -> None:
        """Start a run.

        Raises:
            ForkServerError: nothing was started.
        """
        with self._lock:
            problem = self._ask(self._started(), order)
        if problem is not None:
            raise ForkServerError(problem)

    def close(self) -> None:
        """Let the runs that are going finish; the server ends after the last of them."""
        with self._lock:
            control, self._control, self._process = self._control, None, None
            if control is not None:
                control.close()

    def _started(self) -> socket.socket:
        if self._control is not None and self.pid is not None:
            return self._control
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(ANSWER_SECONDS)
        # -P: nothing that lies in the working directory may be imported by the server.
        command = [sys.executable, "-P", "-c", _MAIN, str(theirs.fileno())]
        with theirs:
            try:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
                )
            except OSError as error:
                raise ForkServerError(f"{sys.executable} could not be started") from error
        threading.Thread(
            target=_tell_of_its_death, args=(self._process,), name="fork-server", daemon=True
        ).start()
        return self._control

    def _ask(self, control: socket.socket, order: RunOrder) -> str | None:
        """What is wrong with an order."""
        try:
            control.sendall(json.dumps(asdict(order)).encode() + b"\n")
            line = control.makefile("rb").readline()
        except OSError as error:
            self._kill()
            raise ForkServerError(f"the fork server does not answer: {error}") from error
        if not line:
            self._kill()
            raise ForkServerError("the fork server has ended; its output says why")
        problem: str | None = json.loads(line)
        return problem

    def _kill(self) -> None:
        """Make sure that an order without an answer is not executed after all."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait()


def _tell_of_its_death(process: "subprocess.Popen[bytes]") -> None:
    if process.wait():
        _log.error("the fork server has died; its runs end and are recorded as failed")
