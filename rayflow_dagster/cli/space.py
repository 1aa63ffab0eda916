"""What stored values take: the folder that has a folder per run in, bytes and a warning out."""

import os
import re
from pathlib import Path

RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The name of a run's folder."""
MUCH = 5_000_000_000
"""From so many bytes on, whoever starts ``dev`` is told."""


def much_stored(root: Path) -> str | None:
    """What to say of the values that runs have stored below ``root``; None if they are not much."""
    runs = [folder for folder in _entries(root) if RUN_ID.fullmatch(folder.name)]
    size = sum(_size(Path(folder)) for folder in runs)
    if size < MUCH:
        return None
    return (
        f"stored values of {len(runs)} run{'' if len(runs) == 1 else 's'} take {size_text(size)} "
        f"in {root}; to give space back: rayflow-dagster prune --older-than 30d"
    )


def size_text(size: int) -> str:
    """A number of bytes for people: ``512 bytes``, ``1.2 MB``."""
    if size < 1000:
        return f"{size} byte{'' if size == 1 else 's'}"
    shown = float(size)
    for unit in ("kB", "MB", "GB"):
        shown /= 1000
        if shown < 1000:
            return f"{shown:.1f} {unit}"
    return f"{shown / 1000:.1f} TB"


def _size(folder: Path) -> int:
    """The bytes of all files below it. What goes meanwhile counts nothing."""
    size = 0
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            size += _size(Path(entry))
        else:
            try:
                size += entry.stat(follow_symlinks=False).st_size
            except OSError:  # a run that goes on, or prune, has removed it
                continue
    return size


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # none was made yet, or it is gone
        return []
