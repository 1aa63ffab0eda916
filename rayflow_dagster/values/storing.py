"""How a value is stored: as a pickle, beside it what is large in it, each such part once in a run.

A large part is named by its content. So a node that hands an array on, puts it into a dict or adds
a column to a frame stores no more than what is new, and neither does a RETURN.
"""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import cloudpickle

from .stored import join, read_bytes, run_folder, store_bytes, stored_exists

PART_BYTES = 1_000_000
"""From this size on something is a part: below it, a second file costs more than it saves."""
PARTS = "parts"
"""The folder of a run's parts, beside the one of its steps."""


def store_value(folder: str | Path, name: str, value: Any) -> str:
    """Write ``value`` as ``folder/name.pkl`` and return that path or URL, for ``StoredValue``.

    It appears whole or not at all. ``folder`` is a step's, a path or an fsspec URL. Arrays come
    back as from Ray's object store, which is read-only.

    Raises:
        OSError: the disk is full or not writable; no unfinished file is left behind.
    """
    parts = join(run_folder(str(folder)), PARTS)
    return store_bytes(join(str(folder), f"{name}.pkl"), _content(value, parts))


def joined(whole: bytes | str, buffers: bytes | str) -> Any:
    """The value of a pickle and of its pickled buffers; a text is the location of a part. Stored
    pickles name this function.

    Raises:
        OSError: a part is gone.
    """
    return pickle.loads(_opened(whole), buffers=map(_opened, pickle.loads(_opened(buffers))))


class _Split:
    """What unpickles as ``joined(*pieces)``."""

    def __init__(self, *pieces: pickle.PickleBuffer | str) -> None:
        self._pieces = pieces

    def __reduce__(self) -> tuple[Any, ...]:
        return joined, self._pieces


def _content(value: Any, parts: str) -> bytes:
    """The pickle of ``value``, whose large parts are stored in the folder ``parts``."""
    buffers: list[pickle.PickleBuffer] = []
    whole = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    if not buffers and len(whole) < PART_BYTES:
        return bytes(whole)
    # Apart from the rest, which is pickled in another way when it was unpickled once.
    apart = pickle.dumps([_piece(buffer.raw(), parts) for buffer in buffers], protocol=5)
    return pickle.dumps(_Split(_piece(whole, parts), _piece(apart, parts)), protocol=5)


def _piece(content: bytes | memoryview, parts: str) -> pickle.PickleBuffer | str:
    """The bytes themselves, or the location of a part that has them."""
    view = memoryview(content)
    if view.nbytes < PART_BYTES:
        return pickle.PickleBuffer(view.toreadonly())
    # Of what Python has, the processor itself knows this one: no other is as fast.
    location = join(parts, hashlib.sha256(view).hexdigest())
    return location if stored_exists(location) else store_bytes(location, view)


def _opened(piece: bytes | str) -> bytes:
    return read_bytes(piece) if isinstance(piece, str) else piece
