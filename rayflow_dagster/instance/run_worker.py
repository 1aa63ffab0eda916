"""A run order in, a run that is executed, and recorded whatever happens to it, out.

Each run has two processes: a child of the fork server looks after it, and a child of that one, the
worker, executes it. A worker that ends without having recorded the end of its run is seen by its
parent, which does so. If the fork server goes, the kernel tells the parents of the workers, which
have them stop, kill those that have not done so after ``STOP_SECONDS``, and record their runs.
"""

import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from rayflow_dagster.errors import StorageError

from . import _dagster
from .executing import record_lost
from .workers import WorkerFile, open_worker_file

STOP_SECONDS = 10
"""How long a run has to stop when the fork server is gone."""

AGAIN_SECONDS = 2
"""How long after the end of a run could not be recorded that is tried again."""

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


def answer(control: socket.socket, problem: str | None) -> None:
    """Say to who ordered a run why it is not executed; None: it is."""
    with contextlib.suppress(ConnectionError):  # the run goes on without one that is gone
        control.sendall(json.dumps(problem).encode() + b"\n")


def look_after(order: RunOrder, control: socket.socket, server: int) -> None:
    """In a child of the fork server: have a worker execute a run, and see to it that the end of
    the run is recorded. The worker returns from here too.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    keeper = os.getpid()
    try:
        file = open_worker_file(Path(order.workers), order.run_id)
    except OSError as error:
        answer(control, f"no file for the run worker: {error}")
        return
    try:
        worker = os.fork()
    except OSError as error:
        file.remove()
        answer(control, f"no process for the run worker: {error}")
        return
    if not worker:
        control.close()
        _end_with(keeper, signal.SIGKILL)
        _execute(order, file)
        return
    file.name_process(worker)
    answer(control, None)
    control.close()
    file.close()
    exit_code = _exit_code(worker, server)
    was_told = False
    while file.path.exists():
        problem = record_end(order, exit_code)
        if problem is None or os.getppid() != server:
            break
        if not was_told:
            print(problem, file=sys.stderr, flush=True)  # noqa: T201 - it has no log
        was_told = True
        time.sleep(AGAIN_SECONDS)
    os._exit(0)  # to take the interpreter apart would copy all the memory that is shared


def record_end(order: RunOrder, exit_code: int) -> str | None:
    """Record the end of a run whose worker has not done so; what is wrong if that cannot be done
    now, for example on a full disk.
    """
    try:
        with _dagster.open_instance(order.instance_ref) as instance:
            why = _dagster.explain_exit(order.run_id, exit_code)
            record_lost(instance, order.run_id, why)
    except Exception as error:  # Dagster's, SQLAlchemy's and the system's have nothing in common
        reason = getattr(error, "orig", None) or error
        return f"The end of run {order.run_id} cannot be recorded, and is tried again: {reason}"
    return None


def _execute(order: RunOrder, file: WorkerFile) -> None:
    """Do what ``dagster api execute_run`` does, in the order's folder.

    The author's code is imported here, fresh, through the run's own origin; the flow is the one
    that the code location had loaded, because the run carries what was frozen then.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()
    _stand_in(order.folder)
    try:
        is_finished = _dagster.execute_run(order.run_id, order.instance_ref, before=_expect)
    except (SQLAlchemyError, StorageError) as error:
        reason = getattr(error, "orig", None) or error
        sys.exit(f"Run {order.run_id} has ended, as it could not be recorded: {reason}")
    if is_finished:
        file.remove()


def _expect(job_name: str) -> None:
    """Have the job's actors come up while the rest of its code location loads."""
    from rayflow_dagster.defs import prestart

    prestart.expect(job_name)


def _stand_in(folder: str) -> None:
    """Look like a process that was started in the folder, as the code server was."""
    os.chdir(folder)
    sys.path.insert(0, folder)
    sys.argv[:] = ["dagster", "api", "execute_run"]


def _exit_code(worker: int, server: int) -> int:
    """Wait for the end of a worker, and bring it about on SIGTERM and when the server dies."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(worker, signal.SIGKILL))
        signal.alarm(STOP_SECONDS)
        os.kill(worker, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    _end_with(server, signal.SIGTERM)
    os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)  # until it is reaped, its id is its own
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.alarm(0)
    return os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])


def _end_with(parent: int, number: signal.Signals) -> None:
    """Get a signal when the parent dies, or now, if it has died."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
