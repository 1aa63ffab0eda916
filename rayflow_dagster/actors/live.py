"""What nodes log and print in, on their workers; told in the run's process while they run, out.

A node that runs for less than a second tells of it with its reply. What is said before is laid down
in the cluster's own store of keys, under the key of the execution: the worker lays down what is new
when nothing lies there, and the run's process takes it away.
"""

import itertools
import pickle
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from rayflow_dagster.cluster import _ray
from rayflow_dagster.engine.heard import FIRST_SECONDS, said_at
from rayflow_dagster.optional import optional
from rayflow_dagster.runner import NodeReply
from rayflow_dagster.types import Hear, HowFar, RunDetails

from .capture import Captured

SEND_SECONDS = 0.5
TAKE_SECONDS = 0.25
_PREFIX = "rayflow-said:"
_ENDS_OF_LINES = ("\n", "\r")


class Position(NamedTuple):
    """How much of what a node says was told: log records, characters printed."""

    logs: int = 0
    stdout: int = 0
    stderr: int = 0

    def behind(self, details: RunDetails) -> RunDetails:
        """What ``details`` have beyond this."""
        rest = RunDetails()
        if logs := details.get("logs", [])[self.logs :]:
            rest["logs"] = logs
        if out := details.get("stdout", "")[self.stdout :]:
            rest["stdout"] = out
        if err := details.get("stderr", "")[self.stderr :]:
            rest["stderr"] = err
        return rest

    def trim(self, details: RunDetails) -> None:
        """Leave only what is beyond this in ``details``."""
        if self == NOTHING:
            return
        rest = self.behind(details)
        details.pop("logs", None)
        details.pop("stdout", None)
        details.pop("stderr", None)
        details.update(rest)

    def beyond(self, details: RunDetails) -> "Position":
        """The position when ``details`` are told as well, which begin here."""
        return Position(
            self.logs + len(details.get("logs", [])),
            self.stdout + len(details.get("stdout", "")),
            self.stderr + len(details.get("stderr", "")),
        )


NOTHING = Position()


@dataclass(slots=True, eq=False)
class Speaking:
    """One execution on a worker. ``key`` is what its caller listens to, b"" where none does;
    ``place`` is where in a body it is; ``seen`` are the lengths of what was printed when last
    looked at.
    """

    key: bytes
    captured: Captured
    reply: NodeReply
    place: tuple[str, str] | None = None
    began: float = field(default_factory=time.monotonic)
    sent: Position = NOTHING
    far_sent: HowFar | None = None
    seen: tuple[int, int] = (0, 0)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def said(self) -> RunDetails:
        """What can be told of what it has said up to now: of secrets nothing, and an unfinished
        line only where it stays as it is.
        """
        so_far = self.captured.so_far()
        if so_far is None:
            return RunDetails()
        mask = self.reply.mask
        details = RunDetails()
        logs = self.reply.details.get("logs")
        if logs:
            details["logs"] = logs[:]
        if "how_far" in self.reply.details:
            details["how_far"] = self.reply.details["how_far"]
        stays, self.seen = self.seen, (len(so_far[0]), len(so_far[1]))
        shown = []
        for text, before in zip(so_far, stays, strict=True):
            end = max(text.rfind(each) for each in _ENDS_OF_LINES) + 1
            if not mask and len(text) == before:
                end = len(text)
            hidden = mask.hide(text[:end])
            # A secret of several lines may be only half in it.
            shown.append(hidden if mask.hide(text).startswith(hidden) else "")
        details["stdout"], details["stderr"] = shown
        return details

    def lay_down_new(self) -> None:
        """Lay down what is new, where what was laid down before is taken."""
        with self.lock:
            said = self.said()
            new, how_far = self.sent.behind(said), said.get("how_far")
            if how_far is not None and how_far is not self.far_sent:
                new["how_far"] = how_far
            if not self.key or not new:
                return
            told = new if self.place is None else said_at(*self.place, new)
            if _ray.lay_down(self.key, pickle.dumps((self.sent, told))):
                self.sent, self.far_sent = self.sent.beyond(new), how_far


