"""Which run workers live: one file for each, locked for as long as its process lives.

``<storage>/rayflow/workers/<run id>`` names the process. The kernel gives the lock back however the
process ends, so every process of this machine can tell, also after the one that launched the run
has gone: a locked file is a worker at work, an unlocked one a worker that died before its run was
recorded as finished, and no file a run that is finished or was launched in another way. A run at
the terminal has such a file, too: its worker is the process of the command.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FILE_SIZE = 512


@dataclass(frozen=True, slots=True)
class Worker:
    """What the file of a run worker says."""

    run_id: str
    host: str
    """The machine that it runs on."""
    pid: int
    """Its process there; 0 while it is being started."""
    alive: bool

    @property
    def is_here(self) -> bool:
        """Whether its process can be signalled from here."""
        return bool(self.pid) and self.host == socket.gethostname()


@dataclass(frozen=True, slots=True)
class WorkerFile:
    """A worker's file, held open and locked. A forked process holds it too."""

    path: Path
    descriptor: int

    def name_process(self, pid: int) -> None:
        """Say which process the worker is."""
        text = json.dumps({"host": socket.gethostname(), "pid": pid})
        os.pwrite(self.descriptor, text.ljust(_FILE_SIZE).encode(), 0)

    def close(self) -> None:
        """Let go of the file; the lock stays while another process holds it."""
        os.close(self.descriptor)

    def remove(self) -> None:
        """Say that the run is recorded as finished."""
        self.path.unlink(missing_ok=True)


def worker_folder(storage: str | Path) -> Path:
    """The folder of the workers' files, in the storage folder of an instance."""
    return Path(storage) / "rayflow" / "workers"


def open_worker_file(folder: Path, run_id: str) -> WorkerFile:
    """A locked file for a new worker. It never stands in its place without its lock."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    unnamed = folder / f".{run_id}"
    descriptor = os.open(unnamed, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    file = WorkerFile(folder / run_id, descriptor)
    file.name_process(0)  # takes the room on the disk before there is a process
    unnamed.rename(file.path)
    return file


def find_worker(folder: Path, run_id: str) -> Worker | None:
    """The worker of a run; None if it has none, or none any more."""
    try:
        descriptor = os.open(folder / run_id, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        named = json.loads(os.read(descriptor, _FILE_SIZE))
        host, pid = named["host"], named["pid"]
        return Worker(run_id, host, pid, _is_locked(descriptor) and not _is_gone(host, pid))
    finally:
        os.close(descriptor)


def dead_workers(folder: Path) -> Iterator[Worker]:
    """The workers that died before their runs were recorded as finished."""
    for file in sorted(folder.glob("[!.]*")):
        worker = find_worker(folder, file.name)
        if worker is not None and not worker.alive:
            yield worker


@contextmanager
def reporting(folder: Path) -> Iterator[None]:
    """Only one process at a time looks for dead workers and records their runs as failed, so that
    no run is recorded twice.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / ".reporting").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def forget_worker(folder: Path, run_id: str) -> None:
    """Remove the file of a worker whose run is recorded as finished."""
    (folder / run_id).unlink(missing_ok=True)


def _is_locked(descriptor: int) -> bool:
    # A shared lock: two processes that look at once must not take each other for the worker.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _is_gone(host: str, pid: int) -> bool:
    """Whether only a child that the worker forked still holds the lock."""
    if not pid or host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's process: it lives
        return False
    return False
