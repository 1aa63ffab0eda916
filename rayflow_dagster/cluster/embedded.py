"""The embedded Ray: one private Ray on this machine, found again by later processes.

A keeper process (`keeper.py`) owns it. All of it lives in a folder that only this user may
enter::

    /tmp/rayflow-<uid>/<hash of the venv and the Ray version>/      or $RAYFLOW_RAY_DIR
      lock          held while someone looks for, starts, joins or stops the embedded Ray
      alive         held by the keeper for as long as it lives; the kernel lets go when it dies
      record.json   where Ray listens; written by the keeper once Ray is up, by rename
      token         Ray's access token, mode 0600
      keeper.log    what the last keeper printed
      ray/          Ray's own files and logs; apart, since Ray opens its folder to every user

Liveness is the ``alive`` lock and never the pid: a pid may be reused, belong to a zombie, or
date from before a reboot. A keeper is launched, and a stale record removed, under ``lock`` only.
"""

import fcntl
import hashlib
import json
import os
import secrets
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from rayflow_dagster.errors import ClusterError

FOLDER_VARIABLE = "RAYFLOW_RAY_DIR"

START_SECONDS = 90.0  # a start takes 4-5 s on an idle machine; slow disks and busy ones need more
STOP_SECONDS = 20.0
LOCK_SECONDS = START_SECONDS + STOP_SECONDS  # whoever holds the lock may be starting or stopping
POLL_SECONDS = 0.05

# AF_UNIX paths end at 103 bytes on macOS, 107 on Linux; Ray appends about 65 for its sockets.
_LONGEST_FOLDER = 40
_LOG_TAIL = 15

# What belongs to the process that happens to start Ray and must not reach everyone's Ray.
_NOT_INHERITED = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_JOB_CONFIG_JSON_ENV_VAR")


@dataclass(frozen=True, slots=True)
class EmbeddedRay:
    """A running embedded Ray.

    ``pid`` is its keeper's, ``address`` is ``host:port``, ``num_cpus`` its CPU slots, ``started``
    seconds since 1970, ``folder`` where its files and logs are.
    """

    pid: int
    address: str
    num_cpus: int
    started: float
    folder: str


@dataclass(frozen=True, slots=True)
class Folder:
    """The private folder, whether it exists or not."""

    path: Path

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def alive(self) -> Path:
        return self.path / "alive"

    @property
    def record(self) -> Path:
        return self.path / "record.json"

    @property
    def token(self) -> Path:
        return self.path / "token"

    @property
    def log(self) -> Path:
        return self.path / "keeper.log"

    @property
    def sessions(self) -> Path:
        return self.path / "ray"


def private_folder() -> Folder:
    """The folder of this user, venv and Ray version. Nothing is created."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Folder(Path(chosen).absolute())
    key = f"{sys.prefix} {version('ray')}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:8]
    # Not tempfile.gettempdir(): TMPDIR is too long for sockets on macOS, and differs per process.
    return Folder(Path(f"/tmp/rayflow-{os.getuid()}") / digest)


def status() -> EmbeddedRay | None:
    """The running embedded Ray; None when none runs, whatever an old record says."""
    return _running(private_folder())


def start(num_cpus: int | None, idle_seconds: float) -> EmbeddedRay:
    """Find the embedded Ray or start it; ``num_cpus`` and ``idle_seconds`` count for a start only.

    Raises ClusterError when it does not come up.
    """
    with locked() as folder:
        return find_or_start(folder, num_cpus, idle_seconds)


def stop() -> bool:
    """End the embedded Ray and wait until it is gone; True if one was running.

    Drivers still connected to it are ended by Ray. Raises ClusterError when it does not end.
    """
    if not private_folder().path.exists():
        return False
    with locked() as folder:
        running = _running(folder)
        if running is None:
            return False
        _end(folder, running.pid)
        folder.record.unlink(missing_ok=True)
        return True


@contextmanager
def locked() -> Iterator[Folder]:
    """Hold the private folder's lock; the folder is made, and checked to be private, before."""
    folder = private_folder()
    _make_private(folder)
    with folder.lock.open("a") as file:
        if not _lock_within(file.fileno(), LOCK_SECONDS):
            raise ClusterError(
                f"the embedded Ray in {folder.path} has been locked by another process for "
                f"{LOCK_SECONDS:.0f} s, most likely one that hangs while starting or stopping it; "
                f"`fuser {folder.lock}` names it: end that process and try again"
            )
        yield folder


