"""Values at rest: which travel inline, where the others are stored and found again, and what comes
out of all of it as it went in.

A small plain value (JSON, up to ``INLINE_BYTES``) costs no object and no file: it goes from
process to process inside the messages that are sent anyway. Any other value is an object of its
own, and where a run is durable its actor writes it to a file or, by fsspec, to any place that a
URL names.
"""

import logging
import math
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import cloudpickle

from rayflow_dagster.errors import StorageError, describe
from rayflow_dagster.secrets.references import layers

_log = logging.getLogger("rayflow_dagster")

INLINE_BYTES = 2048
"""Above this size a value is an object of its own. Counted roughly: a character is a byte."""
_OVERHEAD = 8
_PLAIN = frozenset({type(None), bool, int, float, str})
MAX_DIGITS = 300
_MAX_INTEGER = 10**MAX_DIGITS
_FOLDER = "rayflow"
_LOCAL = ("file://", "local://")
# Ray writes these by msgpack, which makes bytes of every bytearray in them.
_BOXED = frozenset({list, dict, bytearray})


def is_inline(value: Any) -> bool:
    """Whether ``value`` is plain JSON and small, so that it equals what its JSON text gives."""
    return _rest(value, INLINE_BYTES) >= 0


def _rest(value: Any, budget: int) -> int:
    """What is left of ``budget`` bytes after ``value``; negative if it does not fit, or at all."""
    kind = type(value)
    if kind in _PLAIN:
        return budget - _OVERHEAD - _size(value)
    if kind is list:
        return _rest_of_items(value, budget - _OVERHEAD)
    if kind is dict and all(type(key) is str for key in value):
        keys = sum(map(len, value))
        return _rest_of_items(value.values(), budget - _OVERHEAD - keys)
    return -1


def _size(value: Any) -> int:
    if type(value) is str:
        return len(value)
    if type(value) is float and not math.isfinite(value):
        return INLINE_BYTES  # JSON has no word for it
    return value.bit_length() // 3 if type(value) is int else 0  # digits, nearly


def _rest_of_items(items: Iterable[Any], budget: int) -> int:
    for item in items:
        if budget < 0:
            break
        budget = _rest(item, budget)
    return budget


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value in a file, opened only where it is used. ``path`` is a path or an fsspec URL."""

    path: str

    def load(self) -> Any:
        """The value.

        Raises:
            OSError: the file is gone.
        """
        with _open(self.path) as file:
            return cloudpickle.load(file)


@dataclass(frozen=True, slots=True)
class Boxed:
    """A value on its way through Ray's object store, which pickles it whole."""

    value: Any

    def load(self) -> Any:
        return self.value


def boxed(value: Any) -> Any:
    """``value`` as Ray gives it back unchanged: ``opened`` takes it out."""
    return Boxed(value) if type(value) in _BOXED else value


def opened(value: Any) -> Any:
    """The value itself, of one that was stored or boxed.

    Raises:
        OSError: the file of a stored one is gone.
    """
    return value.load() if isinstance(value, StoredValue | Boxed) else value


def travel_problem(value: Any) -> str | None:
    """Why ``value`` would arrive as something else in another process; None if it would not."""
    if type(value) is memoryview or any(memoryview in kinds for _, kinds in layers(value)):
        return (
            "has a memoryview, which shows the memory of another object and cannot go to another "
            "process; give bytes(view)"
        )
    return None


def number_problem(value: Any) -> str | None:
    """Why the number ``value`` comes in by no way, be it a flow's file, an input or a variable:
    texts have no word for it, or other programs have no room. None if it does, or is no number.
    """
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {value}, which is not a JSON value"
    too_long = isinstance(value, int) and abs(value) >= _MAX_INTEGER
    return f"is a number of more than {MAX_DIGITS} digits" if too_long else None


def numbers_problem(value: Any) -> str | None:
    """The first ``number_problem`` of ``value`` or of what is in its containers."""
    inside = chain.from_iterable(chain.from_iterable(parts) for parts, _ in layers(value))
    return next(filter(None, map(number_problem, chain([value], inside))), None)


def store_bytes(location: str, content: bytes | memoryview) -> str:
    """Write ``content`` to a path or URL, whole or not at all, and return it.

    Raises:
        OSError: the disk is full or not writable; nothing is left behind.
    """
    if not is_url(location):
        return str(write_whole(Path(location), content))
    # In one piece: an object store would show what a broken-off upload had written.
    filesystem, path = file_system(location)
    filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
    filesystem.pipe_file(path, bytes(content))
    return location


def read_bytes(location: str) -> bytes:
    """What ``store_bytes`` wrote.

    Raises:
        OSError: the file is gone.
    """
    with _open(location) as file:
        return file.read()


