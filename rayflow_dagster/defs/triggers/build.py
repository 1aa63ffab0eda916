"""``build_triggers``: the schedules and sensors of a flow."""

from collections.abc import Callable, Mapping
from typing import Any

from dagster import (
    DagsterInvalidDefinitionError,
    JobDefinition,
    ScheduleDefinition,
    SensorDefinition,
    SkipReason,
)

from rayflow_dagster.compiler.starts.triggers import (
    FileSensor,
    FlowSensor,
    InboxSensor,
    PollSensor,
    Schedule,
    Sensor,
    trigger_names,
)
from rayflow_dagster.defs.broken import BrokenFlow
from rayflow_dagster.defs.compiled import CompiledFlow
from rayflow_dagster.defs.names import flow_name
from rayflow_dagster.errors import ValidationError

from .failure_sensor import (
    failure_handlers,
    failure_options,
    failure_sensor,
    failure_sensor_name,
    handler_circle,
    misfits,
)
from .file_sensor import file_look
from .flow_sensor import flow_look
from .inbox_sensor import inbox_look, inbox_settle
from .poll_sensor import poll_look
from .schedules import build_schedule, schedule_definition
from .sensors import Looking, Settle, build_sensor, sensor_definition
from .starts import Target

AnyTrigger = ScheduleDefinition | SensorDefinition

LOOKS: dict[type[Sensor], Callable[[Target, Any], Looking]] = {
    FileSensor: file_look,
    FlowSensor: flow_look,
    PollSensor: poll_look,
    InboxSensor: inbox_look,
}
"""How each kind of sensor looks."""
SETTLES: dict[type[Sensor], Callable[[Target], Settle]] = {InboxSensor: inbox_settle}
"""Whom a kind tells what became of its look."""


class LocationTriggers:
    """The triggers of all flows of a code location. Dagster wants each to have its own name."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}
        self._built: list[AnyTrigger] = []

    def check(self, flow: CompiledFlow) -> None:
        """Refuse a flow that has a trigger of a name which another has.

        Raises:
            ValidationError: it has.
        """
        taken = [
            f"trigger '{name}': flow '{self._of[name]}' has one of this name in "
            "Dagster (the flow's name, _ and the trigger's); give it another name"
            for name in _names(flow)
            if name in self._of
        ]
        if taken:
            raise ValidationError(taken)

    def add(self, flow: CompiledFlow, built: list[AnyTrigger]) -> None:
        """Add what ``build_triggers`` has made of a flow."""
        self._of.update(dict.fromkeys(_names(flow), flow.name))
        self._built += built

    def add_stopped(self, flow: BrokenFlow, job: JobDefinition) -> None:
        """Add the triggers that a flow had when it could run, which now start nothing; not those
        whose names another flow has by now.
        """
        names = trigger_names(flow.form.job, flow.form.triggers)
        for trigger, name in zip(flow.form.triggers.every, names, strict=True):
            if name not in self._of:
                self._of[name] = flow.form.job
                self._built.append(_stopped(flow, job, trigger, name))

    def add_failure_sensors(
        self,
        targets: Mapping[str, Target],
        broken: Mapping[str, tuple[BrokenFlow, JobDefinition]],
    ) -> None:
        """Add the sensors of ``on_failure``, when all flows are there, by job. Those of flows that
        would handle each other's failures in a circle, or that do not take what they are given, are
        left out; where one of the two flows cannot run at the moment, they start nothing.
        """
        handlers = failure_handlers(target.flow for target in targets.values())
        for job, handler in handlers.items():
            if handler_circle(job, handlers):
                continue
            if handler in targets:
                if not any(misfits(targets[handler].flow)):
                    self._built.append(failure_sensor(targets[job].flow, targets[handler]))
            elif handler in broken:
                self._add_stopped_failures(job, *broken[handler])
        for job, (flow, own) in broken.items():
            wanted = flow.form.triggers.on_failure
            if wanted is not None and failure_sensor_name(job) not in self._of:
                target = targets.get(flow_name(wanted))
                self._add_stopped_failures(job, flow, own if target is None else target.job)

    def _add_stopped_failures(self, job: str, flow: BrokenFlow, target: JobDefinition) -> None:
        options = failure_options(job, target.name)
        self._built.append(_stopped(flow, target, options, failure_sensor_name(job)))

    def schedules(self) -> list[ScheduleDefinition]:
        """Those that start flows at times."""
        return [each for each in self._built if isinstance(each, ScheduleDefinition)]

    def sensors(self) -> list[SensorDefinition]:
        """Those that look for what starts a flow."""
        return [each for each in self._built if isinstance(each, SensorDefinition)]


def _names(flow: CompiledFlow) -> list[str]:
    job = flow_name(flow.name)
    of_failures = [] if flow.triggers.on_failure is None else [failure_sensor_name(job)]
    return trigger_names(job, flow.triggers) + of_failures


def build_triggers(flow: CompiledFlow, job: JobDefinition) -> list[AnyTrigger]:
    """What starts ``job``, the job of ``flow``, by itself.

    Raises:
        ValidationError: Dagster refuses one of them.
    """
    target = Target(flow, job)
    built: list[AnyTrigger] = []
    names = trigger_names(flow_name(flow.name), flow.triggers)
    for trigger, name in zip(flow.triggers.every, names, strict=True):
        try:
            if isinstance(trigger, Schedule):
                built.append(build_schedule(target, trigger, name))
            else:
                built.append(_sensor(target, trigger, name))
        except DagsterInvalidDefinitionError as error:
            raise ValidationError([f"trigger '{name}': Dagster refuses it: {error}"]) from error
    return built


def _stopped(
    flow: BrokenFlow, job: JobDefinition, trigger: Schedule | Sensor, name: str
) -> AnyTrigger:
    """A trigger as Dagster knows it, whose ticks say why they start nothing."""

    def evaluate(_context: object) -> SkipReason:
        return SkipReason(str(flow.error))

    if isinstance(trigger, Schedule):
        return schedule_definition(
            job, trigger, name, evaluate, flow.form.partitions, flow.form.triggers.partitions
        )
    return sensor_definition(job, trigger, name, evaluate)


def _sensor(target: Target, sensor: Sensor, name: str) -> SensorDefinition:
    kind = type(sensor)
    settle = SETTLES[kind](target) if kind in SETTLES else None
    return build_sensor(target, sensor, name, LOOKS[kind](target, sensor), settle)
