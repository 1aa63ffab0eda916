"""Partitions: Dagster's definition of the parts, and the input that a run's part is given to."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dagster import (
    DagsterInstance,
    DailyPartitionsDefinition,
    DynamicPartitionsDefinition,
    Failure,
    HourlyPartitionsDefinition,
    JobDefinition,
    MonthlyPartitionsDefinition,
    OpExecutionContext,
    PartitionsDefinition,
    StaticPartitionsDefinition,
    TimeWindowPartitionsDefinition,
    WeeklyPartitionsDefinition,
    partition_loading_context,
)

from rayflow_dagster.compiler.starts.partitions import Partitions, moment, part_problem
from rayflow_dagster.errors import InvalidInputsError
from rayflow_dagster.values.preview import preview

_TIMES: dict[str, Any] = {
    "hourly": HourlyPartitionsDefinition,
    "daily": DailyPartitionsDefinition,
    "weekly": WeeklyPartitionsDefinition,
    "monthly": MonthlyPartitionsDefinition,
}

_NAMED = 10
"""So many parts are named in a message."""


def partitions_definition(partitions: Partitions, job: str) -> PartitionsDefinition[str]:
    """Dagster's definition. Dynamic parts are kept under the job's name."""
    if partitions.kind == "static":
        return StaticPartitionsDefinition(partitions.values or [])
    if partitions.kind == "dynamic":
        return DynamicPartitionsDefinition(name=job)
    found: PartitionsDefinition[str] = _TIMES[partitions.kind](
        start_date=_moment(partitions.start),
        end_date=_moment(partitions.end),
        timezone=partitions.timezone,
    )
    return found


def _moment(text: str | None) -> datetime | None:
    return None if text is None else moment(text)


def part_that_ended(definition: TimeWindowPartitionsDefinition, time: datetime) -> str | None:
    """The newest part whose window has ended at ``time``; None before the first has."""
    with partition_loading_context(effective_dt=time):
        return definition.get_last_partition_key()


def window_that_ends(definition: TimeWindowPartitionsDefinition, time: datetime) -> str | None:
    """The part whose window ends at ``time``; None if none does, as after the last one."""
    part = part_that_ended(definition, time)
    if part is None or definition.time_window_for_partition_key(part).end.timestamp() != (
        time.timestamp()
    ):
        return None
    return part


def part_tags(
    partitions: Partitions,
    definition: PartitionsDefinition[str],
    job: JobDefinition,
    inputs: Mapping[str, Any],
    instance: DagsterInstance,
) -> dict[str, str]:
    """The tags of a run that is launched with these inputs; a new dynamic part is added.

    Raises:
        InvalidInputsError: there is no such part, and it cannot be added.
    """
    key = inputs.get(partitions.input)
    if not isinstance(key, str):
        return {}
    problem = _why_no_part(definition, key)
    if problem is not None:
        raise InvalidInputsError([f"input '{partitions.input}': {problem}"])
    if isinstance(definition, DynamicPartitionsDefinition):
        instance.add_dynamic_partitions(str(definition.name), [key])
    return dict(job.get_tags_for_partition_key(key, selected_asset_keys=None))


def _why_no_part(definition: PartitionsDefinition[str], key: str) -> str | None:
    """Why a run cannot be for a part; None if it can."""
    if isinstance(definition, DynamicPartitionsDefinition):
        return part_problem(key)
    if definition.has_partition_key(key):
        return None
    keys = definition.get_partition_keys()
    if not keys:
        return f"there is no partition {preview(key, 80)}, and none yet at all"
    if isinstance(definition, TimeWindowPartitionsDefinition):
        return f"there is no partition {preview(key, 80)} (from {keys[0]} to {keys[-1]})"
    return f"there is no partition {preview(key, 80)} (known: {_listed(keys)})"


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more


def with_part(
    partitions: Partitions, inputs: dict[str, Any], context: OpExecutionContext
) -> dict[str, Any]:
    """START's inputs with the run's part.

    Raises:
        Failure: the run is for one part, and its configuration names another.
    """
    if not context.has_partition_key:
        return inputs
    key, name = context.partition_key, partitions.input
    if inputs.get(name, key) != key:
        raise Failure(
            f"the run is for partition '{key}', but its configuration gives input '{name}' as "
            f"{preview(inputs[name], 80)}; leave the input out, or choose the other partition",
            allow_retries=False,
        )
    return {**inputs, name: key}
