"""Schedules: a cron string becomes Dagster's ``ScheduleDefinition``."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from dagster import (
    DefaultScheduleStatus,
    DynamicPartitionsDefinition,
    JobDefinition,
    PartitionsDefinition,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    TimeWindowPartitionsDefinition,
)

from rayflow_dagster.compiler.starts.partitions import Partitions
from rayflow_dagster.compiler.starts.triggers import SCHEDULED_TIME, Schedule
from rayflow_dagster.defs.partitions import part_that_ended, window_that_ends
from rayflow_dagster.errors import ValidationError

from .overlap import SCHEDULE_TAG, Overlapping
from .starts import Start, Target, filled, told_plainly


def build_schedule(target: Target, schedule: Schedule, name: str) -> ScheduleDefinition:
    """Dagster's schedule of a flow.

    Raises:
        DagsterInvalidDefinitionError: Dagster takes the cron string or the name otherwise.
    """
    overlapping = Overlapping(name, target, SCHEDULE_TAG, schedule.overlap)

    @told_plainly
    def requests(context: ScheduleEvaluationContext) -> list[RunRequest | SkipReason]:
        time = context.scheduled_execution_time.astimezone(ZoneInfo(schedule.timezone))
        what = f"the tick of {time.isoformat()}"
        inputs = filled(schedule.inputs, {SCHEDULED_TIME: time.isoformat()}, what)
        parts = _parts(target, schedule, time, context)
        starts = [Start(inputs, key=part, what=what, partition=part) for part in parts]
        choice = overlapping.choose_all(context, starts)
        lost = overlapping.lost(context)
        for told in lost:
            context.log.info(told)
        if not choice.chosen:
            return [SkipReason("; ".join([*lost, choice.reason or "no partition is due"]))]
        return [target.request(start, choice.tags) for start in choice.chosen]

    def evaluate(context: ScheduleEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        yield from requests(context)

    declared = target.flow.triggers.partitions
    return schedule_definition(
        target.job, schedule, name, evaluate, target.flow.partitions, declared
    )


def schedule_definition(
    job: JobDefinition,
    schedule: Schedule,
    name: str,
    evaluate: Callable[..., Any],
    parts: PartitionsDefinition[str] | None,
    declared: Partitions | None,
) -> ScheduleDefinition:
    """A schedule as Dagster knows it, whatever its ticks do. It ticks as it says, or at the end of
    each window of the flow's partitions.

    Raises:
        DagsterInvalidDefinitionError: Dagster takes the cron string or the name otherwise.
    """
    cron, zone = schedule.cron, schedule.timezone
    if cron is None:
        if declared is None or not isinstance(parts, TimeWindowPartitionsDefinition):
            raise ValidationError([f"schedule '{name}' has no cron"])
        cron, zone = parts.get_cron_schedule(), declared.timezone
    status = DefaultScheduleStatus.RUNNING if schedule.running else DefaultScheduleStatus.STOPPED
    return ScheduleDefinition(
        name=name,
        cron_schedule=cron,
        execution_timezone=zone,
        job=job,
        execution_fn=evaluate,
        description=schedule.description,
        default_status=status,
    )


def _parts(
    target: Target, schedule: Schedule, time: datetime, context: ScheduleEvaluationContext
) -> Sequence[str | None]:
    """The parts that a tick starts runs for: of windows of time one, of others all.

    Without a cron that is the window which ends now, else the newest that has ended.
    """
    definition = target.flow.partitions
    if definition is None:
        return [None]
    if isinstance(definition, TimeWindowPartitionsDefinition):
        ended = window_that_ends if schedule.cron is None else part_that_ended
        part = ended(definition, time)
        return [] if part is None else [part]
    is_dynamic = isinstance(definition, DynamicPartitionsDefinition)
    store = context.instance if is_dynamic else None
    return definition.get_partition_keys(dynamic_partitions_store=store)
