"""One shard of an event log: its kept connection, and the events that wait for their commit."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection

from ._dagster import EventTable
from .shard_files import FileIdentity, ShardFiles

Row = Mapping[str, Any]
"""The columns of an event."""


class Shard:
    """Used by one thread at a time: whoever calls a method holds ``lock``.

    ``users`` counts those who hold it or wait for it, and is guarded by the keeper of the shards.
    """

    def __init__(self, name: str, files: ShardFiles) -> None:
        self.lock = threading.RLock()
        self.users = 0
        self.failed = False
        """Whether the last attempt to write held events failed."""
        self.is_busy = False
        self._name = name
        self._files = files
        self._held: list[Row] = []
        self._connection: Connection | None = None
        self._opened: FileIdentity | None = None
        self._cursors: list[Any] = []

    @property
    def holds_events(self) -> bool:
        return bool(self._held)

    @property
    def is_needed(self) -> bool:
        """Whether it would be missed."""
        return self._connection is not None or self.holds_events

    def hold(self, row: Row) -> bool:
        """Keep an event for the next write; False if it must be written at once: a shard that
        could not be opened or written to is to say so to whoever stores next.
        """
        if self._connection is None or self.failed:
            return False
        self._held.append(row)
        return True

    def write(self, *last: Row) -> None:
        """Commit the held events and then ``last``, in one transaction.

        If it raises, nothing was written; the held events stay held, ``last`` is the caller's.
        """
        waiting = len(self._held)
        rows = [*self._held, *last]
        if not rows:
            return
        self.failed = True
        connection = self._connect()
        is_committing = False
        try:
            connection.execute(EventTable.insert(), rows)
            is_committing = True
            connection.commit()
            # What SQLAlchemy logged meanwhile may have come in as an event of its own.
            del self._held[:waiting]
        except BaseException as error:
            # Ctrl-C and Terminate may strike between SQLite's commit and the next line.
            interrupted = not isinstance(error, Exception)
            if is_committing and interrupted and not _is_in_transaction(connection):
                del self._held[:waiting]
            self.close()
            raise
        self._close_cursors()
        self.failed = False

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction on the kept connection, after the held events are committed."""
        if self.is_busy:
            raise RuntimeError(f"the event-log shard {self._name!r} is in use by this very thread")
        self.write()
        connection = self._connect()
        self.is_busy = True
        try:
            with connection.begin():
                yield connection
        except BaseException:
            self.close()
            raise
        finally:
            self.is_busy = False
            self._close_cursors()

    def close(self) -> None:
        """Close the connection; the next use opens another. Held events stay held."""
        connection, self._connection = self._connection, None
        self._close_cursors()
        if connection is not None:
            connection.close()

    def forget_events(self) -> None:
        self._held.clear()
        self.failed = False

    def disown(self) -> Connection | None:
        """Give the connection away as it is."""
        connection, self._connection = self._connection, None
        return connection

    def _connect(self) -> Connection:
        identity = self._files.identity(self._name)
        if self._connection is not None and identity == self._opened:
            return self._connection
        # The file was deleted, and perhaps made anew, since we opened it.
        self.close()
        self._connection = self._files.open(self._name)
        self._opened = self._files.identity(self._name)
        event.listen(self._connection.engine, "after_cursor_execute", self._note_cursor)
        return self._connection

    def _note_cursor(self, _connection: Any, cursor: Any, *_: Any) -> None:
        self._cursors.append(cursor)

    def _close_cursors(self) -> None:
        # A cursor that was not read to its end keeps its snapshot of the file, and all that comes
        # after on the same connection would see that one too.
        for cursor in self._cursors:
            cursor.close()
        self._cursors.clear()


def _is_in_transaction(connection: Connection) -> bool:
    raw = connection.connection.dbapi_connection
    return bool(raw is not None and getattr(raw, "in_transaction", False))
