"""The sensor of other flows: it looks for runs that have ended since its last look.

The newest change that was seen is no safe mark: runs are written by many processes, and a change
may come to be seen after a newer one. So each look goes back ``OVERLAP_SECONDS`` before the mark,
and the cursor names the runs that were seen there. A run that ended long ago and is changed again,
by a tag say, is not new: ``settled`` is the time before which all that has ended was seen.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    RunRecord,
    RunsFilter,
    SensorEvaluationContext,
)

from rayflow_dagster.compiler.starts.templates import template_names
from rayflow_dagster.compiler.starts.triggers import FlowSensor
from rayflow_dagster.defs.lost_runs import is_launched_again, waits_to_be_launched_again
from rayflow_dagster.defs.names import flow_name
from rayflow_dagster.defs.results import run_result
from rayflow_dagster.errors import InvalidInputsError, TriggerError
from rayflow_dagster.values.stored import StoredValue

from .sensors import Look, Looking
from .starts import Start, Target, filled

OVERLAP_SECONDS = 60.0
_STATUSES = {
    "success": [DagsterRunStatus.SUCCESS],
    "failure": [DagsterRunStatus.FAILURE],
    "either": [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE],
}
_BROKEN = (
    "the sensor's cursor is not one of a flow sensor; clear it in the UI, and runs that end from "
    "then on are looked at"
)


@dataclass(frozen=True, slots=True)
class _Cursor:
    """What was seen: runs that changed up to ``since``, and those of ``seen`` after it. Times are
    in seconds since 1970, as the runs' records have them.
    """

    since: float = 0.0
    seen: Mapping[str, float] = field(default_factory=dict)
    """Run -> when it changed."""
    settled: float = 0.0
    """All runs that ended before it were seen."""

    @classmethod
    def read(cls, text: str) -> "_Cursor":
        """The cursor that a look has left.

        Raises:
            TriggerError: it is none.
        """
        try:
            told = json.loads(text)
            seen = {str(run_id): float(time) for run_id, time in told["seen"].items()}
            return cls(float(told["since"]), seen, float(told.get("settled", 0.0)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TriggerError(_BROKEN) from error

    def after(self, records: Iterable[RunRecord], *, all_seen: bool) -> "_Cursor":
        """The cursor when these were seen too."""
        seen = {**self.seen, **{each.dagster_run.run_id: _changed(each) for each in records}}
        since = max([self.since, *(time - OVERLAP_SECONDS for time in seen.values())])
        kept = {run_id: time for run_id, time in seen.items() if time > since}
        return _Cursor(since, kept, since if all_seen else self.settled)

    def text(self) -> str:
        """What Dagster keeps."""
        return json.dumps({"since": self.since, "seen": self.seen, "settled": self.settled})


@dataclass(frozen=True, slots=True)
class _Ended:
    """The runs of a job of the target's project that have ended in one of these ways."""

    target: Target
    job: str
    statuses: Sequence[DagsterRunStatus]

    def beginning(self, instance: DagsterInstance) -> _Cursor:
        """The cursor that takes all that has ended by now for seen."""
        filters = RunsFilter(job_name=self.job, statuses=self.statuses)
        newest = instance.get_run_records(filters, limit=1, order_by="update_timestamp")
        start = _Cursor().after(newest, all_seen=True)
        return start.after(self._since(instance, start.since), all_seen=True)

    def unseen(
        self, instance: DagsterInstance, cursor: _Cursor, most: int
    ) -> tuple[list[RunRecord], bool]:
        """At most ``most`` unseen ones, the earliest first, and whether there are no others. A run
        that Dagster launches again is none of them: its successor is.
        """
        limit = len(cursor.seen) + most + 1
        while True:
            records = self._since(instance, cursor.since, limit)
            found = [record for record in records if self._is_new(record, cursor)]
            if len(found) > most or len(records) < limit:
                undecided = any(waits_to_be_launched_again(each.dagster_run) for each in records)
                return found[:most], len(found) <= most and not undecided
            limit *= 2

    def _is_new(self, record: RunRecord, cursor: _Cursor) -> bool:
        run = record.dagster_run
        has_ended_before = record.end_time is not None and record.end_time < cursor.settled
        is_seen = run.run_id in cursor.seen or has_ended_before
        return not (is_seen or is_launched_again(run)) and self.target.is_neighbour(run)

    def _since(
        self, instance: DagsterInstance, since: float, limit: int | None = None
    ) -> Sequence[RunRecord]:
        """In the order of their last change, the first ``limit`` of those after a time.

        Dagster's pages follow another order, so there are none: who wants more asks for more.
        """
        after = datetime.fromtimestamp(since, UTC)
        filters = RunsFilter(job_name=self.job, statuses=self.statuses, updated_after=after)
        return instance.get_run_records(
            filters, limit=limit, order_by="update_timestamp", ascending=True
        )


def flow_look(target: Target, sensor: FlowSensor) -> Looking:
    """How a sensor of another flow looks."""
    job, statuses = flow_name(sensor.flow), _STATUSES[sensor.on]
    return ended_look(target, job, statuses, sensor.max_per_tick, partial(_start, sensor))


def ended_look(
    target: Target,
    job: str,
    statuses: Sequence[DagsterRunStatus],
    most: int,
    start: Callable[[DagsterInstance, RunRecord], Start],
) -> Looking:
    """How a sensor looks for runs of ``job`` that have ended in one of these ways, ``most`` at one
    look; ``start`` is what to start for one. The first look only notes where it begins.
    """
    runs = _Ended(target, job, statuses)

    def look(context: SensorEvaluationContext) -> Look:
        if not context.cursor:
            begin = runs.beginning(context.instance)
            return Look([], begin.text(), "the first look only notes where to begin")
        cursor = _Cursor.read(context.cursor)
        ended, all_seen = runs.unseen(context.instance, cursor, most)
        starts = [start(context.instance, record) for record in ended]
        nothing = f"no run of '{job}' has ended since the last look"
        return Look(starts, cursor.after(ended, all_seen=all_seen).text(), nothing)

    return look


def _changed(record: RunRecord) -> float:
    return record.update_timestamp.timestamp()


def _start(sensor: FlowSensor, instance: DagsterInstance, record: RunRecord) -> Start:
    run = record.dagster_run
    known: dict[str, Any] = {
        "run": {"run_id": run.run_id, "flow": run.job_name, "status": run.status.value.lower()}
    }
    what = f"run {run.run_id} of '{run.job_name}'"
    if any(name.startswith("result.") for name in template_names(sensor.inputs)):
        known["result"] = _result(instance, record, what)
    return Start(filled(sensor.inputs, known, what), key=run.run_id, what=what)


def _result(instance: DagsterInstance, record: RunRecord, what: str) -> Mapping[str, Any]:
    found = run_result(instance, record.dagster_run)
    if isinstance(found, StoredValue):
        raise InvalidInputsError(
            [f"{what}: its result is too large for another flow's input; return a path to it"]
        )
    return found
