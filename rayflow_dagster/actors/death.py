"""The error of a worker that died in; how its process ended, as far as can be known, out.

Ray tells little of that. What Python and the worker itself have written at the end is in the
worker's log, which can be read where the worker ran on this machine.
"""

import faulthandler
import math
import os
import re
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from rayflow_dagster.cluster import _ray
from rayflow_dagster.errors import NodeCrashedError

from .capture import own_descriptors

MAX_DEATH = 600
"""Characters of what Ray says of how a process ended that are passed on."""
_FATAL = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating-point exception": "SIGFPE",
    "Floating point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
}
"""What Python writes of a signal -> the signal."""
_PID = re.compile(r"^\s*pid: (\d+)$", re.MULTILINE)
_CODE = re.compile(r"exits with an exit code (-?\d+)")
_FRAME = re.compile(r'^  File "([^"\n]+)", line (\d+) in \S+$', re.MULTILINE)
BLOCKED_SECONDS = 1.0
"""How long beyond the limit of a node its event loop may be busy."""
_LATE = "Timeout ("
"""What Python writes first where a process was ended for that."""
_CURRENT = "Current thread "
_PACKAGE = Path(__file__).parents[1]
_NODES = f"{_PACKAGE}/nodes/"
_NOT_AUTHORS = (
    *(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")),
    f"{_PACKAGE}/",
)
_LONGEST_SECONDS = 1e6
"""Python's timer takes none that is much longer."""
_VANISHED = "connection error code 2"
"""What Ray says where the process was gone without a word."""


class LoopAlarm:
    """Ends this process where a node blocks its event loop beyond a limit, as nothing else can. The
    one timer that Python has for it needs no lock that the node may hold.
    """

    def __init__(self) -> None:
        self._due: dict[object, float] = {}

    @contextmanager
    def set(self, seconds: float) -> Iterator[None]:
        """The block is over in so many seconds, or its loop is blocked."""
        key = object()
        self._due[key] = time.monotonic() + seconds
        self._arm()
        try:
            yield
        finally:
            del self._due[key]
            self._arm()

    def _arm(self) -> None:
        first = min(self._due.values(), default=math.inf)
        left = first - time.monotonic() + BLOCKED_SECONDS
        if left < _LONGEST_SECONDS:
            faulthandler.dump_traceback_later(max(left, 0.01), exit=True, file=own_descriptors()[1])
        else:
            faulthandler.cancel_dump_traceback_later()


def note_exits() -> None:
    """Have this process write down its exit code where it ends itself at once, and where its
    threads were where a signal ends it: in its own log, whatever its descriptors stand for.
    """
    end = os._exit
    _, errors = own_descriptors()
    faulthandler.enable(errors)

    def noted(status: int) -> NoReturn:
        with suppress(OSError):  # the node may have closed it
            os.write(errors, f"\n{_note(os.getpid())}{status}\n".encode())
        end(status)

    os._exit = noted


def _note(pid: int) -> str:
    return f"rayflow: process {pid} ended itself with code "


def crash(error: BaseException) -> NodeCrashedError:
    """What to say of the death of an actor, of Ray's error."""
    told = str(error)
    if getattr(error, "actor_init_failed", False):
        return NodeCrashedError(f"its actor could not start: {told}")
    if "running low on memory" in told:
        return NodeCrashedError("Ray ended its process, as the machine was running out of memory")
    found = _PID.search(told)
    pid = int(found[1]) if found else 0
    written = _ray.last_written_by(pid) if found else None
    return (_ended_itself(pid, written or "", told)
            or _crashed(written or "")
            or _blocked(written or "")
            or _killed(written, told)
            or NodeCrashedError(_as_ray_says(told)))  # fmt: skip


def _ended_itself(pid: int, written: str, told: str) -> NodeCrashedError | None:
    _, note, after = written.rpartition(_note(pid))
    code = re.match(r"-?\d+", after) if note else _CODE.search(told)
    if code is None:
        return None
    if not note and "SIGTERM" in told:
        return NodeCrashedError("its process was ended by SIGTERM", signal="SIGTERM")
    number = int(code[0] if note else code[1])
    return NodeCrashedError(
        f"its process ended itself with code {number}, as os._exit({number}) does", code=number
    )


def _crashed(written: str) -> NodeCrashedError | None:
    _, fatal, after = written.rpartition("Fatal Python error: ")
    words = next((words for words in _FATAL if after.startswith(words)), None)
    if not fatal or words is None:
        return None
    signal, where = _FATAL[words], _line_at_work(after)
    where = where and f", in native code below {where}"
    return NodeCrashedError(f"its process crashed with {signal} ({words}){where}", signal=signal)


def _blocked(written: str) -> NodeCrashedError | None:
    _, late, after = written.rpartition(_LATE)
    if not late:
        return None
    where = _line_at_work(after)
    return NodeCrashedError(
        "another node blocked the event loop that all async nodes share, beyond its timeout, and "
        f"had to be ended with it{where and f' (at {where})'}"
    )


def _line_at_work(traces: str) -> str:
    """The first line in what Python writes of its threads that is an author's, in the thread that
    crashed if Python tells which; "" without one.
    """
    others, _, crashed = traces.partition(_CURRENT)
    frames = _FRAME.findall(crashed + others)
    return next((f"{file}, line {line}" for file, line in frames if _is_authors(file)), "")


def _is_authors(file: str) -> bool:
    return file.startswith(_NODES) or not file.startswith(_NOT_AUTHORS)


def _killed(written: str | None, told: str) -> NodeCrashedError | None:
    if written is None or _VANISHED not in told:
        return None
    text = "its process was killed (SIGKILL), as the system does where memory runs out"
    return NodeCrashedError(text, signal="SIGKILL")


def _as_ray_says(told: str) -> str:
    # Ray's own text tells of actor ids and namespaces; how the process ended is what helps.
    lines = [line.strip() for line in told.splitlines() if "exit" in line.lower()]
    text = "its actor died while it ran (killed, out of memory, or a crash in native code)"
    return f"{text}: {_whole_sentences(' '.join(lines))}" if lines else text


def _whole_sentences(text: str) -> str:
    """The first sentences of a text, as many as fit in ``MAX_DEATH`` characters, and no full stop
    behind the last.
    """
    if len(text) <= MAX_DEATH:
        return text.removesuffix(".")
    sentences = text[:MAX_DEATH].rpartition(". ")[0]
    return sentences or f"{text[:MAX_DEATH]}..."
