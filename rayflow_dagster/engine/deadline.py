"""A limit on time in; whether it is over, and what then ends and fails, out."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rayflow_dagster.errors import NodeTimeoutError, TimeIsOverError

from .timers import after


class Deadline:
    """A limit that has begun to run.

    Args:
        seconds: how long it is.
        whose: what may take so long, as ``node 'fetch'``.
    """

    def __init__(self, seconds: float, whose: str) -> None:
        self._seconds = seconds
        self._whose = whose
        self._at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._watching: dict[object, Callable[[], None]] = {}
        self._timer = after(seconds)
        self._timer.add_done_callback(self._timer_ended)

    @classmethod
    def of_node(cls, node_id: str, seconds: float | None) -> "Deadline | None":
        """The limit of an attempt of a node, if it has one."""
        return None if seconds is None else cls(seconds, f"node '{node_id}'")

    @property
    def left(self) -> float:
        """The seconds until it is over; not more than 0 once it is."""
        return self._at - time.monotonic()

    @property
    def is_over(self) -> bool:
        return self.left <= 0

    def watch(self, work: Callable[[], None]) -> Callable[[], None]:
        """Have ``work`` done when it is over, on another thread, where it must not wait; what takes
        that back.
        """
        key = object()
        with self._lock:
            self._watching[key] = work
        if self.is_over:  # whoever was told of it may have been told before
            self._tell()
        return lambda: self._forget(key)

    def hold(self, future: "Future[Any]", cut: Callable[[], None]) -> None:
        """Have ``cut`` done when it is over, unless ``future`` is done before."""
        forget = self.watch(cut)
        future.add_done_callback(lambda _: forget())

    def close(self) -> None:
        """Nobody waits for it any more."""
        self._timer.cancel()

    def exceeded(self) -> NodeTimeoutError:
        """What fails with it has taken too long."""
        return NodeTimeoutError(self._whose, self._seconds)

    def cut_off(self) -> TimeIsOverError:
        """What runs in that fails with this."""
        return TimeIsOverError(self._whose, self._seconds)

    def _timer_ended(self, timer: "Future[None]") -> None:
        if not timer.cancelled():
            self._tell()

    def _tell(self) -> None:
        while True:
            with self._lock:
                if not self._watching:
                    return
                work = self._watching.pop(next(iter(self._watching)))
            work()

    def _forget(self, key: object) -> None:
        with self._lock:
            self._watching.pop(key, None)


def nearest(*deadlines: Deadline | None) -> Deadline | None:
    """The one that is over first, of those that there are."""
    return min((each for each in deadlines if each is not None), key=lambda d: d.left, default=None)
