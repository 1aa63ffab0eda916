"""Runs and the processes that execute them: who does, and what becomes of a run whose process died.

A process says that it launches or executes a run by a locked file (see ``workers``). Whoever comes
next, a launcher or a run at the terminal, records the runs of processes that have died as failed.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dagster import DagsterInstance

from rayflow_dagster.optional import optional

from . import _dagster
from .workers import (
    dead_workers,
    find_worker,
    forget_worker,
    open_worker_file,
    reporting,
    worker_folder,
)

START_SECONDS = 15.0
"""How long a run may stand as starting before there is a file of who launches it."""


@contextmanager
def launching(instance: DagsterInstance, run_id: str) -> Iterator[None]:
    """Say that this process launches a run, until the run's own process says so or it dies.

    Raises:
        OSError: the file that says so cannot be written.
    """
    file = open_worker_file(workers_of(instance), run_id)
    try:
        yield
    except BaseException:
        file.remove()
        raise
    finally:
        file.close()


@contextmanager
def executing(instance: DagsterInstance, run_id: str) -> Iterator[None]:
    """Say that this process executes a run, for as long as it does, or until it dies.

    Raises:
        OSError: the file that says so cannot be written.
    """
    file = open_worker_file(workers_of(instance), run_id)
    file.name_process(os.getpid())
    try:
        yield
    finally:
        try:
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished:  # else the next one to look records its end
                file.remove()
        finally:
            file.close()


def workers_of(instance: DagsterInstance) -> Path:
    """The folder of the workers' files of an instance."""
    return worker_folder(instance.storage_directory())


def record_dead(instance: DagsterInstance) -> None:
    """Record the runs of all processes that have died as failed. Never raises: what cannot be
    recorded now is left to the next one to look.
    """
    with optional("recording the runs whose processes have died"):
        for worker in list(dead_workers(workers_of(instance))):
            record_lost(instance, worker.run_id)
        _record_unlaunched(instance)


def record_lost(instance: DagsterInstance, run_id: str, why: str | None = None) -> None:
    """Record a run as failed, once, if its process has died; ``why``, if it is known."""
    workers = workers_of(instance)
    with reporting(workers):
        worker = find_worker(workers, run_id)
        if worker is not None and not worker.alive:
            _dagster.report_lost(instance, run_id, why or lost_text(worker.pid))
            forget_worker(workers, run_id)


def _record_unlaunched(instance: DagsterInstance) -> None:
    """Record runs as failed whose launch ended before anybody said to be at it. One that has ended
    meanwhile, and whose file is gone with that, stays as it is.
    """
    workers = workers_of(instance)
    with reporting(workers):
        for run_id in _dagster.starting_runs(instance, START_SECONDS):
            if find_worker(workers, run_id) is None:
                _dagster.report_lost(instance, run_id, lost_text(0))


def lost_text(pid: int) -> str:
    """Why the run of a process that died has failed; 0: before it had a process."""
    if not pid:
        return (
            "The process that launched the run has died before the run had a process of its own: "
            "it was killed, or the machine went down."
        )
    return (
        f"The process of the run (pid: {pid}) has died without saying so: it was killed, or the "
        "machine went down."
    )
