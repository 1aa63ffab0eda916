"""What the RETURN of a finished run gave, read from what the run has stored."""

from collections.abc import Mapping
from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRun

from rayflow_dagster.errors import RayflowError
from rayflow_dagster.types import RETURN_CLASS
from rayflow_dagster.values.stored import StoredValue

from .names import RESULT
from .ops import CLASS_TAG
from .storage import StoredOutputs


def run_result(instance: DagsterInstance, run: DagsterRun) -> Mapping[str, Any] | StoredValue:
    """The flow's result: itself if it is small and plain, else where it is stored.

    Works for runs of any process, whatever the flow's file says today. Of several RETURNs, the
    first that was reached counts.

    Raises:
        RayflowError: the run has reached no RETURN, or is no run of a flow.
    """
    returns = own_steps(instance, run, RETURN_CLASS)
    stored = StoredOutputs(instance, run.run_id)
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.HANDLED_OUTPUT):
        step = entry.step_key
        if step in returns:
            value: Mapping[str, Any] | StoredValue = stored.find(step, RESULT)
            return value
    raise RayflowError(f"run {run.run_id} has stored no result: it has reached no RETURN")


def own_steps(instance: DagsterInstance, run: DagsterRun, class_path: str) -> list[str]:
    """The steps of a run, by key, whose nodes are of a class and drawn in the flow itself: the keys
    of those in flows that it calls have a dot.
    """
    steps = step_tags(instance, run).items()
    return [key for key, tags in steps if tags.get(CLASS_TAG) == class_path and "." not in key]


def step_tags(instance: DagsterInstance, run: DagsterRun) -> dict[str, Mapping[str, str]]:
    """The tags of every step of a run, by its key."""
    if run.execution_plan_snapshot_id is None:
        return {}
    plan = instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id)
    return {step.key: step.tags or {} for step in plan.steps}
