"""What all sensors share: a look gives runs to start, and the cursor for the next look."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dagster import (
    DagsterRunStatus,
    DefaultSensorStatus,
    JobDefinition,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
)

from rayflow_dagster.compiler.starts.triggers import Sensor
from rayflow_dagster.crash_points import crash_point
from rayflow_dagster.defs._dagster import RUN_KEY_TAG
from rayflow_dagster.secrets.references import without_passwords

from .overlap import SENSOR_TAG, Choice, Overlapping
from .starts import Start, Target, told_plainly


@dataclass(frozen=True, slots=True)
class Look:
    """What a sensor saw. ``cursor``: None leaves it as it is; ``nothing``: why there is no run."""

    starts: Sequence[Start]
    cursor: str | None = None
    nothing: str = "nothing new"


Looking = Callable[[SensorEvaluationContext], Look]
Settle = Callable[[SensorEvaluationContext, Choice], None]


def build_sensor(
    target: Target, sensor: Sensor, name: str, look: Looking, settle: Settle | None = None
) -> SensorDefinition:
    """Dagster's sensor of a flow.

    ``look`` tells what is there to start; ``settle`` is told what became of it, before the tick
    ends.

    Raises:
        DagsterInvalidDefinitionError: Dagster does not take the name.
    """
    overlapping = Overlapping(name, target, SENSOR_TAG, sensor.overlap)

    @told_plainly
    def evaluate(context: SensorEvaluationContext) -> SensorResult:
        seen = look(context)
        started = _started(target, name, context, seen.starts)
        fresh = [start for start in seen.starts if start.key not in started]
        choice = overlapping.choose(context, fresh)
        requests = [target.request(start, choice.tags) for start in choice.chosen]
        if settle is not None:
            settle(context, choice)
        if requests:
            crash_point("tick_ended")
        lost = overlapping.lost(context)
        why_not = [f"{each.what} starts no run: {choice.reason}" for each in choice.dropped]
        for told in (*lost, *started.values(), *why_not):
            context.log.info(told)
        if requests:
            return SensorResult(
                run_requests=requests,
                cursor=seen.cursor,
                dynamic_partitions_requests=target.new_parts(requests) or None,
            )
        reason = choice.reason or "; ".join(started.values()) or seen.nothing
        text = without_passwords("; ".join([*lost, reason]))
        return SensorResult(skip_reason=SkipReason(text), cursor=seen.cursor)

    return sensor_definition(target.job, sensor, name, evaluate)


def _started(
    target: Target, name: str, context: SensorEvaluationContext, starts: Sequence[Start]
) -> dict[str | None, str]:
    """The keys that have a run already, and what to say of each: Dagster would pass over them in
    silence. It goes on with a run that was recorded and never submitted.
    """
    found: dict[str | None, str] = {}
    for start in starts:
        if start.key is None:
            continue
        tags = {RUN_KEY_TAG: start.key, SENSOR_TAG: name}
        for run in context.instance.get_runs(RunsFilter(job_name=target.job.name, tags=tags)):
            if target.is_neighbour(run) and run.status != DagsterRunStatus.NOT_STARTED:
                found[start.key] = (
                    f"{start.what} starts no run: run {run.run_id} was started for it before"
                )
    return found


def beginning(context: SensorEvaluationContext) -> str:
    """What a sensor puts into its runs' keys from the look on that has no cursor: once the cursor
    was cleared, other keys than before; the same ones again if the daemon dies in the middle.
    """
    ticked = context.last_tick_completion_time
    return "" if ticked is None else f"-{ticked:.3f}"


def sensor_definition(
    job: JobDefinition, sensor: Sensor, name: str, evaluate: Callable[..., Any]
) -> SensorDefinition:
    """A sensor as Dagster knows it, whatever its ticks do.

    Raises:
        DagsterInvalidDefinitionError: Dagster does not take the name.
    """
    status = DefaultSensorStatus.RUNNING if sensor.running else DefaultSensorStatus.STOPPED
    return SensorDefinition(
        name=name,
        job=job,
        evaluation_fn=evaluate,
        minimum_interval_seconds=sensor.interval,
        description=sensor.description,
        default_status=status,
    )
