"""Schedules: a cron string becomes Dagster's ``ScheduleDefinition``."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from dagster import (
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    TimeWindowPartitionsDefinition,
)

from rayflow_dagster.compiler.triggers import SCHEDULED_TIME, Schedule
from rayflow_dagster.defs.partitions import part_that_ended, window_that_ends
from rayflow_dagster.errors import ValidationError

from .overlap import SCHEDULE_TAG, Overlapping
from .starts import Start, Target, filled, told_plainly


def build_schedule(target: Target, schedule: Schedule, name: str) -> ScheduleDefinition:
    """Dagster's schedule of a flow.

    Raises:
        DagsterInvalidDefinitionError: Dagster takes the cron string or the name otherwise.
    """
    overlapping = Overlapping(name, target.job.name, SCHEDULE_TAG, schedule.overlap)

    @told_plainly
    def requests(context: ScheduleEvaluationContext) -> list[RunRequest | SkipReason]:
        time = context.scheduled_execution_time.astimezone(ZoneInfo(schedule.timezone))
        what = f"the tick of {time.isoformat()}"
        inputs = filled(schedule.inputs, {SCHEDULED_TIME: time.isoformat()}, what)
        parts = _parts(target, schedule, time, context)
        starts = [Start(inputs, key=part, what=what, partition=part) for part in parts]
        choice = overlapping.choose_all(context.instance, starts)
        if not choice.chosen:
            return [SkipReason(choice.reason or "no partition is due")]
        return [target.request(start, choice.tags) for start in choice.chosen]

    def evaluate(context: ScheduleEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        yield from requests(context)

    cron, zone = _times(target, schedule)
    status = DefaultScheduleStatus.RUNNING if schedule.running else DefaultScheduleStatus.STOPPED
    return ScheduleDefinition(
        name=name,
        cron_schedule=cron,
        execution_timezone=zone,
        job=target.job,
        execution_fn=evaluate,
        description=schedule.description,
        default_status=status,
    )


def _times(target: Target, schedule: Schedule) -> tuple[str, str]:
    """When it ticks: as it says, or at the end of each window of the flow's partitions."""
    definition, declared = target.flow.partitions, target.flow.triggers.partitions
    if schedule.cron is not None:
        return schedule.cron, schedule.timezone
    if declared is None or not isinstance(definition, TimeWindowPartitionsDefinition):
        raise ValidationError([f"a schedule of flow '{target.flow.name}' has no cron"])
    return definition.get_cron_schedule(), declared.timezone


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
    return definition.get_partition_keys(dynamic_partitions_store=context.instance)