def remove_stored(location: str) -> None:
    """Delete what nobody needs any more. A file that cannot be deleted stays, which is logged."""
    try:
        if is_url(location):
            filesystem, path = file_system(location)
            filesystem.rm_file(path)
        else:
            Path(location).unlink(missing_ok=True)
    except Exception as error:  # of a file system's own class; the run goes on
        _log.warning("%s cannot be deleted: %s", location, describe(error))


def stored_exists(location: str) -> bool:
    """Whether a value was stored at this path or URL."""
    if not is_url(location):
        return os.path.isfile(location)
    filesystem, path = file_system(location)
    return bool(filesystem.exists(path))


def file_system(location: str) -> tuple[Any, str]:
    """Fsspec's file system of a path or URL, and the path in it.

    Raises:
        ValueError, ImportError: its protocol is unknown, or a package is missing.
    """
    import fsspec  # few values have URLs, and every worker would import it when it starts

    found: tuple[Any, str] = fsspec.core.url_to_fs(location)
    return found


def protocol_problem(location: str) -> str | None:
    """Why fsspec cannot open a URL in this process; None if it can, or for a path."""
    if not is_url(location):
        return None
    import fsspec  # as above

    try:
        fsspec.get_filesystem_class(location.partition("://")[0])
    except (ValueError, ImportError) as error:
        return f"{location} cannot be opened: {error}"
    return None


def is_url(location: str) -> bool:
    """Whether a location is an fsspec URL rather than a path; ``file://`` is spelled as a path."""
    return "://" in location


def check_location(location: str) -> None:
    """Refuse a URL that nothing can be stored at.

    Raises:
        StorageError: its protocol is unknown, a package is missing, or it is the memory of one
            process.
    """
    if not is_url(location):
        return
    if location.startswith("memory://"):
        raise StorageError(f"{location} is the memory of one process, where no other finds a value")
    try:
        file_system(location)
    except (ValueError, ImportError) as error:
        raise StorageError(f"values cannot be stored at {location}: {error}") from None


def make_folder(location: str) -> None:
    """Make a folder that values are stored under; at a URL none is needed.

    Raises:
        StorageError: it cannot be made.
    """
    if is_url(location):
        return
    try:
        os.makedirs(location, exist_ok=True)
    except OSError as error:
        raise StorageError(f"values cannot be stored at {location}: {error}") from None


def run_folder(step_folder: str) -> str:
    """The run's folder or URL, of that of one of its steps (``<run>/steps/<step>``)."""
    return os.path.dirname(os.path.dirname(step_folder))


def check_seen(folder: str) -> None:
    """Refuse to store what a step gives where nobody would find it: the folder of its run is what
    the run's process made, on every machine that sees the same storage.

    Raises:
        OSError: this machine does not see it.
    """
    run = run_folder(folder)
    if not is_url(folder) and not os.path.isdir(run):
        raise OSError(
            f"machine {socket.gethostname()} does not see {run}, which the run's process made; "
            "every machine of the cluster must reach the place, so it is a folder that they share "
            'or a URL such as s3://bucket/folder; with "durable": false nothing is stored'
        )


def our_folder(storage: str | Path) -> Path:
    """What is ours in the storage folder of a Dagster instance."""
    return Path(storage) / _FOLDER


def our_folder_at(home: Path) -> Path:
    """The same, where ``home`` is ``DAGSTER_HOME`` and names no other storage folder."""
    return our_folder(home / "storage")


def local_or_url(location: str) -> str:
    """``location`` without ``file://``, so that only what is elsewhere is a URL, and with the
    user's home for ``~``.
    """
    for prefix in _LOCAL:
        location = location.removeprefix(prefix)
    return location if is_url(location) else os.path.expanduser(location)


def join(folder: str, name: str) -> str:
    """``folder/name`` for paths and URLs alike."""
    return f"{folder.rstrip('/')}/{name}"


def write_whole(path: Path, content: bytes | memoryview, *, for_users: bool = False) -> Path:
    """Write a file under another name and rename it: a full disk leaves no partial file.

    ``for_users``: it is on the disk when this returns, with the permissions of the file that it
    replaces, or those of any new file. Without it, only the user who runs this reads it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Its beginning tells what it was, should it be left behind; the whole name may be too long.
    unfinished = path.with_name(f".{path.name[:40]}.{uuid4().hex}")
    try:
        with open(unfinished, "xb", opener=None if for_users else _private) as file:
            file.write(content)
            if for_users:
                file.flush()
                os.fsync(file.fileno())
        if for_users and path.exists():
            unfinished.chmod(path.stat().st_mode & 0o777)
        unfinished.replace(path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say where
        raise
    return path


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _open(location: str) -> IO[bytes]:
    if is_url(location):
        filesystem, path = file_system(location)
        opened: IO[bytes] = filesystem.open(path, "rb")
        return opened
    return open(location, "rb")