def find_or_start(folder: Folder, num_cpus: int | None, idle_seconds: float) -> EmbeddedRay:
    """The running embedded Ray, else a new one. The caller holds ``locked()``."""
    launched = False
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        running = _running(folder)
        if running is not None:
            return running
        # Alive without a record: one is coming up or going down, so wait for either.
        if not is_alive(folder):
            if launched:
                raise ClusterError(_failed_start(folder, "its keeper process ended"))
            _launch(folder, num_cpus, idle_seconds)
            launched = True
        time.sleep(POLL_SECONDS)
    raise ClusterError(_failed_start(folder, f"it was not up after {START_SECONDS:.0f} s"))


def is_alive(folder: Folder) -> bool:
    """Whether a keeper lives in the folder, with or without a record."""
    try:
        file = folder.alive.open("r")
    except (FileNotFoundError, NotADirectoryError):
        return False
    with file:
        return not try_lock(file.fileno(), fcntl.LOCK_SH)


def try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Take a lock at once or not at all. It ends with the last copy of the descriptor."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_record(folder: Folder, running: EmbeddedRay) -> None:
    """Announce a Ray that is up. Renamed into place: a reader sees all of it or nothing."""
    partial = folder.path / "record.json.partial"
    partial.write_text(json.dumps(asdict(running)), encoding="utf-8")
    partial.replace(folder.record)


def authentication(folder: Folder) -> dict[str, str]:
    """The environment variables that let a process into the embedded Ray."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder.token)}


def _running(folder: Folder) -> EmbeddedRay | None:
    if not is_alive(folder):
        return None
    try:
        return EmbeddedRay(**json.loads(folder.record.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _lock_within(descriptor: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not try_lock(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _make_private(folder: Folder) -> None:
    """Create the folder and its token, or check that nobody else made or may enter them."""
    if len(os.fsencode(folder.path)) > _LONGEST_FOLDER:
        raise ClusterError(
            f"the folder of the embedded Ray is too long for Ray's sockets: {folder.path}; set "
            f"{FOLDER_VARIABLE} to one of at most {_LONGEST_FOLDER} characters"
        )
    try:
        folder.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ClusterError(
            f"cannot create the folder of the embedded Ray, {folder.path}: {error.strerror}; set "
            f"{FOLDER_VARIABLE} to a folder you may write to"
        ) from error
    _check_private(folder.path)
    _make_token(folder.token)


def _check_private(path: Path) -> None:
    # /tmp is everyone's: whoever owns this folder could read the token and run code as us.
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise ClusterError(
            f"{path} is not a folder of the current user, so the embedded Ray cannot use it; "
            f"remove it or set {FOLDER_VARIABLE} to another folder"
        )
    if facts.st_mode & 0o077:
        raise ClusterError(
            f"other users may enter {path}, which holds the access token of the embedded Ray; "
            f"`chmod 700 {path}` or set {FOLDER_VARIABLE} to another folder"
        )


def _make_token(path: Path) -> None:
    """Write a new token, once per folder. Ray would make its own, readable by everyone."""
    if path.exists():
        return
    partial = path.with_name("token.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    partial.replace(path)


def _launch(folder: Folder, num_cpus: int | None, idle_seconds: float) -> None:
    """Start a keeper; on return it lives, detached from this process, and is starting Ray."""
    folder.record.unlink(missing_ok=True)
    cpus = num_cpus if num_cpus is not None else os.cpu_count() or 1
    arguments = ["--num-cpus", str(cpus), "--idle-seconds", str(idle_seconds)]
    with folder.log.open("wb") as log:
        launched = subprocess.run(
            [sys.executable, "-m", "rayflow_dagster.cluster.keeper", str(folder.path), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_keeper_environment(folder),
            cwd=folder.path,  # the starter's folder may be removed while Ray still runs
            timeout=START_SECONDS,
            check=False,
        )
    if launched.returncode != 0:
        raise ClusterError(_failed_start(folder, f"its keeper ended with {launched.returncode}"))


def _keeper_environment(folder: Folder) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    package_root = str(Path(__file__).parents[2])
    search = [*filter(None, [kept.get("PYTHONPATH")]), package_root]
    return {
        **kept,
        **authentication(folder),
        "PYTHONPATH": os.pathsep.join(search),  # also when the package is not installed
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _failed_start(folder: Folder, reason: str) -> str:
    tail = folder.log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
    printed = "".join(f"\n  {line}" for line in tail) or " nothing"
    return (
        f"the embedded Ray did not start: {reason}. Its log {folder.log} ends with:{printed}\n"
        f"Ray's own logs are in {folder.sessions}/session_latest/logs"
    )


def _end(folder: Folder, pid: int) -> None:
    for signum in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, signum)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if not is_alive(folder):
                return
            time.sleep(POLL_SECONDS)
    raise ClusterError(f"the embedded Ray's keeper, process {pid}, does not end")
