"""A home or a flow in; what Dagster has recorded there, or the variables kept there, out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dagster import DagsterInstance

from rayflow_dagster.defs.jobs import job_name
from rayflow_dagster.defs.storage import kept_variables
from rayflow_dagster.variables.kept import KeptVariables

from .flows import FlowFile
from .group import Refused
from .home import SETTINGS, locked, use_home


def open_instance(home: Path) -> DagsterInstance:
    """Dagster's instance in ``home``.

    Raises:
        Refused: its settings are wrong, or its databases are damaged.
    """
    try:
        with locked(home):
            return DagsterInstance.get()
    except OSError:
        raise
    except Exception as error:  # Dagster's, YAML's and SQLAlchemy's errors have nothing in common
        reason = f"{type(error).__name__}: {error}"
        raise Refused(
            f"Dagster cannot use {home}: {reason}. Mend {SETTINGS}, or set DAGSTER_HOME to another "
            "folder; --direct runs without Dagster"
        ) from error


@contextmanager
def stored_for(flow: FlowFile) -> Iterator[KeptVariables]:
    """Where recorded runs of the flow keep its variables."""
    with open_instance(use_home(flow.project.root)) as instance:
        yield kept_variables(instance, job_name(flow.raw, flow.path), flow.project.tag)
