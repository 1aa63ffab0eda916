"""Draining the inbox: which stored requests a sensor's tick starts runs for.

A request is offered to Dagster, with its id as ``run_key`` and tag, until a run carries it. The
daemon makes one run of a ``run_key``, however often it is asked, and a run that was recorded is
found by its tag, whoever crashed in between: nothing is lost and nothing starts twice.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, RunsFilter, SensorEvaluationContext

from rayflow_dagster.compiler.starts.triggers import InboxSensor
from rayflow_dagster.defs._dagster import is_tick
from rayflow_dagster.defs.storage import values_root
from rayflow_dagster.inbox.inputs import RequestInputs
from rayflow_dagster.inbox.store import FOLDER, RequestStore, copied_store, has_store

from .overlap import Choice
from .sensors import Look, Looking, Settle
from .starts import Start, Target

REQUEST_TAG = "rayflow/request"
MAX_OFFERS = 10
"""After so many ticks that gave it no run, a request is refused, so that it does not fail every
tick for good."""
MAX_CHARACTERS = 8_000_000
"""Of the inputs of one tick's requests: Dagster keeps them with the tick."""
_GIVEN_UP = (
    f"Dagster was asked {MAX_OFFERS} times to start a run for it and has started none; the ticks "
    "of the flow's inbox sensor say why"
)
_UNFIT = "the flow was changed since the request was accepted, and takes it no longer: "


@dataclass(frozen=True, slots=True)
class InboxRequest:
    """A request to start a run for. ``id`` is the run's ``run_key``."""

    id: str
    inputs: Mapping[str, Any]

    @property
    def tags(self) -> dict[str, str]:
        """Tags that the run must have."""
        return {REQUEST_TAG: self.id}


def inbox_look(target: Target, sensor: InboxSensor) -> Looking:
    """How a sensor looks into the inbox. Its cursor is the inbox itself."""
    inputs = RequestInputs(target.types, target.defaults, {}, sensor.inputs)

    def look(context: SensorEvaluationContext) -> Look:
        most, tries = sensor.max_per_tick, not is_tick(context)
        folder = inbox_folder(context.instance, target.root)
        job = target.job.name
        found = inbox_requests(context.instance, folder, job, inputs, most, tries=tries)
        starts = [
            Start(request.inputs, request.id, f"request {request.id}", request.tags)
            for request in found
        ]
        return Look(starts, nothing="no requests wait")

    return look


def inbox_settle(target: Target) -> Settle:
    """How the inbox is told what a tick makes of the requests that it has looked at. What is only
    tried leaves it as it is.
    """

    def settle_tick(context: SensorEvaluationContext, choice: Choice) -> None:
        if not is_tick(context):
            return
        folder = inbox_folder(context.instance, target.root)
        if choice.chosen:
            mark_offered(folder, _ids(choice.chosen))
        if choice.dropped:
            skip_requests(folder, _ids(choice.dropped), choice.reason)

    return settle_tick


def _ids(starts: Iterable[Start]) -> list[str]:
    return [start.key for start in starts if start.key is not None]


def inbox_folder(instance: DagsterInstance, project: Path) -> Path:
    """Where the requests for the flows of a project are stored: another may have flows of the same
    names.
    """
    digest = hashlib.sha256(os.fsencode(project)).hexdigest()[:16]
    return Path(values_root(instance)) / FOLDER / digest


def inbox_requests(
    instance: DagsterInstance,
    folder: Path,
    job: str,
    inputs: RequestInputs,
    most: int,
    *,
    tries: bool = False,
) -> list[InboxRequest]:
    """The oldest requests in ``folder`` for a flow that have no run, at most ``most``.

    Requests that do not fit the flow as it is now are refused, and so are those that Dagster could
    not start in many ticks. Of what is given back, call ``mark_offered`` for what the tick asks
    runs for; the rest is there again at the next tick. With ``tries`` nothing of it is kept.
    """
    if not has_store(folder):
        return []
    with copied_store(folder) if tries else RequestStore(folder) as store:
        settle(instance, store, job)
        while waiting := store.waiting(job, most, MAX_CHARACTERS):
            refused: dict[str, str] = {}
            found: list[InboxRequest] = []
            for request in waiting:
                problems = inputs.problems(request.inputs)
                if problems:
                    refused[request.id] = _UNFIT + "; ".join(problems)
                elif request.offers >= MAX_OFFERS:
                    refused[request.id] = _GIVEN_UP
                else:
                    found.append(InboxRequest(request.id, inputs.of_run(request.inputs)))
            store.end(refused, "refused")
            if found:
                return found
    return []


def mark_offered(folder: Path, request_ids: Iterable[str]) -> None:
    """Note that the tick asks for runs for these. Call it before the tick ends."""
    with RequestStore(folder) as store:
        store.mark_offered(request_ids)


def skip_requests(folder: Path, request_ids: Iterable[str], reason: str) -> None:
    """Give up requests, as the sensor's ``overlap`` says."""
    with RequestStore(folder) as store:
        store.end(dict.fromkeys(request_ids, reason), "skipped")


def settle(instance: DagsterInstance, store: RequestStore, job: str | None = None) -> None:
    """Note the runs of requests, of a job or of all, that Dagster has recorded meanwhile."""
    store.mark_taken(runs_of(instance, store.offered(job)))


def runs_of(instance: DagsterInstance, request_ids: Iterable[str]) -> dict[str, str]:
    """Request -> the first run that was recorded for it; requests without a run are left out."""
    found: dict[str, str] = {}
    for request_id in request_ids:  # one query each: faster than one with a list of tags
        runs = instance.get_runs(RunsFilter(tags={REQUEST_TAG: request_id}))  # newest first
        if runs:
            found[request_id] = runs[-1].run_id
    return found
