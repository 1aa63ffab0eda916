"""A failed run, or the error of one of its steps, in; why it failed, as a person reads it, out."""

import re
from typing import NamedTuple

from dagster import DagsterEventType, DagsterInstance, DagsterRun

from rayflow_dagster.errors import RayflowError, message_of

from ._dagster import ErrorInfo, failed_by_itself, is_wrapper, step_error
from .compute import BEHIND
from .ops import NODE_TAG
from .results import step_tags


class StepFailure(NamedTuple):
    """``text`` is the node's own exception, type first; of one that stands in a body, with its
    place before it. ``note`` has previews of its inputs.
    """

    text: str
    note: str = ""


def step_failure(node_id: str, error: ErrorInfo | None, said: str | None) -> StepFailure:
    """What a step's error says. ``said`` is what Dagster says of the failure: of a ``Failure`` its
    text, else nothing new.
    """
    own = own_error(error)
    if said and own is not None and own.cls_name == "Failure":
        return StepFailure(said)
    told = error_text(own).partition(f"\n{BEHIND}")[0]
    # The note that the op puts behind the message: the node, where it ran, and its inputs if known.
    note_at = re.search(
        rf"\nnode '{re.escape(node_id)}'[^\n]*?( failed at ([^\n]*?))?(, inputs:\n|$)", told
    )
    if note_at is None:
        return StepFailure(told)
    place = f"{note_at[2]}: " if note_at[2] else ""
    return StepFailure(place + told[: note_at.start()], told[note_at.end() :])


def own_error(error: ErrorInfo | None) -> ErrorInfo | None:
    """The error itself, out of those that Dagster wraps around it."""
    while error is not None and error.cause and is_wrapper(error):
        error = error.cause
    return error


def error_text(error: ErrorInfo | None) -> str:
    """``Type: message``; the message alone where the project's own errors say it all."""
    own = own_error(error)
    if own is None:
        return "it failed without an error"
    name, message = own.cls_name or "Error", own.message.strip()
    head = re.match(rf"(\S*\.)?{re.escape(name)}(: |\n|$)", message)
    if head is None:
        return message
    is_ours = (head[1] or "").startswith("rayflow_dagster.") and head[2] == ": "
    return message[head.end() :] if is_ours else name + message[head.start(2) :]


def why_it_failed(instance: DagsterInstance, run: DagsterRun) -> str:
    """What ``rayflow-dagster run`` would say."""
    steps = step_tags(instance, run)
    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    faults: list[str] = []
    of_run: list[str] = []
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type == DagsterEventType.RUN_FAILURE:
            error = step_error(event)
            text = error_text(error) if error else event.message or ""
            (faults if failed_by_itself(event) else of_run).insert(0, text)
            continue
        node = steps.get(event.step_key or "", {}).get(NODE_TAG, event.step_key or "?")
        data = event.step_failure_data
        said = data.user_failure_data.description if data.user_failure_data else None
        faults.append(f"Node {node} failed: {step_failure(node, data.error, said).text}")
    text = "; ".join(faults or filter(None, of_run)) or "the run ended as FAILURE"
    return message_of(RayflowError(text))
