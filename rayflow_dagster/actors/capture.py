"""What nodes print: kept for the step of each, up to a bound, though several run at once.

A node's streams are text streams over files, so that whatever takes a stream or its descriptor
works: ``sys.stdout.buffer``, ``fileno()``, the standard output of a process that it starts. Of a
node that has a process for itself, descriptors 1 and 2 are those files too, so that what native
code and processes print by themselves is kept as well.
"""

import fcntl
import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TextIO

MAX_BYTES = 1_000_000
_LARGEST = 2 * MAX_BYTES
"""Bytes in a file of what is printed past ``sys.stdout`` before it is cut, now and then."""
_LEFT_OUT = f"\n[output past {MAX_BYTES:,} bytes is left out]\n"


class _Bounded(io.FileIO):
    """Takes anything and keeps its beginning; a full disk loses a text and fails nobody."""

    def write(self, data: Any, /) -> int:
        printed = memoryview(data).cast("B")
        with suppress(OSError):
            size = os.fstat(self.fileno()).st_size
            super().write(printed[: max(0, MAX_BYTES + 1 - size)])
        return printed.nbytes


class _Text(io.TextIOWrapper):
    """Remembers that it was reconfigured."""

    is_as_made = True

    def reconfigure(self, **options: Any) -> None:
        self.is_as_made = False
        super().reconfigure(**options)


class _Stream:
    """A text stream over a file of its own, for one execution after the other."""

    def __init__(self) -> None:
        self._kept, name = tempfile.mkstemp(prefix="rayflow-printed-")
        os.unlink(name)
        fcntl.fcntl(self._kept, fcntl.F_SETFL, os.O_APPEND)  # it may be cut meanwhile
        # Nodes may close what they are given; its text is then still here.
        self._lent = os.dup(self._kept)
        raw = io.BufferedWriter(_Bounded(self._lent, "w", closefd=False))
        self.text = _Text(raw)
        self._reset()

    def _reset(self) -> None:
        os.ftruncate(self._kept, 0)
        self.text.reconfigure(
            encoding="utf-8", errors="backslashreplace", newline="", line_buffering=True
        )
        self.text.is_as_made = True

    def taken(self) -> str:
        """What was printed since the last call."""
        with suppress(ValueError, OSError):  # the node has closed or detached it
            self.text.flush()
        printed = os.pread(self._kept, MAX_BYTES + 1, 0)
        return _decoded(printed) + (_LEFT_OUT if len(printed) > MAX_BYTES else "")

    def so_far(self) -> str:
        """What was printed up to now, as far as it is written; what is too much is cut off."""
        if os.fstat(self._kept).st_size > _LARGEST:
            os.ftruncate(self._kept, MAX_BYTES + 1)
        return _decoded(os.pread(self._kept, MAX_BYTES, 0))

    def stand_for(self, descriptor: int) -> None:
        """Have what is written to a descriptor of this process come here."""
        os.dup2(self._kept, descriptor)

    def is_good(self) -> bool:
        """Whether the next execution can have it, emptied; else its descriptors are closed."""
        with suppress(ValueError, OSError):
            if os.path.sameopenfile(self._lent, self._kept):
                if not self.text.is_as_made or os.fstat(self._kept).st_size:
                    self._reset()
                return True
        self._close()
        return False

    def _close(self) -> None:
        with suppress(OSError):  # what the node has closed may be another file by now
            if os.path.sameopenfile(self._lent, self._kept):
                os.close(self._lent)
        os.close(self._kept)


def _decoded(printed: bytes) -> str:
    return printed[:MAX_BYTES].decode("utf-8", "backslashreplace")


class Captured:
    """Standard output and error of one node."""

    def __init__(self, *, strays: bool, descriptors: bool) -> None:
        self.takes_strays = strays
        self._has_descriptors = descriptors
        self._streams = [_spare.pop() if _spare else _Stream() for _ in range(2)]
        self.out, self.err = (stream.text for stream in self._streams)
        self._texts = "", ""
        if descriptors:
            for number, stream in enumerate(self._streams, 1):
                stream.stand_for(number)

    def texts(self) -> tuple[str, str]:
        """(output, error), once the node has run."""
        return self._texts

    def so_far(self) -> tuple[str, str] | None:
        """(output, error) up to now, on any thread; None once the node has run."""
        with _guard:
            if self not in _running:
                return None
            out, err = self._streams
            return out.so_far(), err.so_far()

    def finish(self) -> None:
        """Read what was printed, and leave the streams to the next node."""
        if self._has_descriptors:
            for number, own in enumerate(own_descriptors(), 1):
                os.dup2(own, number)
        out, err = self._streams
        self._texts = out.taken(), err.taken()
        _spare.extend(stream for stream in self._streams if stream.is_good())


_mine: ContextVar[Captured | None] = ContextVar("rayflow_captured", default=None)
_running: list[Captured] = []
_spare: list[_Stream] = []
_before: list[tuple[TextIO, TextIO]] = []
_guard = threading.Lock()


class _Router:
    """Stands as ``sys.stdout`` or ``sys.stderr``: is the stream of the node that asks.

    A thread that a node started knows no node; what it prints belongs to the one that runs, if
    no other does, and otherwise to the process.
    """

    def __init__(self, original: TextIO, name: str) -> None:
        object.__setattr__(self, "_now", lambda: _stream_of(name, original))

    def __getattribute__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_now")(), name)

    def __enter__(self) -> Any:
        return self.__enter__()

    def __exit__(self, *error: object) -> None:
        self.__exit__(*error)


def _stream_of(name: str, original: TextIO) -> TextIO:
    mine = _mine.get()
    if mine not in _running:  # a task of the node may outlive it
        mine = _running[0] if len(_running) == 1 and _running[0].takes_strays else None
    return original if mine is None else getattr(mine, name)


@lru_cache(maxsize=1)
def own_descriptors() -> tuple[int, int]:
    """Where this process itself prints to: copies of its descriptors 1 and 2."""
    return os.dup(1), os.dup(2)


@contextmanager
def captured_output(*, strays: bool = True, descriptors: bool = False) -> Iterator[Captured]:
    """Keep what this node prints inside the block; blocks may overlap, in tasks or threads.

    ``strays``: also what threads print that are in no block, while this is the only one.
    ``descriptors``: also what is written to the descriptors of the process. Such blocks do not
    overlap, and there are ``own_descriptors``.
    """
    with _guard:
        captured = Captured(strays=strays, descriptors=descriptors)
        if not _running:
            _before.append((sys.stdout, sys.stderr))
            out: Any = _Router(sys.stdout, "out")
            err: Any = _Router(sys.stderr, "err")
            sys.stdout, sys.stderr = out, err
        _running.append(captured)
    token = _mine.set(captured)
    try:
        yield captured
    finally:
        _mine.reset(token)
        with _guard:
            _running.remove(captured)
            if not _running:
                sys.stdout, sys.stderr = _before.pop()
            captured.finish()
