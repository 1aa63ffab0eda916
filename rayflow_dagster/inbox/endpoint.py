"""What the endpoint answers, apart from HTTP: from names, bytes and ids to status and JSON."""

import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from rayflow_dagster.errors import ProjectError, describe
from rayflow_dagster.suggest import did_you_mean

from .answers import Answer, refusal
from .body import digest_of, read_body
from .fit import for_callers
from .flows import FlowTable, InboxFlow, InboxFlows
from .openapi import openapi
from .runs import RunOutcome, Runs
from .secret_file import EVERYTHING, Granted
from .store import Added, RequestStore, StoredRequest

RETRY_SECONDS = 30
MAX_LISTED = 50
_KEY_REUSED = "this Idempotency-Key was used with another body; take another key"
_LOG = logging.getLogger(__name__)
_P = ParamSpec("_P")


@dataclass(frozen=True, slots=True)
class Limits:
    """What is accepted.

    ``body``: bytes of a request; ``waiting``: requests of one flow without a run; ``rate``:
    requests that start flows in a second, and as many that only ask, over all callers;
    ``keep``: seconds after which a request that is not waiting is forgotten.
    """

    body: int = 1_000_000
    waiting: int = 1000
    rate: float = 20.0
    keep: float = 30 * 24 * 3600.0


def _answers_in_trouble(
    method: "Callable[Concatenate[Endpoint, _P], Answer]",
) -> "Callable[Concatenate[Endpoint, _P], Answer]":
    """Troubles of the disk and of the project's settings as answers."""

    @wraps(method)
    def answering(self: "Endpoint", /, *args: _P.args, **kwargs: _P.kwargs) -> Answer:
        try:
            return method(self, *args, **kwargs)
        except sqlite3.Error as error:
            _LOG.exception("the store of requests cannot be used")
            text = f"the store of requests cannot be used: {_told(error)}; nothing was stored"
        except (ProjectError, OSError) as error:
            _LOG.exception("the project's flows cannot be read")
            text = f"the project's flows cannot be read: {_told(error)}"
        return refusal(503, text, retry=RETRY_SECONDS)

    return answering


def _told(error: Exception) -> str:
    return for_callers(describe(error))


class Endpoint:
    """Takes requests and tells what became of them. Safe to share by threads.

    ``granted``: the flows that the caller may know of; the others are not there for it.
    """

    def __init__(self, store: RequestStore, flows: InboxFlows, runs: Runs, limits: Limits) -> None:
        self._store = store
        self._flows = flows
        self._runs = runs
        self._limits = limits

    @_answers_in_trouble
    def start(
        self, name: str, content: bytes, key: str | None, granted: Granted = EVERYTHING
    ) -> Answer:
        """Take a request for the flow ``name``; it is on the disk when this says 202."""
        table = self._flows.current().only(granted)
        flow = table.takes.get(name)
        if flow is None:
            return _no_such_flow(name, table)
        try:
            sent = read_body(content) if content.strip() else {}
        except ValueError as error:
            return refusal(400, str(error))
        digest = digest_of(sent)
        # A caller who repeats what was accepted gets its id, whatever has changed since.
        known = self._store.keyed(name, digest, key)
        if known is not None:
            return self._added(known)
        inputs = flow.inputs.sent(sent)
        problems = flow.inputs.problems(inputs)
        if problems:
            return refusal(422, f"these inputs do not fit the flow '{name}'", problems[:MAX_LISTED])
        return self._added(self._store.add(name, inputs, digest, key, self._limits.waiting))

    @_answers_in_trouble
    def request(self, request_id: str, granted: Granted = EVERYTHING) -> Answer:
        """What became of a request."""
        stored = self._store.find(request_id)
        if stored is None or stored.flow not in granted:
            return refusal(404, "there is no request of this id; it may have been forgotten by now")
        if stored.state in ("refused", "skipped"):
            status = "failure" if stored.state == "refused" else "canceled"
            return _about(stored, status, error=stored.reason)
        run = self._runs.latest(stored.id) if stored.offers else None
        if run is not None:
            return _about(stored, run.status, run)
        if stored.state == "taken":
            return refusal(410, f"its run {stored.run_id} was deleted in Dagster")
        return _about(stored, "waiting")

    @_answers_in_trouble
    def flows(self, granted: Granted = EVERYTHING) -> Answer:
        """The flows that take requests."""
        table = self._flows.current().only(granted)
        listed = [self._listed(flow) for flow in _sorted(table)]
        broken = {name: for_callers(text) for name, text in sorted(table.broken.items())}
        return Answer(200, {"flows": listed, "broken": broken})

    @_answers_in_trouble
    def openapi(self, granted: Granted = EVERYTHING) -> Answer:
        """The OpenAPI document of today's flows."""
        return Answer(200, openapi(_sorted(self._flows.current().only(granted))))

    def tidy(self) -> None:
        """Note runs that have started, and forget old requests. For now and then."""
        self._runs.settle(self._store)
        self._store.prune(time.time() - self._limits.keep)

    def _listed(self, flow: InboxFlow) -> dict[str, Any]:
        return {
            "name": flow.name,
            "description": flow.description,
            "url": f"/flows/{flow.name}",
            "inputs": flow.inputs.open,
            "body": flow.inputs.body,
            "waiting": self._store.count_waiting(flow.name),
        }

    def _added(self, added: Added) -> Answer:
        match added.outcome:
            case "key_reused":
                return refusal(409, _KEY_REUSED)
            case "full":
                most = self._limits.waiting
                wait = "request of this flow waits" if most == 1 else "requests of this flow wait"
                text = f"{most} {wait} already; does its inbox sensor run?"
                return refusal(503, text, retry=RETRY_SECONDS)
        url = f"/requests/{added.id}"
        body = {"id": added.id, "status_url": url}
        return Answer(202 if added.outcome == "new" else 200, body, {"Location": url})


def _sorted(table: FlowTable) -> list[InboxFlow]:
    return [table.takes[name] for name in sorted(table.takes)]


def _no_such_flow(name: str, table: FlowTable) -> Answer:
    if name in table.broken:
        text = f"the flow '{name}': {for_callers(table.broken[name])}"
        return refusal(503, text, retry=RETRY_SECONDS)
    if name in table.others:
        hint = 'add {"type": "inbox"} to "sensors" in its file'
        return refusal(404, f"the flow '{name}' takes no requests; {hint}")
    near = did_you_mean(name, table.takes)
    return refusal(404, f"there is no flow '{name:.80}'; GET /flows lists those there are{near}")


def _about(
    stored: StoredRequest, status: str, run: RunOutcome | None = None, error: str | None = None
) -> Answer:
    reason = run.error if run else error
    return Answer(
        200,
        {
            "id": stored.id,
            "flow": stored.flow,
            "created": datetime.fromtimestamp(stored.created, UTC).isoformat(),
            "status": status,
            "run_id": run.run_id if run else stored.run_id,
            "result": run.result if run else None,
            "error": None if reason is None else for_callers(reason),
        },
    )
