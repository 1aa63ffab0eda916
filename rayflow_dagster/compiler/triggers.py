"""What starts a flow by itself: the models of ``schedules``, ``sensors`` and ``partitions``."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .partitions import Partitions

Overlap = Literal["allow", "skip", "queue", "cancel"]

SCHEDULED_TIME = "scheduled_time"
PARTITION = "partition"
ANY = "any"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Trigger(_Strict):
    """What all triggers have."""

    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_]{1,80}$",
        description="Letters, digits and _. It stands behind the job's name in Dagster, where its "
        "state and its past are kept under it; give one where a flow has several triggers.",
    )
    description: str | None = Field(default=None, description="Shown in Dagster.")
    inputs: dict[str, Any] = Field(
        default_factory=dict,
        description="START's inputs. Texts may have templates such as {{ scheduled_time }}.",
    )
    running: bool = Field(
        default=False,
        description="Whether it is on from the start; it can be switched in the UI at any time.",
    )
    overlap: Overlap = Field(
        default="allow",
        description="What to do while a run that it started still goes on: start another (allow), "
        "start none (skip), start it afterwards (queue), or end the one that goes on (cancel).",
    )


class Schedule(Trigger):
    """Starts the flow at times."""

    cron: str | None = Field(
        default=None,
        description="Five fields: minute, hour, day of month, month, day of week. May be left out "
        "where the flow has partitions of time: then it runs at the end of each, for it.",
    )
    timezone: str = Field(default="UTC", description="As in the IANA database: Europe/Madrid.")


class Sensor(Trigger):
    """What all sensors have."""

    max_per_tick: int = Field(default=20, ge=1, le=1000, description="Runs to start at one look.")


class LookingSensor(Sensor):
    """What the sensors have that look by themselves."""

    min_interval: int = Field(
        default=30, ge=1, description="Seconds between two looks, at the least."
    )

    @property
    def interval(self) -> int:
        """Seconds between two looks, at the least."""
        return self.min_interval


class FileSensor(LookingSensor):
    """Starts the flow for files that arrive."""

    type: Literal["file"]
    path: str = Field(
        min_length=1,
        pattern=r"^[^{}]+$",
        description="A file, or a pattern with *, ? and ** as in inbox/*.csv: a path from the "
        "project's folder, or a URL such as s3://bucket/inbox/*.csv.",
    )
    settle: float = Field(
        default=5.0,
        ge=0,
        description="Seconds since its last change after which a file counts as complete.",
    )
    batch: bool = Field(
        default=False, description="One run for all files of a look, instead of one for each."
    )


class FlowSensor(LookingSensor):
    """Starts the flow when another one ends."""

    type: Literal["flow"]
    flow: str = Field(min_length=1, description="The other flow's name.")
    on: Literal["success", "failure", "either"] = "success"


class PollSensor(Sensor):
    """Starts the flow when a class of the author's says so."""

    type: Literal["poll"]
    check: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        description="The class, for example nodes.shop.NewOrders: check(cursor) returns a list of "
        "inputs, one run for each, and the cursor for the next time.",
    )
    every: int = Field(default=30, ge=1, description="Seconds between two checks.")

    @property
    def interval(self) -> int:
        """Seconds between two checks, at the least."""
        return self.every


class InboxSensor(LookingSensor):
    """Starts the flow for requests that another program sends over HTTP."""

    type: Literal["inbox"]


SENSORS: dict[str, type[Sensor]] = {
    "file": FileSensor,
    "flow": FlowSensor,
    "poll": PollSensor,
    "inbox": InboxSensor,
}
"""By the word in ``type``."""

AnySensor = Annotated[
    FileSensor | FlowSensor | PollSensor | InboxSensor, Field(discriminator="type")
]


class Triggers(BaseModel):
    """All that starts a flow, as its file says."""

    model_config = ConfigDict(strict=True, frozen=True)
    schedules: list[Schedule] = Field(default_factory=list)
    sensors: list[AnySensor] = Field(default_factory=list)
    partitions: Partitions | None = Field(
        default=None, description="The parts of the data that runs are for."
    )

    @property
    def bound_input(self) -> str | None:
        """The START input that a run's part is given to."""
        return self.partitions.input if self.partitions is not None else None

    @property
    def every(self) -> list[Schedule | FileSensor | FlowSensor | PollSensor | InboxSensor]:
        """Schedules, then sensors."""
        return [*self.schedules, *self.sensors]


def declared_triggers(flow: Mapping[str, Any]) -> Triggers:
    """The triggers of a flow that has passed the validator.

    Raises:
        pydantic.ValidationError: it has not.
    """
    given = {key: flow[key] for key in Triggers.model_fields if flow.get(key) is not None}
    return Triggers.model_validate(given)


def trigger_names(job: str, triggers: Triggers) -> list[str]:
    """Dagster's names of ``triggers.every``, in its order."""
    taken: set[str] = set()
    counts: Counter[str] = Counter()
    found: list[str] = []
    for trigger in triggers.every:
        kind = "schedule" if isinstance(trigger, Schedule) else trigger.type
        name = base = f"{job}_{trigger.name or kind}"
        while trigger.name is None and name in taken:
            counts[base] += 1
            name = f"{base}_{counts[base] + 1}"
        taken.add(name)
        found.append(name)
    return found


_FILE = {"path": "str", "name": "str", "size": "int", "mtime": "float"}
_RUN = {"run_id": "str", "flow": "str", "status": "str"}


def template_type(trigger: Trigger, name: str) -> str | None:
    """The port type of what a template's name stands for in a trigger's inputs; None if nothing."""
    known: dict[str, str] = {}
    match trigger:
        case Schedule():
            known = {SCHEDULED_TIME: "str"}
        case FileSensor(batch=True):
            known = {"files": "list[dict]", "paths": "list[str]"}
        case FileSensor():
            known = {f"file.{key}": kind for key, kind in _FILE.items()}
        case FlowSensor():
            known = {f"run.{key}": kind for key, kind in _RUN.items()}
            if re.fullmatch(r"result\.[^.\s]+(\.[^.\s]+)*", name):
                return ANY
    return known.get(name)


def known_templates(trigger: Trigger) -> list[str]:
    """The names that may stand in a trigger's inputs, for messages."""
    match trigger:
        case Schedule():
            return [SCHEDULED_TIME]
        case FileSensor(batch=True):
            return ["files", "paths"]
        case FileSensor():
            return [f"file.{key}" for key in _FILE]
        case FlowSensor():
            return [*(f"run.{key}" for key in _RUN), "result.<name>"]
    return []
