"""Work apart from the thread that drives a run: from a function comes the future of its value."""

import contextvars
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class Apart:
    """Does work on at most ``most`` threads; what is more than that waits its turn.

    The threads end when there is nothing to do. They are daemons: what never ends does not keep
    the process alive.
    """

    def __init__(self, name: str, most: int = 1) -> None:
        self._name = name
        self._most = most
        self._waiting: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._lock = threading.Lock()

    def do(self, work: Callable[[], T]) -> "Future[T]":
        """Have ``work`` done soon; the future has what it returned or raised."""
        future: Future[T] = Future()
        context = contextvars.copy_context()
        with self._lock:
            self._waiting.append(partial(_settle, future, partial(context.run, work)))
            if self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._loop, name=self._name, daemon=True).start()
        return future

    def drop(self) -> None:
        """Forget what has not begun."""
        with self._lock:
            self._waiting.clear()

    def _loop(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                work = self._waiting.popleft()
            work()


def _settle(future: "Future[Any]", work: Callable[[], Any]) -> None:
    try:
        result = work()
    except BaseException as error:  # whoever asks for the result gets it
        future.set_exception(error)
    else:
        future.set_result(result)
