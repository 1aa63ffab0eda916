"""One thread that does what it is told, in order."""

import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

Work = Callable[[], object]

CLOSE_SECONDS = 10.0
PAUSE_SECONDS = 0.5


class Hand:
    """Does work on a thread of its own, one piece after the other.

    The thread starts with the first piece and ends with ``close``. It is a daemon: a hand that
    nobody closed does not keep the process alive. Whenever it had nothing to do for half a second
    it does ``meanwhile``, if it is set before the first piece of work.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.meanwhile: Work | None = None
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def do(self, work: Work) -> bool:
        """Have ``work`` done soon; what it raises is logged. False if the hand is closed."""
        with self._lock:
            if self._closed:
                return False
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
                self._thread.start()
            self._work.put(work)
            return True

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self, last: Work, *, wait: bool = True) -> None:
        """Do ``last`` after what is asked for already, and end. Waits, but not for ever."""
        with self._lock:
            first_time, self._closed = not self._closed, True
            thread = self._thread
            if first_time:
                self._work.put(last)
                self._work.put(None)
        if thread is None:
            if first_time:
                self._loop()
        elif wait and thread is not threading.current_thread():
            thread.join(CLOSE_SECONDS)

    def _loop(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception:  # a fault of ours: the next piece must still be done
                logging.getLogger(__name__).exception("work on thread %s failed", self._name)

    def _next(self) -> Work | None:
        if self.meanwhile is None:
            return self._work.get()
        try:
            return self._work.get(timeout=PAUSE_SECONDS)
        except Empty:
            return self.meanwhile
