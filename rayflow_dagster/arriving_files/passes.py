"""One pass over a folder: every file in it, with size and mtime, or an error; never a part."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from rayflow_dagster.errors import TriggerError
from rayflow_dagster.values.stored import file_system

MARK = 8


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One version of a file.

    ``path``: absolute, or a URL. ``size``: bytes. ``mtime``: seconds since 1970. ``version``:
    changes with mtime or size. ``key``: the run key, the same for the same path and version.
    """

    path: str
    name: str
    size: int
    mtime: float
    version: str
    key: str = field(init=False, compare=False, repr=False)
    mark: bytes = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        text = f"{self.path}\0{self.version}".encode("utf-8", "surrogateescape")
        digest = blake2b(text, digest_size=16).digest()
        object.__setattr__(self, "key", digest.hex())
        object.__setattr__(self, "mark", digest[:MARK])


_MTIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


def local_files(
    folder: str, depth: int | None, hidden: bool, below: str = ""
) -> Iterator[tuple[str, FoundFile]]:
    """The files in a local folder, with their paths relative to it.

    Links to files count as files. With no ``depth``, links to folders are not followed, as they
    may lead in a circle.

    Raises:
        OSError: a folder cannot be read. One that goes away meanwhile is no error, the first is.
    """
    try:
        entries = list(os.scandir(os.path.join(folder, below)))
    except FileNotFoundError:
        if below:
            return
        raise
    for entry in entries:
        if entry.name.startswith(".") and not hidden:
            continue
        name = f"{below}{entry.name}"
        if entry.is_dir(follow_symlinks=depth is not None):
            if depth is None or depth > 1:
                deeper = None if depth is None else depth - 1
                yield from local_files(folder, deeper, hidden, f"{name}/")
            continue
        try:
            told = entry.stat()
        except FileNotFoundError:  # gone meanwhile, or a link to nothing
            continue
        if stat.S_ISREG(told.st_mode):
            version = f"{told.st_mtime_ns}-{told.st_size}"
            yield (
                name,
                FoundFile(entry.path, entry.name, told.st_size, told.st_mtime, version),
            )


def url_files(url: str, depth: int | None, hidden: bool) -> Iterator[tuple[str, FoundFile]]:
    """The files at a URL, with their paths relative to it.

    A URL with nothing below it is empty: an object store has no empty folders. Credentials are
    those that fsspec's own configuration and the environment give.

    Raises:
        Exception: whatever the filesystem raises.
        TriggerError: it tells no mtimes.
    """
    system, base = file_system(url)
    system.invalidate_cache()  # some keep listings for ever
    base = base.rstrip("/")
    folders = [("", depth)]
    while folders:
        below, left = folders.pop()
        at = f"{base}/{below}".rstrip("/")
        try:
            entries = system.ls(at or base or system.root_marker, detail=True)
        except FileNotFoundError:
            continue
        for entry in entries:
            path = str(entry["name"]).rstrip("/")
            last = path.rpartition("/")[2]
            if path.strip("/") == at.strip("/") or (last.startswith(".") and not hidden):
                continue
            if entry["type"] == "directory":
                if left is None or left > 1:
                    folders.append((f"{below}{last}/", None if left is None else left - 1))
            elif entry["type"] == "file":
                size, mtime = int(entry.get("size") or 0), _mtime(entry, url)
                full = system.unstrip_protocol(path)
                yield f"{below}{last}", FoundFile(full, last, size, mtime, f"{mtime!r}-{size}")


def _mtime(entry: Mapping[str, Any], url: str) -> float:
    for name in _MTIMES:
        told = entry.get(name)
        if isinstance(told, str):
            told = datetime.fromisoformat(told)
        if isinstance(told, datetime):
            return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
        if isinstance(told, int | float):
            return float(told)
    raise TriggerError(f"{url}: its filesystem tells no modification times, a file sensor needs it")
