"""What all sensors share: a look gives runs to start, and the cursor for the next look."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dagster import (
    DefaultSensorStatus,
    JobDefinition,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
)

from rayflow_dagster.compiler.triggers import AnySensor

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
    target: Target, sensor: AnySensor, name: str, look: Looking, settle: Settle | None = None
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
        choice = overlapping.choose(context, seen.starts)
        requests = [target.request(start, choice.tags) for start in choice.chosen]
        if settle is not None:
            settle(context, choice)
        for start in choice.dropped:
            context.log.info(f"{start.what} starts no run: {choice.reason}")
        if requests:
            return SensorResult(
                run_requests=requests,
                cursor=seen.cursor,
                dynamic_partitions_requests=target.new_parts(requests) or None,
            )
        reason = choice.reason if choice.dropped else seen.nothing
        return SensorResult(skip_reason=SkipReason(reason), cursor=seen.cursor)

    return sensor_definition(target.job, sensor, name, evaluate)


def sensor_definition(
    job: JobDefinition, sensor: AnySensor, name: str, evaluate: Callable[..., Any]
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
