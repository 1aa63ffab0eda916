"""What starts a flow by itself: the models of ``schedules``, ``sensors`` and ``partitions``.

A kind of sensor is one class here, with its keys, its templates and what can be wrong with it, and
one line of ``KINDS``; ``defs/triggers`` has the Dagster sensor of each.
"""

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Union, get_args

from pydantic import BaseModel, ConfigDict, Field

from rayflow_dagster.errors import ProjectError
from rayflow_dagster.reach import Reach
from rayflow_dagster.secrets.references import without_passwords
from rayflow_dagster.types import Severity
from rayflow_dagster.values.stored import is_url, local_or_url, protocol_problem

from .partitions import Partitions
from .poll_check import poll_problem
from .templates import template_names

Overlap = Literal["allow", "skip", "queue", "cancel"]

SCHEDULED_TIME = "scheduled_time"
PARTITION = "partition"
ANY = "any"
_KIND = "The kind of sensor."


class Problem(NamedTuple):
    """What is wrong with a trigger's ``key``; ``rule`` is the finding's."""

    rule: str
    key: str
    text: str
    severity: Severity = "error"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Trigger(_Strict):
    """What all triggers have."""

    gives_all: ClassVar[bool] = True
    """Whether a run's inputs are those of the trigger alone."""
    whole_key: ClassVar[str | None] = None
    """The key that names the input which gets the whole dict that starts a run, if there is one."""

    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_]{1,80}$",
        description="Letters, digits and _. It follows the job's name in Dagster, where its "
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

    @property
    def templates(self) -> Mapping[str, str]:
        """The names that texts in ``inputs`` may have as templates -> the port type of each."""
        return {}

    @property
    def whole_input(self) -> str | None:
        """The input that gets the whole dict that starts a run; None where that has the inputs."""
        return None if self.whole_key is None else getattr(self, self.whole_key)

    def template_type(self, name: str) -> str | None:
        """The port type of what a template's name is replaced by; None if there is no such."""
        return self.templates.get(name)

    def problems(self, root: Path | None) -> Iterator[Problem]:  # noqa: ARG002
        """What is wrong with it beyond its form, in the project's folder if that is known."""
        yield from ()


class Schedule(Trigger):
    """Starts the flow at times."""

    cron: str | None = Field(
        default=None,
        description="Five fields: minute, hour, day of month, month, day of week. May be left out "
        "where the flow has partitions of time: then it runs at the end of each, for it.",
    )
    timezone: str = Field(default="UTC", description="As in the IANA database: Europe/Madrid.")

    @property
    def templates(self) -> Mapping[str, str]:
        return {SCHEDULED_TIME: "str"}


class Sensor(Trigger):
    """What all sensors have."""

    is_only_one: ClassVar[bool] = False
    """Whether a flow has one of the kind at most."""

    type: str
    max_per_tick: int = Field(default=20, ge=1, le=1000, description="Runs to start at one look.")

    @property
    @abstractmethod
    def interval(self) -> int:
        """Seconds between two looks, at the least."""


class LookingSensor(Sensor):
    """What the sensors have that look by themselves."""

    min_interval: int = Field(
        default=30, ge=1, description="Seconds between two looks, at the least."
    )

    @property
    def interval(self) -> int:
        return self.min_interval


class FileSensor(LookingSensor):
    """Starts the flow for files that arrive."""

    type: Literal["file"] = Field(description=_KIND)
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

    @property
    def templates(self) -> Mapping[str, str]:
        if self.batch:
            return {"files": "list[dict]", "paths": "list[str]"}
        return {"file.path": "str", "file.name": "str", "file.size": "int", "file.mtime": "float"}

    def problems(self, root: Path | None) -> Iterator[Problem]:
        """It looks where the project lets flows use files, by a protocol that is installed."""
        path = local_or_url(self.path)
        if is_url(path):
            problem = protocol_problem(self.path)
            if problem is not None:  # where the sensor looks, the package may be installed
                yield Problem("trigger", "path", without_passwords(problem), "warning")
        elif root is not None:
            try:
                Reach.of(root).pattern(path)
            except ProjectError:
                return  # which whoever opens the project reports
            except PermissionError as error:
                yield Problem("sensor_files", "path", str(error))


