"""A trigger and the runs that it has started: what it does while one goes on (the key ``overlap``),
and what it tells of those that have died.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunsFilter,
    ScheduleEvaluationContext,
    SensorEvaluationContext,
)

from rayflow_dagster.compiler.starts.triggers import Overlap
from rayflow_dagster.defs._dagster import is_tick
from rayflow_dagster.defs.lost_runs import TOLD_TAG, untold
from rayflow_dagster.defs.names import ENDS_TAG
from rayflow_dagster.errors import ProjectError

from .starts import Start, Target

ONE_AT_A_TIME_TAG = "rayflow/one_at_a_time"
"""Its value is a trigger's name and project. ``dagster.yaml`` lets one run of each value go on at a
time.
"""

SCHEDULE_TAG = "dagster/schedule_name"
SENSOR_TAG = "dagster/sensor_name"
"""What Dagster tags the runs of a trigger with (its docs: "Run tags")."""

_IN_PROGRESS = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
_NO_LIMIT = (
    "overlap '{overlap}' needs a limit that this Dagster instance does not have. Add it to the "
    "run_coordinator of its dagster.yaml, and restart Dagster. Where there is no run_coordinator, "
    "add: run_coordinator: {{module: rayflow_dagster.instance.coordinator, "
    "class: PromptRunCoordinator, config: "
    f"{{{{tag_concurrency_limits: [{{{{key: {ONE_AT_A_TIME_TAG}, "
    "value: {{applyLimitPerUniqueValue: true}}, limit: 1}}]}}}}"
)
_NO_COORDINATOR = (
    "overlap 'cancel' needs a run coordinator that ends runs when their successor is submitted. In "
    "dagster.yaml, name this one, which takes the same config, and restart Dagster: "
    "run_coordinator: {module: rayflow_dagster.instance.coordinator, class: PromptRunCoordinator}"
)


Evaluation = SensorEvaluationContext | ScheduleEvaluationContext
"""Its instance is asked for only where it is needed: a test may have none."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of the runs that could start are asked for, and which never will be."""

    chosen: Sequence[Start]
    dropped: Sequence[Start] = ()
    reason: str = ""
    """Why the dropped ones are."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What the runs must be tagged with."""


@dataclass(frozen=True, slots=True)
class Overlapping:
    """The overlap of one trigger. ``tag``: which of Dagster's tags has the trigger's ``name``."""

    name: str
    target: Target
    tag: str
    overlap: Overlap

    def choose(self, context: Evaluation, starts: Sequence[Start]) -> Choice:
        """Choose among the runs that could start now, oldest first, of which each is in the way of
        the others. Nothing changes by it: a run that is to end others is tagged with them.

        Raises:
            ProjectError: the instance cannot do what the trigger asks for.
        """
        choice = self.choose_all(context, starts)
        match self.overlap:
            case "skip" if choice.chosen:
                reason = "another run starts now (overlap is 'skip')"
                return Choice(starts[:1], starts[1:], reason)
            case "cancel":
                reason = "a newer run took its place (overlap is 'cancel')"
                return Choice(starts[-1:], starts[:-1], reason, choice.tags)
        return choice

    def choose_all(self, context: Evaluation, starts: Sequence[Start]) -> Choice:
        """As ``choose``, for runs that belong together: all of them or none.

        Raises:
            ProjectError: the instance cannot do what the trigger asks for.
        """
        if self.overlap == "allow" or not starts:
            return Choice(starts)
        instance = context.instance
        if self.overlap == "skip":
            going = self._in_progress(instance)
            reason = f"run {going[0].run_id} still goes on (overlap is 'skip')" if going else ""
            return Choice([], starts, reason) if going else Choice(starts)
        self._check_limit(instance)
        tags = {ONE_AT_A_TIME_TAG: f"{self.name} in {self.target.flow.project.tag}"}
        if self.overlap == "cancel":
            ended = [run.run_id for run in self._in_progress(instance)]
            tags |= {ENDS_TAG: " ".join(ended)} if ended else {}
        return Choice(starts, tags=tags)

    def lost(self, context: Evaluation) -> list[str]:
        """What this tick tells of runs of the trigger that have died; no later one does."""
        if not context.log_key:  # somebody only tries it, perhaps without an instance
            return []
        instance = context.instance
        found = untold(instance, self.target.job.name, {self.tag: self.name})
        told = {run.run_id: text for run, text in found if self.target.is_neighbour(run)}
        if told and is_tick(context):
            for run_id in told:
                instance.add_run_tags(run_id, {TOLD_TAG: "true"})
        return list(told.values())

    def _in_progress(self, instance: DagsterInstance) -> Sequence[DagsterRun]:
        job, tags = self.target.job.name, {self.tag: self.name}
        runs = instance.get_runs(RunsFilter(job_name=job, tags=tags, statuses=_IN_PROGRESS))
        return [run for run in runs if self.target.is_neighbour(run)]

    def _check_limit(self, instance: DagsterInstance) -> None:
        queue = instance.get_concurrency_config().run_queue_config
        limits = (queue.tag_concurrency_limits or ()) if queue is not None else ()
        if not any(limit.get("key") == ONE_AT_A_TIME_TAG for limit in limits):
            raise ProjectError(_NO_LIMIT.format(overlap=self.overlap))
        if self.overlap == "cancel" and not hasattr(instance.run_coordinator, "end_runs"):
            raise ProjectError(_NO_COORDINATOR)
