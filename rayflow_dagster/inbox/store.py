"""Requests on disk, from before they are accepted until long after their runs are recorded.

One SQLite file, which the endpoint and the code location's sensors open at the same time. A
request is *waiting* until a run of Dagster's carries its id; then it is *taken*, and its inputs,
which the run has, are forgotten. *Refused* and *skipped* requests never get a run.
"""

import fcntl
import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

FOLDER = "inbox"
"""The store's folder, beside the folders of runs."""
FILE = "requests.db"
BUSY_SECONDS = 20.0

State = Literal["waiting", "taken", "refused", "skipped"]
Outcome = Literal["new", "repeated", "key_reused", "full"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    flow TEXT NOT NULL,
    inputs TEXT,
    digest TEXT NOT NULL,
    key TEXT,
    created REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    offers INTEGER NOT NULL DEFAULT 0,
    run_id TEXT,
    reason TEXT,
    UNIQUE (flow, key)
);
CREATE INDEX IF NOT EXISTS by_state ON requests (state, flow, number);
"""


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a request that was to be stored. ``id`` is None where it was not."""

    outcome: Outcome
    id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A request. ``created`` is in seconds since 1970; ``offers``: how often Dagster was asked for
    a run; ``reason``: why it will get none.
    """

    id: str
    flow: str
    created: float
    state: State
    offers: int
    run_id: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A request without a run. ``offers``: how often Dagster was asked for one."""

    id: str
    inputs: dict[str, Any]
    offers: int


class RequestStore:
    """The requests in ``folder``, which is made if it is not there. Safe to share by threads.

    Raises:
        sqlite3.Error: (every method) the file cannot be read or written, or the disk is full; the
            request then is as it was before.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = folder / FILE
        # Inputs are nobody else's business, and SQLite's other files get this one's mode.
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            with (folder / ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the file
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.executescript(_SCHEMA)
            # What is committed survives a power cut.
            self._connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, when no thread is at work in it: SQLite would crash the process."""
        with self._lock:
            self._connection.close()

    def copy_from(self, folder: Path) -> None:
        """Have the requests of the store in ``folder`` instead."""
        with closing(sqlite3.connect(folder / FILE, timeout=BUSY_SECONDS)) as source:
            source.backup(self._connection)

    def add(
        self,
        flow: str,
        inputs: Mapping[str, Any],
        digest: str,
        key: str | None = None,
        most: int | None = None,
    ) -> Added:
        """Store a request; it is on the disk when this returns.

        Args:
            flow: the job's name.
            inputs: a JSON object.
            digest: what tells ``inputs`` from others.
            key: the caller's word for the request; with the same key, the same inputs are the same
                request, and other inputs are refused.
            most: how many requests of the flow may wait.
        """
        with self._transaction() as connection:
            known = self._keyed(connection, flow, digest, key)
            if known is not None:
                return known
            if most is not None and self._count(connection, flow) >= most:
                return Added("full")
            new = str(uuid.uuid4())
            connection.execute(
                "INSERT INTO requests (id, flow, inputs, digest, key, created) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (new, flow, json.dumps(inputs), digest, key, time.time()),
            )
            return Added("new", new)

    def keyed(self, flow: str, digest: str, key: str | None) -> Added | None:
        """What ``add`` would say of the key alone; None if the key is new or there is none."""
        with self._transaction() as connection:
            return self._keyed(connection, flow, digest, key)

    def find(self, request_id: str) -> StoredRequest | None:
        """The request of this id."""
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT id, flow, created, state, offers, run_id, reason FROM requests "
                "WHERE id = ?",
                (request_id,),
            ).fetchone()
        return StoredRequest(*row) if row else None

    def count_waiting(self, flow: str) -> int:
        """How many requests of a flow have no run yet."""
        with self._transaction() as connection:
            return self._count(connection, flow)

    def waiting(self, flow: str, most: int, characters: int) -> list[WaitingRequest]:
        """Requests of a flow without a run: at most ``most``, and no more than have ``characters``
        of inputs together; one at least.

        First those that were never offered, oldest first, and last a single one that was: where a
        request makes a tick fail, those behind it in the tick fail with it.
        """
        query = (
            "SELECT id, inputs, offers FROM requests WHERE state = 'waiting' AND flow = ? "
            "AND {} ORDER BY offers, number LIMIT ?"
        )
        with self._transaction() as connection:
            again = connection.execute(query.format("offers > 0"), (flow, 1)).fetchall()
            new = connection.execute(query.format("offers = 0"), (flow, most - len(again)))
            found: list[WaitingRequest] = []
            for request_id, inputs, offers in (*new, *again):
                characters -= len(inputs)
                if found and characters < 0:
                    break
                found.append(WaitingRequest(request_id, json.loads(inputs), offers))
        return found

    def offered(self, flow: str | None = None) -> list[str]:
        """The waiting requests, of a flow or of all, that Dagster was asked to start."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT id FROM requests WHERE state = 'waiting' AND offers > 0 "
                "AND (:flow IS NULL OR flow = :flow) ORDER BY number",
                {"flow": flow},
            )
            return [request_id for (request_id,) in rows]

    def mark_offered(self, request_ids: Iterable[str]) -> None:
        """Note that Dagster is now asked to start these."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE requests SET offers = offers + 1 WHERE id = ? AND state = 'waiting'",
                [(request_id,) for request_id in request_ids],
            )

    def mark_taken(self, runs: Mapping[str, str]) -> None:
        """Note the runs that there are now: request -> run."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE requests SET state = 'taken', run_id = ?, inputs = NULL WHERE id = ?",
                [(run_id, request_id) for request_id, run_id in runs.items()],
            )

    def end(self, reasons: Mapping[str, str], state: Literal["refused", "skipped"]) -> None:
        """Give up waiting requests: request -> why it will get no run."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE requests SET state = ?, reason = ?, inputs = NULL "
                "WHERE id = ? AND state = 'waiting'",
                [(state, reason, request_id) for request_id, reason in reasons.items()],
            )

    def prune(self, before: float) -> int:
        """Forget requests that are not waiting and were created before a time (seconds since
        1970); says how many.
        """
        with self._transaction() as connection:
            done = connection.execute(
                "DELETE FROM requests WHERE state != 'waiting' AND created < ?", (before,)
            )
            return done.rowcount

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @staticmethod
    def _keyed(
        connection: sqlite3.Connection, flow: str, digest: str, key: str | None
    ) -> Added | None:
        if key is None:
            return None
        row = connection.execute(
            "SELECT id, digest FROM requests WHERE flow = ? AND key = ?", (flow, key)
        ).fetchone()
        if row is None:
            return None
        return Added("repeated", row[0]) if row[1] == digest else Added("key_reused")

    @staticmethod
    def _count(connection: sqlite3.Connection, flow: str) -> int:
        counted = connection.execute(
            "SELECT count(*) FROM requests WHERE state = 'waiting' AND flow = ?", (flow,)
        ).fetchone()
        return int(counted[0])


@contextmanager
def copied_store(folder: Path) -> Iterator[RequestStore]:
    """A store with the requests of the one in ``folder``, in which nothing is kept."""
    with TemporaryDirectory() as copy, RequestStore(Path(copy)) as store:
        store.copy_from(folder)
        yield store


def has_store(folder: Path) -> bool:
    """Whether a request was ever stored in ``folder``."""
    return (folder / FILE).is_file()
