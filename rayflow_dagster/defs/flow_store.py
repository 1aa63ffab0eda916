"""The bytes of loaded flows, kept under their hash for as long as a process may read them.

A code location saves the flows that it loads; its run workers read them here, whatever became of
the files since. Every process that has loaded flows holds a lock on a list of their hashes until
it ends, however it ends, so that ``rayflow-dagster prune`` can tell which are still needed.
"""

import fcntl
import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rayflow_dagster.errors import RayflowError
from rayflow_dagster.values import write_whole

GRACE_SECONDS = 24 * 3600.0
"""How long bytes stay after they were last loaded, though no process holds them: a run worker that
is about to start may be on its way to them."""
_LISTS = "loaded"
_LOCK = ".lock"
_held: dict[Path, int] = {}
"""Store -> this process's locked list. Forked children share the lock; it ends with the last."""


def flow_store() -> Path:
    """Where the bytes of loaded flows are kept under their hash."""
    home = os.environ.get("DAGSTER_HOME")
    if home:
        return Path(home) / "storage" / "rayflow" / "flows"
    return Path(tempfile.gettempdir()) / f"rayflow-{os.getuid()}" / "flows"


def digest_of(content: bytes) -> str:
    """The hash that a flow file's bytes are kept under."""
    return hashlib.sha256(content).hexdigest()


def save_flows(contents: Iterable[bytes]) -> list[str]:
    """Keep the bytes of flow files for as long as this process lives; returns their hashes."""
    found = {digest_of(content): content for content in contents}
    store = flow_store()
    with _locked(store):
        _hold(store, found)
        for digest, content in found.items():
            file = _file(store, digest)
            if file.is_file():
                os.utime(file)
            else:
                write_whole(file, content)
    return list(found)


def saved_flows(digests: Collection[str]) -> list[bytes]:
    """The bytes under these hashes; they stay as long as this process lives.

    Raises:
        RayflowError: they are not there any more.
    """
    store = flow_store()
    with _locked(store):
        _hold(store, digests)
        return [_read(_file(store, digest)) for digest in digests]


def unused_flows(current: Collection[str]) -> list[Path]:
    """The saved bytes that no living process has loaded, and that are none of ``current``.

    A process on another machine counts where the file system has locks. Where none ever left a
    list, nothing is known of who reads the bytes, and all of them count as used.
    """
    store = flow_store()
    if not (store / _LISTS).is_dir():
        return []
    with _locked(store, alone=True):
        return _unused(store, current)


def remove_unused_flows(current: Collection[str]) -> list[Path]:
    """Remove what ``unused_flows`` names, and the lists of processes that have ended."""
    store = flow_store()
    if not (store / _LISTS).is_dir():
        return []
    with _locked(store, alone=True):
        files = _unused(store, current)
        for file in files:
            file.unlink(missing_ok=True)
        for path in _lists(store):
            if not _is_held(path):
                path.unlink(missing_ok=True)
        return files


def _unused(store: Path, current: Collection[str]) -> list[Path]:
    used = set(current)
    for path in _lists(store):
        if _is_held(path):
            used.update(path.read_text(encoding="ascii").split())
    long_ago = time.time() - GRACE_SECONDS
    return [
        file
        for file in sorted(store.glob("*.json"))
        if file.stem not in used and file.stat().st_mtime < long_ago
    ]


def _file(store: Path, digest: str) -> Path:
    return store / f"{digest}.json"


def _read(file: Path) -> bytes:
    try:
        content = file.read_bytes()
        os.utime(file)
    except OSError:
        raise RayflowError(
            f"the flow that this run was created from ({file.stem[:8]}) is no longer in "
            f"{file.parent}; reload the code location and launch a new run"
        ) from None
    return content


def _hold(store: Path, digests: Iterable[str]) -> None:
    """Note that this process has loaded these flows."""
    if store not in _held:
        folder = store / _LISTS
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{os.getpid()}-{uuid.uuid4().hex}"
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with suppress(OSError):  # a file system without locks: then every list counts as held
            fcntl.flock(handle, fcntl.LOCK_SH)
        _held[store] = handle
    os.write(_held[store], "".join(f"{digest}\n" for digest in digests).encode("ascii"))


def _lists(store: Path) -> list[Path]:
    return sorted((store / _LISTS).iterdir())


def _is_held(path: Path) -> bool:
    """Whether a process that wrote this list lives."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


@contextmanager
def _locked(store: Path, *, alone: bool = False) -> Iterator[None]:
    """Keep those who remove away while flows are loaded; ``alone`` is for them."""
    store.mkdir(parents=True, exist_ok=True)
    with (store / _LOCK).open("a") as file:
        with suppress(OSError):  # a file system without locks: see _is_held
            fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
