"""Telling watchers of runs about new events, whichever process stored them."""

import os
import threading
import weakref
from collections.abc import Callable

from dagster import EventLogRecord

from rayflow_dagster.optional import optional

from ._dagster import DagsterRunStatus, EventHandlerFn, EventLogConnection, EventLogCursor

POLL_SECONDS = 0.2

_ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)

Read = Callable[[str, str | None], EventLogConnection | None]
"""The events of a run after a cursor; None if the run has no events any more."""
Watch = tuple[str, EventHandlerFn]
"""Run and callback."""


class RunWatcher:
    """Asks for new events of the watched runs, in one thread that lives while there are any.

    Dagster's own watcher waits for changes of ``<run>.db``. A connection that stays open writes to
    ``<run>.db-wal``, and what stands there is seen only by asking SQLite.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._cursors: dict[Watch, str | None] = {}
        self._thread: threading.Thread | None = None
        _live.add(self)

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Call ``callback`` with every event of the run after ``cursor``, until it returns the
        status of an ended run, or ``end`` is called.
        """
        with self._lock:
            self._cursors[run_id, callback] = cursor
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(
                    target=self._poll, args=(self._stop,), name="event-log-watch", daemon=True
                )
                self._thread.start()

    def end(self, run_id: str, callback: EventHandlerFn) -> None:
        with self._lock:
            self._cursors.pop((run_id, callback), None)

    def close(self) -> None:
        """End all watching, and the thread."""
        with self._lock:
            self._cursors.clear()
            thread, self._thread = self._thread, None
            self._stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _poll(self, stop: threading.Event) -> None:
        while True:
            with self._lock:
                if stop.is_set():
                    return
                watches = list(self._cursors.items())
                if not watches:
                    self._thread = None
                    return
            for watch, cursor in watches:
                with optional(f"reading new events of run {watch[0]}"):
                    self._tell(watch, cursor)
            stop.wait(POLL_SECONDS)

    def _tell(self, watch: Watch, cursor: str | None) -> None:
        found = self._read(watch[0], cursor)
        if found is None:
            return
        with self._lock:
            if watch not in self._cursors or self._cursors[watch] != cursor:
                # It was ended meanwhile, or ended and begun elsewhere.
                return
            self._cursors[watch] = found.cursor
        for record in found.records:
            if watch not in self._cursors:
                return
            self._call(watch, record)

    def _call(self, watch: Watch, record: EventLogRecord) -> None:
        run_id, callback = watch
        cursor = EventLogCursor.from_storage_id(record.storage_id).to_string()
        # Handlers return a status or nothing, whatever their type says.
        tell: Callable[..., object] = callback
        status = None
        with optional(f"telling a watcher of run {run_id} of its events"):
            status = tell(record.event_log_entry, cursor)
        if status in _ENDED:
            self.end(run_id, callback)

    def forget(self) -> None:
        """A forked child has neither the thread nor those who watch."""
        self._lock = threading.Lock()
        self._cursors = {}
        self._thread = None


_live: weakref.WeakSet[RunWatcher] = weakref.WeakSet()


def _after_fork() -> None:
    for watcher in list(_live):
        watcher.forget()


os.register_at_fork(after_in_child=_after_fork)
