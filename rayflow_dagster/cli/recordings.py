"""A home or a flow in; what Dagster has recorded there, or the variables kept there, out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dagster import DagsterInstance
from sqlalchemy.exc import SQLAlchemyError

from rayflow_dagster.defs.jobs import job_name
from rayflow_dagster.defs.storage import kept_variables
from rayflow_dagster.variables.kept import KeptVariables

from .flows import FlowFile
from .group import Refused
from .home import SETTINGS, locked, use_home

_TODO = {
    "is locked": "End the process that holds the database for so long, and run the command again",
    "disk": "Free space on that disk",  # a full one is a "disk I/O error", too
    "readonly": "Have the folder and its files be writable",
    "unable to open": "Have the folder and its files be writable",
}
"""What to do, by what SQLite says."""
_MEND = f"Start the database, or mend {SETTINGS}, or set DAGSTER_HOME to another folder"


@contextmanager
def open_instance(home: Path) -> Iterator[DagsterInstance]:
    """Dagster's instance in ``home``, for what the block does with it.

    Raises:
        Refused: its settings are wrong, its databases are damaged, or they fail in the block.
    """
    with _databases_of(home), _opened(home) as instance:
        yield instance


def _opened(home: Path) -> DagsterInstance:
    try:
        with locked(home):
            return DagsterInstance.get()
    except (OSError, SQLAlchemyError):
        raise
    except Exception as error:  # Dagster's and YAML's errors have nothing in common
        if _of_database(error) is not None:
            raise
        reason = f"{type(error).__name__}: {error}"
        raise Refused(
            f"Dagster cannot use {home}: {reason}. Mend {SETTINGS}, or set DAGSTER_HOME to another "
            "folder; --direct runs without Dagster"
        ) from error


@contextmanager
def _databases_of(home: Path) -> Iterator[None]:
    """What the databases raise, as one message."""
    try:
        yield
    except Exception as error:
        failed = _of_database(error)
        if failed is None:
            raise
        reason = " ".join(str(getattr(failed, "orig", None) or failed).split())
        todo = next((todo for words, todo in _TODO.items() if words in reason), _MEND)
        raise Refused(
            f"Dagster cannot use {home}: {reason}. {todo}; --direct runs without Dagster. A run "
            "that was going on is recorded as failed by the next run"
        ) from error


def _of_database(error: BaseException | None) -> SQLAlchemyError | None:
    """The database's own error, of one that Dagster may have made of it."""
    while error is not None and not isinstance(error, SQLAlchemyError):
        error = error.__cause__
    return error


@contextmanager
def stored_for(flow: FlowFile) -> Iterator[KeptVariables]:
    """Where recorded runs of the flow keep its variables."""
    with open_instance(use_home(flow.project.root)) as instance:
        yield kept_variables(instance, job_name(flow.raw, flow.path), flow.project.tag)
