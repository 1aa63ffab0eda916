"""The sensor of other flows: it looks for runs that have ended since its last look.

The newest change that was seen is no safe mark: runs are written by many processes, and a change
may come to be seen after a newer one. So each look goes back ``OVERLAP_SECONDS`` before the mark,
and the cursor names the runs that were seen there.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    RunRecord,
    RunsFilter,
    SensorEvaluationContext,
)

from rayflow_dagster.compiler.templates import template_names
from rayflow_dagster.compiler.triggers import FlowSensor
from rayflow_dagster.defs.names import flow_name
from rayflow_dagster.defs.results import run_result
from rayflow_dagster.errors import InvalidInputsError
from rayflow_dagster.values import StoredValue

from .sensors import Look, Looking
from .starts import Start, filled

OVERLAP_SECONDS = 60.0
_PAGE = 200
_STATUSES = {
    "success": [DagsterRunStatus.SUCCESS],
    "failure": [DagsterRunStatus.FAILURE],
    "either": [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE],
}


def flow_look(sensor: FlowSensor) -> Looking:
    """How a sensor of another flow looks. The first look only notes where it begins."""
    job = flow_name(sensor.flow)
    statuses = _STATUSES[sensor.on]

    def look(context: SensorEvaluationContext) -> Look:
        mark, seen = _read_cursor(context.cursor)
        filters = RunsFilter(job_name=job, statuses=statuses, updated_after=_time(mark))
        if context.cursor is None:
            before = _unseen(context.instance, filters, {}, sys.maxsize)
            seen = {each.dagster_run.run_id: each.update_timestamp.timestamp() for each in before}
            return Look([], _cursor(mark, seen), "the first look only notes where to begin")
        ended = _unseen(context.instance, filters, seen, sensor.max_per_tick)
        starts = [_start(context.instance, record, sensor) for record in ended]
        for record in ended:
            seen[record.dagster_run.run_id] = record.update_timestamp.timestamp()
        if ended:
            mark = max(mark, seen[ended[-1].dagster_run.run_id] - OVERLAP_SECONDS)
        return Look(starts, _cursor(mark, seen), f"no run of '{job}' has ended since the last look")

    return look


def _read_cursor(text: str | None) -> tuple[float, dict[str, float]]:
    """Since when to look, and the runs seen since then."""
    if text is None:
        return datetime.now(UTC).timestamp() - OVERLAP_SECONDS, {}
    cursor = json.loads(text)
    return cursor["since"], cursor["seen"]


def _cursor(mark: float, seen: Mapping[str, float]) -> str:
    kept = {run_id: time for run_id, time in seen.items() if time >= mark}
    return json.dumps({"since": mark, "seen": kept})


def _time(mark: float) -> datetime:
    return datetime.fromtimestamp(mark, UTC)


def _unseen(
    instance: DagsterInstance, filters: RunsFilter, seen: Mapping[str, float], most: int
) -> list[RunRecord]:
    """The runs that have ended and were not seen, the earliest first."""
    found: list[RunRecord] = []
    after: str | None = None
    while len(found) < most:
        page: Sequence[RunRecord] = instance.get_run_records(
            filters, limit=_PAGE, order_by="update_timestamp", ascending=True, cursor=after
        )
        found += [record for record in page if record.dagster_run.run_id not in seen]
        if len(page) < _PAGE:
            break
        after = page[-1].dagster_run.run_id
    return found[:most]


def _start(instance: DagsterInstance, record: RunRecord, sensor: FlowSensor) -> Start:
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
