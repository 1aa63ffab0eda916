"""The process that owns the embedded Ray: `python -m rayflow_dagster.cluster.keeper FOLDER ...`.

Started by `embedded.py` only. It forks once, so that its starter has no child to wait for, then
starts Ray, announces it in the folder's record, and ends it together with itself

- after ``--idle-seconds`` without a driver connected or a resident actor alive,
- on SIGTERM,
- when a process of the Ray head that nothing works without has died.

Nothing else ends it: what only helps, as spare processes do, may fail.

However it ends, SIGKILL included, its guard then kills what is left of its process group: most of
Ray's processes die with their parent by themselves, two agents stay for about a minute.

While it lives it also kills what nodes leave behind (`leftovers.py`), and all of it when it ends.
Where it is killed itself, what has detached itself stays.
"""

import argparse
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import FrameType

import ray

from rayflow_dagster.optional import optional

from . import _ray, embedded, leftovers
from .embedded import EmbeddedRay, Folder
from .residents import residents
from .session_logs import LOGS_KEPT, remove_old_logs
from .spares import Spares

# A ceiling, not a reservation: Ray takes memory as values arrive and spills to disk beyond this.
# Its own default is 30 % without a ceiling, too much for a guest on a desktop. Where /dev/shm is
# smaller, Ray uses files in its own folder, and its warning goes to the keeper's log only.
_OBJECT_STORE_SHARE = 0.3
_OBJECT_STORE_CEILING = 4 * 2**30  # bytes

logger = logging.getLogger("rayflow_dagster.keeper")

_WATCH_SECONDS = 0.5
_LOCK_SECONDS = 5.0


def main() -> None:
    """Become the keeper of the folder; returns at once where another keeper already lives."""
    arguments = _parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    folder = Folder(arguments.folder)
    with folder.alive.open("a") as alive:
        if not _lock_alive(alive.fileno()):
            logger.info("another keeper is alive; nothing to do")
            return
        if os.fork():  # importing Ray has started no thread yet, so nothing is lost
            os._exit(0)  # the child's copy of the descriptor keeps the lock
        os.setsid()  # away from the starter's terminal, and a process group of its own to kill
        guard = _start_guard()
        leftovers.adopt_orphans()
        try:
            _keep(folder, arguments.num_cpus, arguments.idle_seconds)
        except Exception:
            logger.exception("ending")  # before the lock goes: the starter then reads the log
        finally:
            leftovers.kill_all_but({guard.pid})
            guard.communicate()  # closes its input, so it kills the group and this process


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Own the embedded Ray. Started by the library.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num-cpus", type=int, required=True)
    parser.add_argument("--idle-seconds", type=float, required=True)
    return parser.parse_args()


def _lock_alive(descriptor: int) -> bool:
    # A status query holds the lock for an instant, so one refusal does not mean another keeper.
    deadline = time.monotonic() + _LOCK_SECONDS
    while not embedded.try_lock(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(embedded.POLL_SECONDS)
    return True


def _keep(folder: Folder, num_cpus: int, idle_seconds: float) -> None:
    _remove_old_sessions(folder)
    address = _start_ray(folder, num_cpus)
    leftovers.keep_killing_all_but(leftovers.children())  # what there is now is the head's
    terminated = threading.Event()

    def terminate(_signum: int, _frame: FrameType | None) -> None:
        terminated.set()

    signal.signal(signal.SIGTERM, terminate)  # after ray.init, which sets its own
    running = EmbeddedRay(os.getpid(), address, num_cpus, time.time(), str(folder.path))
    embedded.write_record(folder, running)
    logger.info("Ray is up: %s", running)
    try:
        reason = _watch(folder, terminated, idle_seconds, Spares(num_cpus))
    finally:
        folder.record.unlink(missing_ok=True)
    logger.info("ending: %s", reason)
    _end_ray()


def _start_guard() -> subprocess.Popen[bytes]:
    """A shell that reads from this process until it is gone, then kills the process group.

    Ray's processes never hold the writing end, as Python's descriptors are not inherited.
    """
    return subprocess.Popen(["/bin/sh", "-c", "read -r _; kill -9 0"], stdin=subprocess.PIPE)


def _remove_old_sessions(folder: Folder) -> None:
    """Delete what earlier Rays left; the last one's logs stay until the next start."""
    for session in folder.sessions.glob("session_*"):
        with optional(f"removing {session}, of an earlier Ray,"):
            if session.is_symlink():
                session.unlink()
            else:
                shutil.rmtree(session)


def _start_ray(folder: Folder, num_cpus: int) -> str:
    """Start a Ray of our own, never join one that happens to run; returns its address."""
    store = min(int(_ray.system_memory() * _OBJECT_STORE_SHARE), _OBJECT_STORE_CEILING)
    os.environ.update(_ray.STANDS_ALONE)
    _ray.start_alone(num_cpus, store, folder.sessions, namespace="rayflow-keeper")
    return _ray.gcs_address()


def _watch(folder: Folder, terminated: threading.Event, idle_seconds: float, spares: Spares) -> str:
    """Return, with the reason, when it is time to end."""
    newest = ""
    used = time.monotonic()
    pause = min(_WATCH_SECONDS, idle_seconds / 4)
    while not terminated.wait(pause):
        if dead := _ray.dead_head_processes():
            return f"Ray's {', '.join(dead)} died"
        drivers = _drivers()
        with optional("filling up the idle worker processes"):
            spares.refill(in_use=drivers is None or drivers.live > 0)
        if drivers is None or drivers.live or drivers.newest != newest or _has_residents():
            if drivers is not None and drivers.newest != newest:
                newest = drivers.newest
                with optional("removing old logs"):
                    remove_old_logs(folder.sessions, LOGS_KEPT)
            used = time.monotonic()
        elif time.monotonic() - used >= idle_seconds and _retire(folder):
            return f"no driver and no resident actor for {idle_seconds:g} s"
    return "SIGTERM"


def _retire(folder: Folder) -> bool:
    """Take the record away unless someone is joining just now."""
    with folder.lock.open("a") as file:
        if not embedded.try_lock(file.fileno()) or _in_use():
            return False
        folder.record.unlink(missing_ok=True)
        return True


def _in_use() -> bool:
    drivers = _drivers()
    return drivers is None or drivers.live > 0 or _has_residents()


def _drivers() -> _ray.Drivers | None:
    """Who uses Ray; None when it does not say, as one that is busy. Then it counts as used."""
    with optional("asking Ray for its drivers"):
        return _ray.other_drivers()
    return None


def _has_residents() -> bool:
    """Whether a resident actor lives, or Ray does not say."""
    with optional("asking Ray for its resident actors"):
        return bool(residents())
    return True


def _end_ray() -> None:
    if not _ray.dead_head_processes():  # a polite shutdown would wait for the dead
        ray.shutdown(wait_for_processes=True)


if __name__ == "__main__":
    main()
