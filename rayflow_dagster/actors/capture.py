"""What a node prints: kept for its step, up to a bound."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

MAX_CHARACTERS = 1_000_000


class _Bounded(io.TextIOBase):
    def __init__(self) -> None:
        self._parts: list[str] = []
        self._left = MAX_CHARACTERS

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._left > 0:
            self._parts.append(text[: self._left])
            self._left -= len(text)
            if self._left <= 0:
                self._parts.append(f"\n[output past {MAX_CHARACTERS:,} characters is left out]\n")
        return len(text)

    def text(self) -> str:
        return "".join(self._parts)


class Captured:
    """Standard output and error of one node."""

    def __init__(self) -> None:
        self.out, self.err = _Bounded(), _Bounded()

    def texts(self) -> tuple[str, str]:
        return self.out.text(), self.err.text()


@contextmanager
def captured_output() -> Iterator[Captured]:
    """Keep what is printed inside the block.

    A worker runs one node at a time, so what the process prints meanwhile is the node's.
    """
    captured = Captured()
    with redirect_stdout(captured.out), redirect_stderr(captured.err):
        yield captured
