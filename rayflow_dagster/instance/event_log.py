"""The event-log storage of the embedded default: Dagster's SQLite files, with connections kept."""

import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self

from dagster import DagsterInstance, EventLogEntry, Field, StringSource
from sqlalchemy.engine import Connection

from ._dagster import (
    INDEX_SHARD_NAME,
    ConfigurableClassData,
    DagsterEventType,
    EventHandlerFn,
    EventLogConnection,
    SqliteEventLogStorage,
    UserConfigSchema,
    default_event_log_folder,
    event_type_of,
)
from .shard_files import ShardFiles
from .shards import Shards
from .watching import RunWatcher

_MAY_WAIT = frozenset(
    {
        DagsterEventType.STEP_WORKER_STARTING.value,
        DagsterEventType.STEP_WORKER_STARTED.value,
        DagsterEventType.STEP_START.value,
        DagsterEventType.STEP_RESTARTED.value,
        DagsterEventType.STEP_INPUT.value,
        DagsterEventType.LOADED_INPUT.value,
        DagsterEventType.STEP_OUTPUT.value,
        DagsterEventType.HANDLED_OUTPUT.value,
        DagsterEventType.STEP_EXPECTATION_RESULT.value,
        DagsterEventType.LOGS_CAPTURED.value,
        None,
    }
)
_ENDS_STEP = frozenset(
    {
        DagsterEventType.STEP_SUCCESS.value,
        DagsterEventType.STEP_FAILURE.value,
        DagsterEventType.STEP_SKIPPED.value,
        DagsterEventType.STEP_UP_FOR_RETRY.value,
    }
)
_ENDS_RUN = frozenset(
    {
        DagsterEventType.RUN_SUCCESS.value,
        DagsterEventType.RUN_FAILURE.value,
        DagsterEventType.RUN_CANCELED.value,
    }
)


class FastSqliteEventLogStorage(SqliteEventLogStorage):
    """Dagster's ``SqliteEventLogStorage`` for runs of many short steps.

    Files, schema and place are those of ``SqliteEventLogStorage``: change the class in
    ``dagster.yaml`` to go from one to the other, at any time when nothing runs. What differs:

    - One connection is kept for each run's file and one for the index, at most 16 together; a
      run's is closed when the run ends. No connection crosses a fork.
    - What a step says until it ends, and log messages, wait for their commit: until the step
      ends, anything else happens in the run, the run is read through this object, or 50 ms have
      passed. Readers elsewhere see them by then.
    - Watchers ask for new events five times a second. Events come from all processes.

    What a **kill** of the process can lose: of the last 50 ms (longer only while the disk is full
    or the file locked, which is logged and raised), log messages and the events of steps that have
    not ended: STEP_START, STEP_RESTARTED, STEP_INPUT, LOADED_INPUT, STEP_OUTPUT, HANDLED_OUTPUT,
    STEP_EXPECTATION_RESULT, LOGS_CAPTURED, STEP_WORKER_STARTING and STEP_WORKER_STARTED. Every
    other event (the end or retry of a step, anything about the run, assets, hooks) is committed
    when ``store_event`` returns, and so is all that was stored in the run before it.

    What a **power cut** or a crash of the operating system can lose: the commits since the last
    checkpoint that the system had not yet written to disk by itself, in practice those of the last
    half minute; the index's too, which holds asset keys, dynamic partitions and pool limits. A
    checkpoint is made every 4 MB and when the run ends. The files are never corrupt, and what is
    lost is the newest. Dagster's class waits for the disk at each event.
    """

    def __init__(
        self, base_dir: str | None = None, inst_data: ConfigurableClassData | None = None
    ) -> None:
        """``base_dir``: the folder of the shards; None means that of Dagster's default storage in
        the folder of the instance, which is known when the instance registers itself.
        """
        self._inst_data = inst_data
        self._is_open = base_dir is not None
        if base_dir is not None:
            self._open(base_dir)

    def _open(self, base_dir: str) -> None:
        self._shards = Shards(ShardFiles(os.path.abspath(base_dir)))
        self._watcher = RunWatcher(self._read_after)
        self._tables: set[str] = set()
        weakref.finalize(self, self._shards.close_all)
        super().__init__(base_dir, self._inst_data)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {"base_dir": Field(StringSource, is_required=False)}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def register_instance(self, instance: DagsterInstance) -> None:
        if not self._is_open:
            self._open(default_event_log_folder(instance))
            self._is_open = True
        super().register_instance(instance)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._shards.transaction(shard) as connection:
            yield connection

    def run_connection(self, run_id: str | None = None) -> AbstractContextManager[Connection]:
        if run_id is None:
            raise ValueError("events are kept by run: a run id is needed to connect")
        return self._connect(run_id)

    def index_connection(self) -> AbstractContextManager[Connection]:
        return self._connect(INDEX_SHARD_NAME)

    def has_table(self, table_name: str) -> bool:
        # Asked for each asset event; a table that is there stays there.
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def store_event(self, event: EventLogEntry) -> None:
        kind = event_type_of(event)
        if kind in _MAY_WAIT:
            self._shards.hold(event.run_id, self._event_to_row(event))
        elif kind in _ENDS_STEP:
            self._shards.write(event.run_id, self._event_to_row(event))
        else:
            super().store_event(event)
        if kind in _ENDS_RUN:
            self._shards.close(event.run_id)

    def delete_events(self, run_id: str) -> None:
        super().delete_events(run_id)
        self._shards.close(run_id)

    def wipe(self) -> None:
        self._shards.forget_all()
        super().wipe()

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        self._watcher.watch(run_id, cursor, callback)

    def end_watch(self, run_id: str, handler: EventHandlerFn) -> None:
        self._watcher.end(run_id, handler)

    def dispose(self) -> None:
        """End watching, commit what is held and close all files. The storage stays usable.

        Never raises: Dagster would leave the rest of the instance open.
        """
        self._watcher.close()
        self._shards.close_all()

    def _read_after(self, run_id: str, cursor: str | None) -> EventLogConnection | None:
        # To read the events of a run that was deleted would make its file again.
        if not os.path.exists(self.path_for_shard(run_id)):
            return None
        return self.get_records_for_run(run_id, cursor)
