"""What nodes print: kept for the step of each, up to a bound, though several run at once."""

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

MAX_CHARACTERS = 1_000_000


class _Bounded:
    def __init__(self) -> None:
        self._parts: list[str] = []
        self._left = MAX_CHARACTERS

    def write(self, text: str) -> None:
        if self._left > 0:
            self._parts.append(text[: self._left])
            self._left -= len(text)
            if self._left <= 0:
                self._parts.append(f"\n[output past {MAX_CHARACTERS:,} characters is left out]\n")

    def text(self) -> str:
        return "".join(self._parts)


class Captured:
    """Standard output and error of one node."""

    def __init__(self) -> None:
        self.out, self.err = _Bounded(), _Bounded()

    def texts(self) -> tuple[str, str]:
        return self.out.text(), self.err.text()


_mine: ContextVar[Captured | None] = ContextVar("rayflow_captured", default=None)
_running: list[Captured] = []
_before: list[tuple[TextIO, TextIO]] = []
_guard = threading.Lock()


class _Router(io.TextIOBase):
    """Stands as ``sys.stdout`` or ``sys.stderr``: sends a text to the node that printed it.

    A thread that a node started knows no node; what it prints belongs to the one that runs, if
    no other does, and otherwise to the process.
    """

    def __init__(self, original: TextIO, *, error: bool) -> None:
        self._original = original
        self._error = error

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        captured = _mine.get() or _only_one()
        if captured is None:
            return self._original.write(text)
        (captured.err if self._error else captured.out).write(text)
        return len(text)


def _only_one() -> Captured | None:
    return _running[0] if len(_running) == 1 else None


@contextmanager
def captured_output() -> Iterator[Captured]:
    """Keep what this node prints inside the block; blocks may overlap, in tasks or threads."""
    captured = Captured()
    with _guard:
        if not _running:
            _before.append((sys.stdout, sys.stderr))
            sys.stdout = _Router(sys.stdout, error=False)
            sys.stderr = _Router(sys.stderr, error=True)
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
