"""The run coordinator of the embedded default: a queue in which no run waits without a reason.

Dagster's queue is polled, so a launch waits for the next look at it though nothing is in its way.
Its limits are worth keeping: a backfill of a thousand partitions must not start a thousand
processes. So a run is launched at once if none waits, fewer than the allowed number are in
progress, and neither pools nor its own
tags limit it; else it is queued as ever. Processes that submit at
the same moment may exceed the number by as many as they are.
"""

import logging
from collections.abc import Iterable
from typing import NoReturn

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    QueuedRunCoordinator,
    RunsFilter,
)

from rayflow_dagster.defs.labels import BROKEN_TAG
from rayflow_dagster.defs.names import ENDS_TAG

from ._dagster import BACKFILL_ID_TAG, DagsterUserCodeUnreachableError, SubmitRunContext, run_limit
from .launcher import is_server

_log = logging.getLogger("rayflow_dagster")
_WAITING = [DagsterRunStatus.QUEUED]
_IN_PROGRESS = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


class PromptRunCoordinator(QueuedRunCoordinator[DagsterInstance]):
    """Named in ``dagster.yaml``; takes the configuration of ``QueuedRunCoordinator``."""

    def register_instance(self, instance: DagsterInstance) -> None:
        """In a server the launcher is made too: it looks for dead runs, and gets ready for a first
        one.
        """
        super().register_instance(instance)
        if is_server():
            _ = instance.run_launcher

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Launch a run, or queue it if it has to wait.

        Raises:
            DagsterUserCodeUnreachableError: it is one of a backfill whose flow cannot run now.
        """
        run = context.dagster_run
        if run.tags.keys() >= {BROKEN_TAG, BACKFILL_ID_TAG}:
            self._put_off(run)
        self.end_runs(run.tags.get(ENDS_TAG, "").split())
        if run.status != DagsterRunStatus.NOT_STARTED or not self._nothing_is_in_the_way(run):
            return super().submit_run(context)
        return self._instance.launch_run(run.run_id, context.workspace)

    def end_runs(self, run_ids: Iterable[str]) -> None:
        """End runs that go on. Where one cannot be ended, that is logged: its successor waits."""
        for run_id in run_ids:
            run = self._instance.get_run_by_id(run_id)
            if run is None or run.status not in (*_WAITING, *_IN_PROGRESS):
                continue
            if run.status != DagsterRunStatus.CANCELING:
                try:
                    self.cancel_run(run_id)
                except Exception:  # the launcher's own
                    _log.exception("run %s cannot be ended", run_id)

    def _put_off(self, run: DagsterRun) -> NoReturn:
        """Have a backfill wait until its flow is mended. Dagster makes the run again as long as it
        takes a code location to be away; for any other error it cancels the backfill, after some
        tries or at once.
        """
        self._instance.delete_run(run.run_id)
        raise DagsterUserCodeUnreachableError(
            f"flow '{run.job_name}' cannot run at the moment, its job in the UI says why; the "
            "backfill goes on when it is mended"
        )

    def _nothing_is_in_the_way(self, run: DagsterRun) -> bool:
        limit = run_limit(self._instance, run)
        if limit is None or self._instance.get_run_ids(RunsFilter(statuses=_WAITING), limit=1):
            return False
        if limit == -1:
            return True
        in_progress = self._instance.get_run_ids(RunsFilter(statuses=_IN_PROGRESS), limit=limit)
        return len(in_progress) < limit
