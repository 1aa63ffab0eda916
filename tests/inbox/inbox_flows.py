"""Flows that take requests, and a server that takes them, for tests."""

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster import DagsterInstance
from drawing import draw, node

from rayflow_dagster.cli.inbox_runs import DagsterRuns
from rayflow_dagster.defs.jobs import job_name
from rayflow_dagster.defs.triggers.inbox_sensor import inbox_folder
from rayflow_dagster.inbox.app import build_app
from rayflow_dagster.inbox.endpoint import Endpoint, Limits
from rayflow_dagster.inbox.flows import InboxFlows
from rayflow_dagster.inbox.secret_file import Secrets, parse_secrets
from rayflow_dagster.inbox.serve import build_server, listen
from rayflow_dagster.inbox.store import RequestStore
from rayflow_dagster.project import Project
from rayflow_dagster.types import RETURN_CLASS, START_CLASS

SECRET = "a-secret-of-the-tests"
INBOX = {"type": "inbox"}


def flow_of(inputs: Mapping[str, Any], *sensors: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    """A flow that gives back what START has."""
    wires = ["start > back", *(f"start.{name} - back.{name}" for name in inputs)]
    nodes = {"start": node(START_CLASS, inputs=dict(inputs)), "back": RETURN_CLASS}
    return draw(nodes, ", ".join(wires), sensors=list(sensors), **keys)


def write_flow(folder: Path, name: str, flow: Mapping[str, Any]) -> Path:
    file = folder / f"{name}.json"
    file.write_text(json.dumps(flow))
    return file


@dataclass(frozen=True)
class Answered:
    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Caller:
    """Another program, which knows the secret."""

    port: int
    secret: str | None = SECRET
    address: str = "127.0.0.1"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answered:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.secret is not None:
            sent.setdefault("Authorization", f"Bearer {self.secret}")
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=30, source_address=(self.address, 0)
        )
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answered(answer.status, json.load(answer), dict(answer.getheaders()))
        finally:
            connection.close()

    def get(self, path: str) -> Answered:
        return self.ask("GET", path)

    def post(self, flow: str, inputs: Any, **headers: str) -> Answered:
        body = inputs if isinstance(inputs, bytes) else json.dumps(inputs).encode()
        return self.ask(
            "POST", f"/flows/{flow}", body, **{"Content_Type": "application/json", **headers}
        )

    def started(self, flow: str, inputs: Any) -> str:
        """The id of a request that was taken."""
        answered = self.post(flow, inputs)
        assert answered.status == 202, answered.body
        request_id: str = answered.body["id"]
        return request_id

    def about(self, request_id: str) -> dict[str, Any]:
        answered = self.get(f"/requests/{request_id}")
        assert answered.status == 200, answered.body
        body: dict[str, Any] = answered.body
        return body


@dataclass(frozen=True)
class Served:
    """A server in a thread of this process. ``folder``: where its requests are stored."""

    caller: Caller
    folder: Path
    store: RequestStore


@contextlib.contextmanager
def serving(
    flows: Path,
    instance: DagsterInstance,
    limits: Limits | None = None,
    secrets: Callable[[], Secrets] = lambda: parse_secrets(SECRET),
) -> Iterator[Served]:
    limits = limits or Limits(rate=1000.0)
    folder = inbox_folder(instance, Project.around(flows).root)
    with RequestStore(folder) as store, listen("127.0.0.1", 0) as listening:
        endpoint = Endpoint(store, InboxFlows(flows, job_name), DagsterRuns(instance), limits)
        server = build_server(build_app(endpoint, secrets, limits))
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Served(Caller(port), folder, store)
        finally:
            server.should_exit = True
            thread.join()
