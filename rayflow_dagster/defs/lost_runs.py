"""Runs whose process died: tags by which Dagster launches them again, and what is told of others.

Dagster launches a failed run again as its tags say (its docs: "Run retries"), if ``dagster.yaml``
has ``run_retries``. What a trigger has started is tagged so until its first node runs; a flow with
``settings.retry_lost`` is from its first to its last.
"""

from collections.abc import Iterator

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from rayflow_dagster.encodable import encodable

from ._dagster import (
    AUTO_RETRY_RUN_ID_TAG,
    MAX_RETRIES_TAG,
    RETRY_ON_ASSET_OR_OP_FAILURE_TAG,
    RUN_FAILURE_REASON_TAG,
    UNEXPECTED_TERMINATION,
    WILL_RETRY_TAG,
)

AGAIN = {MAX_RETRIES_TAG: "3", RETRY_ON_ASSET_OR_OP_FAILURE_TAG: "false"}
"""Launch it again if its process died, and not because a node has failed."""
STARTED_FOR_TAG = "rayflow/started_for"
"""What a trigger has started a run for, as words: a file, a request, a tick."""
TOLD_TAG = "rayflow/told"
"""A run that was lost has it when a tick of its trigger has said so."""
_MAX_NAMED = 200


def started_for(what: str) -> dict[str, str]:
    """The tag that says what a trigger starts a run for."""
    return {STARTED_FOR_TAG: encodable(what)[:_MAX_NAMED]}


def ends_with_first_node(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether a run of a trigger is launched again until its first node runs, not after that."""
    left = run.tags.get(MAX_RETRIES_TAG, "0")
    return STARTED_FOR_TAG in run.tags and left != "0" and instance.run_retries_enabled


def launch_no_more(instance: DagsterInstance, run: DagsterRun) -> None:
    """Have a run not launched again if its process dies from now on."""
    instance.add_run_tags(run.run_id, {MAX_RETRIES_TAG: "0"})


def is_launched_again(run: DagsterRun) -> bool:
    """Whether a failed run is launched again by Dagster, or was."""
    return run.tags.get(WILL_RETRY_TAG) == "true"


def waits_to_be_launched_again(run: DagsterRun) -> bool:
    """Whether it is, and has no successor yet."""
    return is_launched_again(run) and AUTO_RETRY_RUN_ID_TAG not in run.tags


def untold(
    instance: DagsterInstance, job: str, tags: dict[str, str]
) -> Iterator[tuple[DagsterRun, str]]:
    """The runs of a trigger that were lost and are not launched again, of which no tick has told,
    and what to say of each.
    """
    lost = {**tags, RUN_FAILURE_REASON_TAG: UNEXPECTED_TERMINATION}
    filters = RunsFilter(job_name=job, tags=lost, statuses=[DagsterRunStatus.FAILURE])
    for run in instance.get_runs(filters):
        if not is_launched_again(run) and TOLD_TAG not in run.tags:
            what = run.tags.get(STARTED_FOR_TAG, "a start of this trigger")
            why = ", as nodes of it may have run" if run.tags.get(MAX_RETRIES_TAG) == "0" else ""
            yield (
                run,
                f"{what} is not worked through: the process of run {run.run_id}, which was started "
                f"for it, has died. It is not launched again by itself{why}; re-execute it from "
                "its page in the UI, or have such runs launched again with settings.retry_lost in "
                "the flow file",
            )