class Speech:
    """Sends what the nodes of this process say while they run."""

    def __init__(self) -> None:
        self._speaking: set[Speaking] = set()
        self._thread: threading.Thread | None = None

    @contextmanager
    def of(
        self,
        key: bytes,
        captured: Captured,
        reply: NodeReply,
        place: tuple[str, str] | None = None,
    ) -> Iterator[Speaking]:
        """An execution runs in this block; at its end all is sent that is sent on the way."""
        speaking = Speaking(key, captured, reply, place)
        self._speaking.add(speaking)
        if self._thread is None:
            self._thread = threading.Thread(target=self._send, name="rayflow-live", daemon=True)
            self._thread.start()
        try:
            yield speaking
        finally:
            self._speaking.discard(speaking)
            with speaking.lock:
                speaking.key = b""

    def _send(self) -> None:
        while True:
            time.sleep(SEND_SECONDS)
            long_ago = time.monotonic() - FIRST_SECONDS
            for speaking in list(self._speaking):
                if speaking.began <= long_ago:
                    with optional("telling what a node says while it runs"):
                        speaking.lay_down_new()


@dataclass(slots=True, eq=False)
class _Ear:
    """Who listens to one execution, and how much of it was told."""

    hear: Hear
    began: float = field(default_factory=time.monotonic)
    told: Position = NOTHING


class Listening:
    """Tells what the nodes of one run say while they run. ``job`` is the run's, as Ray names it."""

    def __init__(self, job: str) -> None:
        self._prefix = f"{_PREFIX}{job}:{uuid.uuid4().hex}:".encode()
        self._is_used = False
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._ears: dict[bytes, _Ear] = {}
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def key(self, hear: Hear) -> bytes:
        """The key for an execution that is sent now. What is said in a body lies under keys that
        begin so.
        """
        key = self._prefix + b"%d#" % next(self._numbers)
        self._ears[key] = _Ear(hear)
        if self._thread is None:
            self._thread = threading.Thread(target=self._take, name="rayflow-heard", daemon=True)
            self._thread.start()
        return key

    def rest(self, key: bytes, details: RunDetails) -> None:
        """The execution is over; leave in its details only what was not told yet."""
        with self._lock:
            ear = self._ears.pop(key, None)
        if ear is not None:
            ear.told.trim(details)

    def may_lie(self, key: bytes) -> bool:
        """Whether something may lie there, as the execution has run for a while."""
        ear = self._ears.get(key)
        return ear is not None and time.monotonic() - ear.began >= FIRST_SECONDS

    def take(self, key: bytes) -> None:
        """Tell what lies there. Asks the cluster."""
        with optional("telling what a node said before it ended"):
            for each in _ray.laid_down(key):
                self._take_one(each)

    def drop(self, key: bytes) -> None:
        """Nobody listens to the execution any more."""
        with self._lock:
            self._ears.pop(key, None)

    def close(self) -> None:
        """Nothing is told any more."""
        self._closed.set()
        if self._is_used:
            with optional("forgetting what nodes said"):
                _ray.forget(self._prefix)

    def _take(self) -> None:
        while not self._closed.wait(TAKE_SECONDS):
            long_ago = time.monotonic() - FIRST_SECONDS
            if any(ear.began <= long_ago for ear in list(self._ears.values())):
                with optional("hearing what a node says while it runs"):
                    self._begin()
                    for key in _ray.laid_down(self._prefix):
                        self._take_one(key)

    def _begin(self) -> None:
        """Forget what nobody has taken of runs whose processes have died."""
        if not self._is_used:
            self._is_used = True
            for job in _ray.dead_jobs():
                _ray.forget(f"{_PREFIX}{job}:".encode())

    def _take_one(self, key: bytes) -> None:
        laid = _ray.take(key)
        if laid is None:
            return
        at, said = pickle.loads(laid)
        of_call, end, of_body = key.partition(b"#")
        with self._lock:
            ear = self._ears.get(of_call + end)
            if ear is None:
                return
            if of_body:
                ear.hear(said)
                return
            # What was not known to be laid down is laid down once more.
            known = Position(*(told - begun for told, begun in zip(ear.told, at, strict=True)))
            new = known.behind(said)
            if "how_far" in said:
                new["how_far"] = said["how_far"]
            if min(known) >= 0 and new:
                ear.told = ear.told.beyond(new)
                ear.hear(new)
