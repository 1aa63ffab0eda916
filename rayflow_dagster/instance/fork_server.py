"""The fork server: a process that has imported everything and gives each run a child of its own.

It speaks with the process that started it over a socket that only the two hold: one line of JSON
asks for a run, one line answers with the process of its worker. It has imported Dagster, Ray and
this package and nothing of the author's, has opened no instance, no channel and no connection, and
has one thread; a child therefore starts from a clean state in milliseconds. Only for Linux: on
macOS a process that has used the system's frameworks cannot be forked safely.

It ends with its parent. If the parent is killed, its runs end with it: they are told to stop, after
``STOP_SECONDS`` killed, and recorded as failed. If the parent ends in good order, it says so first,
and the runs that are going are finished. Should the server itself be killed, the kernel kills its
runs, and the parent records them as failed.
"""

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .preload import preload
from .run_worker import execute_run, report_crash
from .workers import open_worker_file

STOP_SECONDS = 10.0
"""How long runs have to stop when the parent is gone."""

DRAIN: dict[str, Any] = {"drain": True}
"""What a parent says that ends in good order."""

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class RunOrder:
    """A run to execute."""

    run_id: str
    instance_ref: str
    """The serialised reference of the instance that has the run."""
    folder: str
    """The working directory of the run."""
    workers: str
    """The folder of the workers' files."""


class ForkedError(BaseException):
    """Carries a new child out of the server's loop, to ``task``."""

    def __init__(self, task: Callable[[], None]) -> None:
        self.task = task


def main() -> None:
    """The server's process: ``<descriptor of the socket> <process id of the parent>``."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent and the runs
    _die_with(parent, signal.SIGTERM)
    _import_everything()
    try:
        _Server(socket.socket(fileno=descriptor)).serve()
        return
    except ForkedError as forked:
        task = forked.task
    task()


def _import_everything() -> None:
    gc.disable()  # what is never collected stays shared with the children
    preload()
    gc.collect()
    gc.freeze()


def _die_with(parent: int, number: int) -> None:
    """Ask the kernel for a signal when the parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if number and os.getppid() != parent:
        sys.exit(1)


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._pid = os.getpid()
        self._control = control
        self._requests = control.makefile("rb")
        self._listening = True
        self._runs: dict[int, RunOrder] = {}
        self._reporters: set[int] = set()
        self._woken, self._waker = socket.socketpair()
        self._told_to_stop = False
        for end in (self._woken, self._waker):
            end.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop_soon)

    def serve(self) -> None:
        """Until the parent is gone and the children are."""
        while self._listening or self._runs or self._reporters:
            ready = self._wait(None)
            if self._told_to_stop:
                break
            if self._control in ready:
                self._answer()
            self._reap()
        self._stop()

    def _wait(self, seconds: float | None) -> list[socket.socket]:
        watched = [self._woken, self._control] if self._listening else [self._woken]
        ready, _, _ = select.select(watched, [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
        return ready

    def _stop_soon(self, *_: object) -> None:
        self._told_to_stop = True

    def _answer(self) -> None:
        line = self._requests.readline()
        if not line:
            self._told_to_stop = True
            return
        request = json.loads(line)
        if request == DRAIN:
            _die_with(0, 0)
            self._listening = False
            self._send(DRAIN)
        else:
            self._send(self._start(RunOrder(**request)))

    def _send(self, answer: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # a parent that is gone ends the loop
            self._control.sendall(json.dumps(answer).encode() + b"\n")

    def _start(self, order: RunOrder) -> dict[str, Any]:
        threads = len(os.listdir("/proc/self/task"))
        if threads != 1:
            return {"error": f"the fork server has {threads} threads; forking it is not safe"}
        try:
            file = open_worker_file(Path(order.workers), order.run_id)
        except OSError as error:
            return {"error": f"no file for the run worker: {error}"}
        task = partial(execute_run, order.run_id, order.instance_ref, order.folder, file)
        try:
            pid = self._fork(task)
        except OSError as error:
            file.remove()
            file.close()
            return {"error": f"no process for the run worker: {error}"}
        self._runs[pid] = order
        file.name_process(pid)
        file.close()
        return {"pid": pid}

    def _fork(self, task: Callable[[], None]) -> int:
        """The new child's process id; the child itself leaves the loop for ``task``."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        pid = os.fork()
        if pid:
            return pid
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for end in (self._requests, self._control, self._woken, self._waker):
            end.close()
        _die_with(self._pid, signal.SIGKILL)
        gc.enable()
        raise ForkedError(task)

    def _reap(self) -> None:
        while self._runs or self._reporters:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._reporters.discard(pid)
            order = self._runs.pop(pid, None)
            if order is not None:
                self._look_after(order, os.waitstatus_to_exitcode(status))

    def _look_after(self, order: RunOrder, exit_code: int) -> None:
        """Have a run recorded as failed whose worker left before it was finished."""
        file = Path(order.workers) / order.run_id
        if file.exists():
            report = partial(report_crash, order.run_id, order.instance_ref, file, exit_code)
            try:
                self._reporters.add(self._fork(report))
            except OSError as error:  # run monitoring will record it
                sys.stderr.write(f"run {order.run_id} has died, which is not recorded: {error}\n")

    def _stop(self) -> None:
        self._listening = False
        self._signal_runs(signal.SIGTERM)
        self._wait_for_children(STOP_SECONDS)
        self._signal_runs(signal.SIGKILL)
        self._wait_for_children(STOP_SECONDS)

    def _signal_runs(self, number: signal.Signals) -> None:
        for pid in self._runs:
            os.kill(pid, number)  # not reaped yet, so it is still ours

    def _wait_for_children(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._runs or self._reporters:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._reap()
            if self._runs or self._reporters:
                self._wait(left)


def encode(message: RunOrder | dict[str, Any]) -> bytes:
    """A line for the server."""
    plain = asdict(message) if isinstance(message, RunOrder) else message
    return json.dumps(plain).encode() + b"\n"
