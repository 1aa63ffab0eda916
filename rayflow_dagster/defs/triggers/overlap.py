"""What a trigger does while a run that it started still goes on: the key ``overlap``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from rayflow_dagster.compiler.triggers import Overlap
from rayflow_dagster.errors import ProjectError

from .starts import Start

ONE_AT_A_TIME_TAG = "rayflow/one_at_a_time"
"""Its value is a trigger's name. ``dagster.yaml`` lets one run of each value go on at a time."""

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
    "overlap '{overlap}' needs a limit that this Dagster instance does not have. Add it to its "
    "dagster.yaml under run_coordinator.config, and restart Dagster: tag_concurrency_limits: "
    f"[{{{{key: {ONE_AT_A_TIME_TAG}, value: {{{{applyLimitPerUniqueValue: true}}}}, limit: 1}}}}]"
)


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
    job: str
    tag: str
    overlap: Overlap

    def choose(self, instance: DagsterInstance, starts: Sequence[Start]) -> Choice:
        """Choose among the runs that could start now, oldest first. ``cancel`` ends runs.

        Raises:
            ProjectError: the instance cannot do what the trigger asks for.
        """
        if self.overlap == "allow" or not starts:
            return Choice(starts)
        if self.overlap == "skip":
            return self._skip(instance, starts)
        self._check_limit(instance)
        tags = {ONE_AT_A_TIME_TAG: self.name}
        if self.overlap == "queue":
            return Choice(starts, tags=tags)
        for run in self._in_progress(instance):
            if run.status != DagsterRunStatus.CANCELING:
                instance.run_coordinator.cancel_run(run.run_id)
        reason = "a newer run took its place (overlap is 'cancel')"
        return Choice(starts[-1:], starts[:-1], reason, tags)

    def _skip(self, instance: DagsterInstance, starts: Sequence[Start]) -> Choice:
        going = self._in_progress(instance)
        if going:
            reason = f"run {going[0].run_id} still goes on (overlap is 'skip')"
            return Choice([], starts, reason)
        return Choice(starts[:1], starts[1:], "another run starts now (overlap is 'skip')")

    def _in_progress(self, instance: DagsterInstance) -> Sequence[DagsterRun]:
        filters = RunsFilter(job_name=self.job, tags={self.tag: self.name}, statuses=_IN_PROGRESS)
        return instance.get_runs(filters)

    def _check_limit(self, instance: DagsterInstance) -> None:
        queue = instance.get_concurrency_config().run_queue_config
        limits = (queue.tag_concurrency_limits or ()) if queue is not None else ()
        if not any(limit.get("key") == ONE_AT_A_TIME_TAG for limit in limits):
            raise ProjectError(_NO_LIMIT.format(overlap=self.overlap))