class FlowSensor(LookingSensor):
    """Starts the flow when another one ends."""

    type: Literal["flow"] = Field(description=_KIND)
    flow: str = Field(min_length=1, description="The other flow's name.")
    on: Literal["success", "failure", "either"] = Field(
        default="success", description="How the other flow has to end."
    )

    @property
    def templates(self) -> Mapping[str, str]:
        return {"run.run_id": "str", "run.flow": "str", "run.status": "str", "result.<name>": ANY}

    def template_type(self, name: str) -> str | None:
        if re.fullmatch(r"result\.[^.\s]+(\.[^.\s]+)*", name):
            return ANY
        return super().template_type(name)

    def problems(self, root: Path | None) -> Iterator[Problem]:  # noqa: ARG002
        """A result is there only if the other flow has succeeded."""
        for name in template_names(self.inputs) if self.on != "success" else ():
            if name.startswith("result."):
                yield Problem(
                    "trigger_input",
                    "inputs",
                    f"{{{{ {name:.80} }}}} is there only if the flow has succeeded, and on is "
                    f'"{self.on}"; use on: "success", or leave it out',
                )


class PollSensor(Sensor):
    """Starts the flow when a class of the author's says so."""

    gives_all: ClassVar[bool] = False

    type: Literal["poll"] = Field(description=_KIND)
    check: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        description="The class, for example nodes.shop.NewOrders: check(cursor) returns a list of "
        "inputs, one run for each, and the cursor for the next time.",
    )
    every: int = Field(default=30, ge=1, description="Seconds between two checks.")

    @property
    def interval(self) -> int:
        return self.every

    def problems(self, root: Path | None) -> Iterator[Problem]:
        """Its class can be asked."""
        problem = poll_problem(root, self.check) if root is not None else None
        if problem is not None:
            yield Problem("poll_check", "check", problem)


class InboxSensor(LookingSensor):
    """Starts the flow for requests that another program sends over HTTP."""

    gives_all: ClassVar[bool] = False
    is_only_one: ClassVar[bool] = True
    whole_key: ClassVar[str | None] = "body"

    type: Literal["inbox"] = Field(description=_KIND)
    body: str | None = Field(
        default=None,
        min_length=1,
        description="The input of START that gets the whole JSON object that is sent, whatever it "
        "has; without this key, the object has START's inputs.",
    )


KINDS: tuple[type[Sensor], ...] = (FileSensor, FlowSensor, PollSensor, InboxSensor)
"""Every kind of sensor."""
SENSORS: dict[str, type[Sensor]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in KINDS
}
"""The kinds by the word in ``type``."""

if TYPE_CHECKING:
    AnySensor = Sensor
else:
    AnySensor = Annotated[Union[KINDS], Field(discriminator="type")]  # noqa: UP007


class Triggers(BaseModel):
    """All that starts a flow, as its file says."""

    model_config = ConfigDict(strict=True, frozen=True)
    schedules: list[Schedule] = Field(default_factory=list)
    sensors: list[AnySensor] = Field(default_factory=list)
    partitions: Partitions | None = Field(
        default=None, description="The parts of the data that runs are for."
    )
    on_failure: str | None = Field(
        default=None,
        min_length=1,
        description="The flow that starts when a run of this one has failed or was cancelled. It "
        "gets error, inputs and run_id, where its START declares them.",
    )

    @property
    def bound_input(self) -> str | None:
        """The START input that a run's part is given to."""
        return self.partitions.input if self.partitions is not None else None

    @property
    def every(self) -> list[Schedule | Sensor]:
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
