"""Telling a tick from a dry run."""

from dagster import SensorEvaluationContext
from dagster._core.scheduler.instigation import TickStatus


def is_tick(context: SensorEvaluationContext) -> bool:
    """Whether the daemon evaluates a sensor. It has recorded the tick before, under the number that
    its log has; what somebody only tries (the UI, ``dagster sensor preview``, a test) has none.
    """
    number = (context.log_key or [""])[-1]
    storage = context.instance.schedule_storage
    if storage is None or not number.isdecimal():
        return False
    ticks = storage.get_ticks_by_ids([int(number)])
    return any(tick.status == TickStatus.STARTED for tick in ticks)
