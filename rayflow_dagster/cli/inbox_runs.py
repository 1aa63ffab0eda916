"""What Dagster has recorded of the runs that requests started."""

import logging
from collections.abc import Mapping
from typing import Any

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from rayflow_dagster.defs.failed_runs import why_it_failed
from rayflow_dagster.defs.lost_runs import waits_to_be_launched_again
from rayflow_dagster.defs.results import run_result
from rayflow_dagster.defs.triggers.inbox_sensor import REQUEST_TAG, settle
from rayflow_dagster.errors import RayflowError, describe
from rayflow_dagster.inbox.runs import RunOutcome, Status
from rayflow_dagster.inbox.store import RequestStore
from rayflow_dagster.secrets.references import spelled
from rayflow_dagster.values.jsonable import jsonable
from rayflow_dagster.values.stored import StoredValue, file_system

from .report import STOPPED_TEXT

MAX_RESULT = 10_000_000
"""Bytes of a stored result that are read into an answer."""
_LOG = logging.getLogger(__name__)
_STATUSES: dict[DagsterRunStatus, Status] = {
    DagsterRunStatus.SUCCESS: "success",
    DagsterRunStatus.FAILURE: "failure",
    DagsterRunStatus.CANCELED: "canceled",
}


class DagsterRuns:
    """The runs of an instance, as the inbox asks for them."""

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance

    def settle(self, store: RequestStore) -> None:
        """Note in the store the runs that are recorded by now."""
        settle(self._instance, store)

    def latest(self, request_id: str) -> RunOutcome | None:
        """The newest run for a request."""
        filters = RunsFilter(tags={REQUEST_TAG: request_id})
        runs = self._instance.get_runs(filters, limit=1)
        if not runs:
            return None
        run = runs[0]
        is_over = not waits_to_be_launched_again(run)
        status = _STATUSES.get(run.status, "started") if is_over else "started"
        match status:
            case "success":
                return self._succeeded(run)
            case "failure":
                return RunOutcome(run.run_id, status, error=why_it_failed(self._instance, run))
            case "canceled":
                return RunOutcome(run.run_id, status, error=STOPPED_TEXT)
        return RunOutcome(run.run_id, status)

    def _succeeded(self, run: DagsterRun) -> RunOutcome:
        try:
            found = run_result(self._instance, run)
            value = _loaded(found) if isinstance(found, StoredValue) else found
        except Exception as error:  # what was pickled may fail in any way to be read again
            _LOG.exception("the result of run %s cannot be shown", run.run_id)
            problem = f"the run succeeded, but its result cannot be shown: {describe(error)}"
            return RunOutcome(run.run_id, "success", error=problem)
        return RunOutcome(run.run_id, "success", jsonable(spelled(dict(value))))


def _loaded(value: StoredValue) -> Mapping[str, Any]:
    filesystem, path = file_system(value.path)
    size = filesystem.size(path)
    if size is not None and size > MAX_RESULT:
        raise RayflowError(f"it has {size:,} bytes, and an answer at most {MAX_RESULT:,}")
    loaded: Mapping[str, Any] = value.load()
    return loaded
