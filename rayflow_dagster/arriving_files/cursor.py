"""Which files of a listing are new, and the cursor that remembers it.

The cursor has an 8-byte hash of every listed file version that was handed out, not a watermark: a
file that arrives with an old mtime (``mv``, ``rsync -t``) is new all the same. Files that are gone
are forgotten, so that it has ten characters for each file that lies there and was handed out. A
version that is gone and comes back is handed out again under the same key.

With no cursor, every settled file is new: what waits in the folder at the first look is taken. Who
makes keys of runs adds ``begun_of`` the cursor, so that a cleared one starts runs again.

A file with an mtime in the future counts as settled once it has stayed the same for ``settle``
seconds of this machine's time since it was first seen; the cursor has that time.
"""

import base64
import json
from collections.abc import Iterable

from rayflow_dagster.errors import TriggerError

from .passes import MARK, FoundFile


def new_files(
    listing: Iterable[FoundFile],
    cursor: str | None,
    *,
    settle: float,
    now: float,
    most: int | None = None,
    begun: str = "",
) -> tuple[list[FoundFile], str]:
    """The settled files that were not handed out yet, oldest first, and the next cursor.

    Args:
        listing: all files that match, each once.
        cursor: what the last look gave; None or empty at the first.
        settle: seconds since its last change after which a file is complete.
        now: when the listing was begun, in seconds since 1970.
        most: files to hand out; the others come with later looks. None: all.
        begun: what ``begun_of`` the cursors shall tell, if there is none yet.

    Raises:
        TriggerError: the cursor is not one of these.
    """
    seen, ahead, begun = _read(cursor) if cursor else (set(), {}, begun)
    kept: set[bytes] = set()
    waiting: dict[str, float] = {}
    new: list[FoundFile] = []
    for file in listing:
        if file.mark in seen:
            kept.add(file.mark)
            continue
        since = file.mtime
        first = ahead.get(file.key)
        if since > now or first is not None:
            # A clock that was set back must not make the wait longer.
            since = waiting[file.key] = now if first is None else min(first, now)
        if now - since >= settle:
            new.append(file)
    new.sort(key=lambda file: (file.mtime, file.path))
    found = new[:most]
    for file in found:
        kept.add(file.mark)
        waiting.pop(file.key, None)
    return found, _write(kept, waiting, begun)


def begun_of(cursor: str) -> str:
    """What the look that had no cursor was given as ``begun``."""
    return str(json.loads(cursor).get("begun", ""))


def _write(seen: set[bytes], ahead: dict[str, float], begun: str) -> str:
    packed = base64.b85encode(b"".join(sorted(seen))).decode()
    return json.dumps({"seen": packed, "ahead": dict(sorted(ahead.items())), "begun": begun})


def _read(cursor: str) -> tuple[set[bytes], dict[str, float], str]:
    try:
        told = json.loads(cursor)
        packed = base64.b85decode(told["seen"])
        ahead = {str(key): float(since) for key, since in told["ahead"].items()}
        begun = str(told.get("begun", ""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TriggerError(_BROKEN) from error
    if len(packed) % MARK:
        raise TriggerError(_BROKEN)
    return {packed[at : at + MARK] for at in range(0, len(packed), MARK)}, ahead, begun


_BROKEN = (
    "the sensor's cursor is not one of a file sensor; clear it in the UI, and all files that lie "
    "there are looked at anew"
)
