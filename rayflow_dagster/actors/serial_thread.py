"""Pieces of work in, each done on one daemon thread, in order.

No ``ThreadPoolExecutor(1)``: the interpreter waits for its thread at the end, for ever where a call
of Ray does not return because the head of the cluster is gone.
"""

import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

Work = Callable[[], object]

CLOSE_SECONDS = 10.0
PAUSE_SECONDS = 0.5


class SerialThread:
    """Does work on a thread of its own, one piece after the other.

    The thread ends with ``close``; one that nobody closed does not keep the process alive. Whenever
    it had nothing to do for half a second it does ``meanwhile``, if it is set before the first
    piece of work.
    """

    def __init__(self, name: str) -> None:
        self.meanwhile: Work | None = None
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def do(self, work: Work) -> bool:
        """Have ``work`` done soon; what it raises is logged. False if the thread is closed."""
        with self._lock:
            if self._closed:
                return False
            self._work.put(work)
            return True

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self, last: Work, *, wait: bool = True) -> None:
        """Do ``last`` after what is asked for already, and end. Waits, but not for ever."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._work.put(last)
                self._work.put(None)
        if wait and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_SECONDS)

    def _loop(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception:  # a fault of ours: the next piece must still be done
                logging.getLogger(__name__).exception("work on %s failed", self._thread.name)
            del work  # what it holds, as the outputs of a node, must not live until the next one

    def _next(self) -> Work | None:
        if self.meanwhile is None:
            return self._work.get()
        try:
            return self._work.get(timeout=PAUSE_SECONDS)
        except Empty:
            return self.meanwhile
