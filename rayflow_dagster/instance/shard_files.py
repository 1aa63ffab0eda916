"""The SQLite files of an event log: one shard for each run, and the index of all runs.

They are Dagster's own: same names, same schema, same place. A new shard is a copy of a template
that Dagster's own code made, because making the tables anew takes some 70 ms a run.
"""

import contextlib
import glob
import os
import shutil
import tempfile
import uuid

from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from rayflow_dagster.timing import PATIENCE_SECONDS

from ._dagster import (
    create_db_conn_string,
    initialise_shard,
    schema_version,
)

TEMPLATES = ".templates"
"""Folder beside the shards. Dagster takes every ``*.db`` beside them for a run."""

FileIdentity = tuple[int, int]
"""Device and inode."""


class ShardFiles:
    """Finds, makes and opens the shards of one folder. Holds nothing open itself."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._template = os.path.join(folder, TEMPLATES, f"{schema_version()}.sqlite")

    def path(self, name: str) -> str:
        return os.path.join(self._folder, f"{name}.db")

    def identity(self, name: str) -> FileIdentity | None:
        """Which file stands under the shard's name now; None if there is none."""
        try:
            found = os.stat(self.path(name))
        except FileNotFoundError:
            return None
        return (found.st_dev, found.st_ino)

    def open(self, name: str) -> Connection:
        """A new connection to a shard, which is made if need be.

        Commits do not wait for the disk, only checkpoints do (``synchronous=NORMAL``); where a file
        is not in WAL mode that could corrupt it, so there SQLite's own default stays.
        """
        self._make(name)
        engine = _engine(self._folder, name)
        connection = engine.connect()
        if not _is_stamped(connection):
            connection.close()
            initialise_shard(engine)
            connection = engine.connect()
        if connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal":
            connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
        connection.commit()
        return connection

    def _make(self, name: str) -> None:
        """Copy the template, unless somebody has made the shard.

        Whatever forbids it (another process was faster, a disk without hard links) leaves the
        shard to Dagster's own code, which ``open`` calls for what is not complete, and which says
        what is wrong if it cannot do it either.
        """
        path = self.path(name)
        if os.path.exists(path):
            return
        draft = os.path.join(self._folder, TEMPLATES, f"{uuid.uuid4()}.draft")
        with contextlib.suppress(OSError):
            if not os.path.exists(self._template):
                self._make_template()
            try:
                _copy_to_disk(self._template, draft)
                # A link never replaces a file that another process made meanwhile; a rename would.
                os.link(draft, path)
            finally:
                os.unlink(draft)

    def _make_template(self) -> None:
        templates = os.path.dirname(self._template)
        with contextlib.suppress(FileExistsError):
            os.mkdir(templates)
        with tempfile.TemporaryDirectory(dir=templates) as workshop:
            engine = _engine(workshop, "made")
            initialise_shard(engine)
            engine.dispose()
            draft = os.path.join(workshop, "draft")
            _copy_to_disk(os.path.join(workshop, "made.db"), draft)
            os.replace(draft, self._template)
        for other in glob.glob(os.path.join(templates, "*.sqlite")):
            if other != self._template:
                os.unlink(other)


def _engine(folder: str, name: str) -> Engine:
    return create_engine(
        create_db_conn_string(folder, name),
        poolclass=NullPool,
        # Threads use a connection one after the other: SQLite need not watch over it.
        connect_args={"timeout": PATIENCE_SECONDS, "check_same_thread": False},
    )


def _is_stamped(connection: Connection) -> bool:
    """Whether the schema is complete: Dagster stamps a shard after it has made the tables."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.execute(text("SELECT version_num FROM alembic_version")).first() is not None


def _copy_to_disk(source: str, target: str) -> None:
    """Copy a file, with the rights that SQLite gives to its own, and wait for the disk: a power
    cut must not leave the first half of a schema.
    """
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with open(source, "rb") as old, open(handle, "wb") as new:
        shutil.copyfileobj(old, new)
        new.flush()
        os.fsync(new.fileno())
