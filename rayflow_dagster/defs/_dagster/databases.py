"""The databases that an instance records its runs in: how long a run waits for one.

A run must not fail because another process holds SQLite's lock for some seconds, or because
PostgreSQL is started again.
"""

import logging
import time
import weakref
from typing import TYPE_CHECKING, Any

from dagster import DagsterInstance

from rayflow_dagster.errors import StorageError
from rayflow_dagster.timing import PATIENCE_SECONDS

if TYPE_CHECKING:
    from sqlalchemy import Engine

_PAUSE_SECONDS = 0.2

_waited_for: "weakref.WeakSet[Engine]" = weakref.WeakSet()
_log = logging.getLogger(__name__)


def wait_for_databases(instance: DagsterInstance) -> None:
    """Have what is done with this instance from now on wait for its databases.

    The event log of this package waits by itself; other storages stay as they are.
    """
    # Here: with what they import, they take longer than to load a hundred flows.
    from dagster._core.storage.legacy_storage import LegacyEventLogStorage, LegacyRunStorage
    from dagster._core.storage.runs import SqliteRunStorage
    from sqlalchemy import event, make_url

    runs: Any = instance.run_storage
    if isinstance(runs, LegacyRunStorage):
        runs = runs._storage.run_storage
    events: Any = instance.event_log_storage
    if isinstance(events, LegacyEventLogStorage):
        events = events._storage.event_log_storage
    if isinstance(runs, SqliteRunStorage):
        url = make_url(runs._conn_string)  # SQLAlchemy hands SQLite what the query says
        patient = url.update_query_dict({"timeout": str(PATIENCE_SECONDS)})
        runs._conn_string = patient.render_as_string(hide_password=False)
    patience = _Patience()
    for storage in (runs, events):
        if hasattr(storage, "postgres_url") and storage._engine not in _waited_for:
            _waited_for.add(storage._engine)
            event.listen(storage._engine, "do_connect", patience.connect)


class _Patience:
    """Connects to a server that may be away for a while."""

    def __init__(self) -> None:
        self._away_since: float | None = None

    def connect(
        self, dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]
    ) -> Any:
        """What SQLAlchemy calls for a connection: of one that the server had accepted before.

        Raises:
            StorageError: it has been away for ``PATIENCE_SECONDS``.
        """
        while True:
            try:
                connection = dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError as error:
                self._wait(error)
            else:
                self._away_since = None
                return connection

    def _wait(self, error: Exception) -> None:
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            _log.warning("The database of the runs cannot be reached, and is waited for: %s", error)
        if now - self._away_since > PATIENCE_SECONDS:
            raise StorageError(
                "the database that the runs are recorded in could not be reached for "
                f"{PATIENCE_SECONDS:.0f} s: {' '.join(str(error).split())}. Start it again, or "
                "mend `storage` in dagster.yaml, and run the flow again"
            ) from error
        time.sleep(_PAUSE_SECONDS)
