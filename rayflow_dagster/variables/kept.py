"""Variables that are kept between runs: ``"scope": "flow"`` in a declaration.

A run reads them when it starts (``RunVariables.read``) and writes them back only when it has
succeeded (``RunVariables.keep``), all in one transaction. A variable that the run only incremented
gets the sum of its increments added to what it holds by then, whoever wrote it meanwhile. One that
the run set must not have been written since the run read it, else the run fails.

The table lies in an SQLite file, or in the PostgreSQL database that the instance records its runs
in. A transaction holds the one lock of the table from its beginning, so that runs of any number of
processes write one after the other.
"""

import json
import pickle
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from sqlalchemy import BigInteger, Column, Connection, Float, MetaData, Table, Text, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from rayflow_dagster.errors import StorageError, VariableError
from rayflow_dagster.port_types import accepts, parse_type
from rayflow_dagster.secrets.references import secrets_in, spelled
from rayflow_dagster.values.preview import preview

from .store import Snapshot, kept_value

BY_HAND = "the command line"
"""Who has written a variable that no run has."""
_WAIT_SECONDS = 30.0
_LOCK = 0x7261_7966  # any number that others in the database do not lock by
_TABLE = Table(
    "rayflow_variables",
    MetaData(),
    Column("flow", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text),
    Column("version", BigInteger, nullable=False),
    Column("changed", Float, nullable=False),
    Column("changed_by", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a variable.

    ``version`` counts its writes. Without ``has_value`` the declared default holds: it was never
    written, or was reset. ``changed`` is in seconds since 1970; ``changed_by`` is a run id or
    ``BY_HAND``.
    """

    version: int = 0
    has_value: bool = False
    value: Any = None
    changed: float = 0.0
    changed_by: str = ""


def packed(kept: Mapping[str, Kept]) -> bytes:
    """What a run has read, for its re-executions. No class of ours is in it: modules may move."""
    known = {
        name: (each.version, each.has_value, each.value, each.changed, each.changed_by)
        for name, each in kept.items()
    }
    return pickle.dumps(known)


def unpacked(content: bytes) -> dict[str, Kept] | None:
    """What ``packed`` was given; None for what 0.3.0 has stored."""
    try:
        known = pickle.loads(content)
    except ModuleNotFoundError:
        return None
    return {name: Kept(*each) for name, each in known.items()}


@dataclass(frozen=True, slots=True)
class Write:
    """What a run did to a variable.

    ``value`` is the run's last one, and ``version`` what it had read. ``amount`` is what its
    increments add up to; None if it set the value. ``default`` is the declared one.
    """

    value: Any
    version: int
    amount: float | None
    default: Any


class KeptVariables:
    """The kept variables of one flow.

    Args:
        url: SQLAlchemy's URL of an SQLite file or of a PostgreSQL database.
        flow: the flow's name as a job.
        project: what tells its project from others with flows of that name.
    """

    def __init__(self, url: str, flow: str, project: str = "") -> None:
        self.flow = flow
        self._key = f"{flow} {project}".rstrip()
        self._url = sqlalchemy.make_url(url)

    def read(self) -> dict[str, Kept]:
        """What is kept, by name; a variable that was never written is missing.

        Raises:
            StorageError: it cannot be read.
        """
        with self._transaction() as connection:
            return self._rows(connection)

    def write(self, run_id: str, writes: Mapping[str, Write]) -> None:
        """Write back what a run did: all of it or, if there is a conflict, nothing.

        Raises:
            VariableError: the run has set a variable that was written since the run read it.
            StorageError: it cannot be written.
        """
        with self._transaction() as connection:
            rows = self._rows(connection)
            for name, write in writes.items():
                now = rows.get(name, Kept())
                value = self._merged(run_id, name, write, now)
                self._put(connection, name, _text(value), now, run_id)

    def set(self, name: str, value: Any) -> None:
        """Set a variable by hand. For runs in progress it is as if another run had.

        Raises:
            VariableError: ``value`` is not plain JSON with ``Secret`` objects in it.
            StorageError: it cannot be written.
        """
        text = _text(kept_value(name, value))
        with self._transaction() as connection:
            now = self._rows(connection).get(name, Kept())
            self._put(connection, name, text, now, BY_HAND)

    def reset(self, name: str | None = None) -> None:
        """Let a variable, by default each of them, have its declared default again.

        Raises:
            StorageError: it cannot be written.
        """
        with self._transaction() as connection:
            for each, now in self._rows(connection).items():
                if name in (None, each) and now.has_value:
                    # The row stays: a version that begins anew would hide the reset from runs.
                    self._put(connection, each, None, now, BY_HAND)

    def _merged(self, run_id: str, name: str, write: Write, now: Kept) -> Any:
        if now.version == write.version:
            return write.value
        where = f"variable '{name}' of flow '{self.flow}'"
        others = now.changed_by if now.changed_by == BY_HAND else f"run {now.changed_by}"
        since = f"{others} wrote it after run {run_id} had read it"
        if write.amount is None:
            raise VariableError(
                f"{where}: {since}, and run {run_id} sets it, so that one of the two would be lost "
                f"(it was at version {write.version} and is at {now.version}); run {run_id} has "
                "kept none of its variables. Launch the flow anew, and let one run at a time set "
                "the variable, or increment it instead: increments of several runs add up"
            )
        base = now.value if now.has_value else write.default
        if not isinstance(base, int | float | None):
            raise VariableError(
                f"{where}: {since}, and it is {preview(base, 80)} now, to which {write.amount} "
                "cannot be added; launch the flow anew"
            )
        return (base or 0) + write.amount

    def _rows(self, connection: Connection) -> dict[str, Kept]:
        found = connection.execute(sqlalchemy.select(_TABLE).where(_TABLE.c.flow == self._key))
        return {
            row.name: Kept(
                row.version,
                row.value is not None,
                None if row.value is None else secrets_in(json.loads(row.value)),
                row.changed,
                row.changed_by,
            )
            for row in found
        }

    def _adopt(self, connection: Connection) -> None:
        """Version 0.3.0 kept variables under the flow's name alone: they go to the first
        project that asks for them.
        """
        if self._key != self.flow and not self._rows(connection):
            before = _TABLE.c.flow == self.flow
            connection.execute(_TABLE.update().where(before).values(flow=self._key))

    def _put(
        self, connection: Connection, name: str, text: str | None, now: Kept, changed_by: str
    ) -> None:
        values = {
            "value": text,
            "version": now.version + 1,
            "changed": time.time(),
            "changed_by": changed_by,
        }
        if now.version == 0:
            values |= {"flow": self._key, "name": name}
            connection.execute(_TABLE.insert().values(values))
        else:
            is_this = (_TABLE.c.flow == self._key) & (_TABLE.c.name == name)
            connection.execute(_TABLE.update().where(is_this).values(values))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction that has the table for itself."""
        try:
            with _engine(self._url).begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(
                        sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(_LOCK))
                    )
                _TABLE.metadata.create_all(connection)
                self._adopt(connection)
                yield connection
        except SQLAlchemyError as error:
            place = self._url.render_as_string(hide_password=True)
            reason = str(getattr(error, "orig", None) or error).strip()
            raise StorageError(
                f"the variables that flow '{self.flow}' keeps between runs cannot be reached in "
                f"{place}: {reason}"
            ) from error


def _text(value: Any) -> str:
    """A value as it is stored: of a secret, the reference."""
    return json.dumps(spelled(value))


def _engine(url: sqlalchemy.URL) -> sqlalchemy.Engine:
    if not url.drivername.startswith("sqlite"):
        # What is read after the lock is what the last holder of the lock has written.
        return sqlalchemy.create_engine(url, poolclass=NullPool, isolation_level="READ COMMITTED")
    engine = sqlalchemy.create_engine(
        url, poolclass=NullPool, connect_args={"timeout": _WAIT_SECONDS}
    )
    # Python's sqlite3 would begin a transaction at the first write only, after what it depends on
    # has been read.
    event.listen(engine, "connect", _begin_by_hand)
    event.listen(engine, "begin", _begin)
    return engine


def _begin_by_hand(connection: Any, _record: Any) -> None:
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


class RunVariables:
    """What one run has to do with the kept variables of its flow.

    Args:
        kept: where they are.
        run_id: the run, for whoever it comes in conflict with.
        declared: the declarations of the variables that are kept, by name.
    """

    def __init__(
        self, kept: KeptVariables, run_id: str, declared: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self._kept = kept
        self._run_id = run_id
        self._declared = declared
        self._before: Mapping[str, Kept] = {}
        self._latest = Snapshot(0, {})

    def read(self, left: Snapshot | None = None) -> Snapshot:
        """The variables as the run begins with them.

        ``left`` has the other variables, where a run goes on from one that has succeeded.

        Raises:
            VariableError: a value is not of the declared type any more.
            StorageError: they cannot be read.
        """
        return self.go_on(self._kept.read(), left)

    def go_on(self, before: Mapping[str, Kept], left: Snapshot | None) -> Snapshot:
        """The variables as a re-execution begins with them.

        Args:
            before: what the first of the runs had read.
            left: the variables as the last of them left them; None if none was written. What its
                ``changes`` name was not written back yet.

        Raises:
            VariableError: a value is not of the declared type any more.
        """
        self._before = {name: kept for name, kept in before.items() if name in self._declared}
        for name, kept in self._before.items():
            if kept.has_value:
                self._check_type(name, kept.value)
        values = {name: kept.value for name, kept in self._before.items() if kept.has_value}
        changes: Mapping[str, float | None] = {}
        if left is not None:
            changes = left.changes
            as_read = self._declared.keys() - changes.keys()
            values |= {name: v for name, v in left.values.items() if name not in as_read}
        self._latest = Snapshot(0, values, changes)
        return self._latest

    @property
    def before(self) -> Mapping[str, Kept]:
        """What the run has read, for its re-executions."""
        return self._before

    def note(self, snapshot: Snapshot) -> None:
        """Take note of the variables as a node of this run left them."""
        if snapshot.version > self._latest.version:  # nodes settle in another order than they write
            self._latest = snapshot

    def keep(self) -> list[str]:
        """Write back what the run, which has succeeded, did; the names of what it wrote.

        Raises:
            VariableError: the run has set a variable that was written since the run read it.
            StorageError: they cannot be written.
        """
        writes = {
            name: Write(
                self._latest.values[name],
                self._before.get(name, Kept()).version,
                amount,
                self._declared[name].get("default"),
            )
            for name, amount in self._latest.changes.items()
        }
        if writes:
            self._kept.write(self._run_id, writes)
        return list(writes)

    def _check_type(self, name: str, value: Any) -> None:
        kind = str(self._declared[name].get("type", "any"))
        if not accepts(parse_type(kind), value):
            flow = self._kept.flow
            raise VariableError(
                f"variable '{name}' of flow '{flow}' has the value {preview(value, 80)} from "
                f"earlier runs, which is not {kind}, as the flow declares it now; set it with "
                f"`rayflow-dagster variables {flow} set {name} VALUE`, or reset it with "
                f"`rayflow-dagster variables {flow} reset {name}`"
            )
