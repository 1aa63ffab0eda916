"""Seconds in, a future that is done after them out: one thread for all that wait in a process."""

import heapq
import itertools
import os
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache

ROOM = 1000
"""Futures that may wait before those are looked for that were cancelled."""


class _Timers:
    """The futures that wait, and the thread that completes them while there are any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, Future[None]]] = []
        self._numbers = itertools.count()
        self._is_at_work = False
        self._room = ROOM

    def after(self, seconds: float) -> "Future[None]":
        future: Future[None] = Future()
        with self._changed:
            due = time.monotonic() + seconds
            if len(self._waiting) >= self._room:
                self._forget_cancelled()
            heapq.heappush(self._waiting, (due, next(self._numbers), future))
            if not self._is_at_work:
                self._is_at_work = True
                threading.Thread(target=self._work, name="rayflow-timers", daemon=True).start()
            self._changed.notify()
        return future

    def _forget_cancelled(self) -> None:
        """Those are still here whose time is far off: most limits are never reached."""
        self._waiting = [each for each in self._waiting if not each[2].cancelled()]
        heapq.heapify(self._waiting)
        self._room = max(ROOM, 2 * len(self._waiting))

    def _work(self) -> None:
        while (future := self._next()) is not None:
            with suppress(Exception):  # cancelled a moment ago
                future.set_result(None)

    def _next(self) -> "Future[None] | None":
        """The next future, when its time has come; None when none waits any more."""
        with self._changed:
            while self._waiting:
                due, _, future = self._waiting[0]
                seconds = due - time.monotonic()
                if seconds <= 0 or future.cancelled():
                    heapq.heappop(self._waiting)
                    return future
                self._changed.wait(min(seconds, threading.TIMEOUT_MAX))
            self._is_at_work = False
            return None


@lru_cache(maxsize=1)
def _timers(_: int) -> _Timers:
    """Those of a process, by its id: a fork has no thread of its parent."""
    return _Timers()


def after(seconds: float) -> "Future[None]":
    """A future that is done after ``seconds``; cancel it where it is wanted no longer."""
    return _timers(os.getpid()).after(seconds)
