"""A real webserver with a real code location, for the end-to-end tests, and its GraphQL."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WEBSERVER = (sys.executable, "-m", "dagster_webserver", "-w", "workspace.yaml")
DEV = (sys.executable, "-m", "rayflow_dagster", "dev", "-w", "workspace.yaml")
LOCATION = "definitions.py"
REPOSITORY = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__"}
START_SECONDS = 90.0
RUN_SECONDS = 120.0
STOP_SECONDS = 30.0

# What `make dev` uses. No daemon runs here; the tests launch what need not wait in its queue.
INSTANCE = Path(__file__).parents[2] / "dagster.yaml"

LOADED = """{ workspaceOrError { ... on Workspace { locationEntries { loadStatus
  locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
JOB = """query($job: PipelineSelector!) { pipelineOrError(params: $job) { ... on Pipeline {
  description solids { name definition { description
    inputDefinitions { name } outputDefinitions { name } } } } } }"""
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
REEXECUTE = """mutation($params: ReexecutionParams!) {
  launchRunReexecution(reexecutionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
RELOAD = """mutation($name: String!) {
  reloadRepositoryLocation(repositoryLocationName: $name) { __typename
    ... on WorkspaceLocationEntry { loadStatus locationOrLoadError { __typename } } } }"""
RUN = """query($id: ID!) { runOrError(runId: $id) { ... on Run {
  status tags { key value } stepStats { stepKey status }
  eventConnection(limit: 1000) { events {
    __typename ... on MessageEvent { message stepKey level }
    ... on ExecutionStepOutputEvent { outputName metadataEntries { label
      ... on TextMetadataEntry { text } ... on IntMetadataEntry { intValue }
      ... on FloatMetadataEntry { floatValue } } }
    ... on ExecutionStepFailureEvent { error { message cause { message stack } } }
    ... on RunFailureEvent { error { message errorChain { error { message } } } }
    ... on LogsCapturedEvent { stepKeys fileKey } } } } } }"""
STEPS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { stepStats { status } } } }"
TERMINATE = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
CAPTURED = "query($key: [String!]!) { capturedLogs(logKey: $key) { stdout stderr } }"

FINISHED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass(frozen=True)
class FinishedRun:
    """What GraphQL tells of a finished run."""

    id: str
    status: str
    tags: dict[str, str]
    steps: dict[str, str]
    """Step key -> status, of the steps that have one."""
    events: list[dict[str, Any]]

    def of(self, kind: str, step: str | None = None) -> list[dict[str, Any]]:
        """The events of one type, of one step."""
        return [e for e in self.events if e["__typename"] == kind and e.get("stepKey") == step]

    def metadata(self, step: str, output: str) -> dict[str, Any]:
        """What stands at an output of a step."""
        found = [
            event
            for event in self.of("ExecutionStepOutputEvent", step)
            if event["outputName"] == output
        ]
        return {
            entry["label"]: next(value for key, value in entry.items() if key != "label")
            for entry in found[0]["metadataEntries"]
        }


@dataclass
class Webserver:
    """``dagster-webserver -w workspace.yaml`` in ``project``, or another command that serves the
    same there, on a free port of the loopback."""

    project: Path
    home: Path
    ray_folder: Path
    command: tuple[str, ...] = WEBSERVER
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def __enter__(self) -> "Webserver":
        self.home.mkdir(parents=True)
        shutil.copy(INSTANCE, self.home)
        self.port = _free_port()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.command, "-h", "127.0.0.1", "-p", str(self.port)],
                cwd=self.project,
                env=environment(self.ray_folder, DAGSTER_HOME=str(self.home)),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait_until_loaded()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    @property
    def _log(self) -> Path:
        return self.home / "webserver.log"

    @property
    def log(self) -> str:
        """What the server has printed."""
        return self._log.read_text()

    def query(self, text: str, **variables: Any) -> Any:
        """The one field that ``text`` asks for."""
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        (only,) = answer["data"].values()
        return only

    def job(self, name: str) -> dict[str, Any]:
        """A job as its page shows it."""
        job: dict[str, Any] = self.query(JOB, job={**REPOSITORY, "pipelineName": name})
        return job

    def run(self, job: str, **inputs: Any) -> FinishedRun:
        """Launch a job and wait until its run has finished."""
        return self.finished(self.launch(job, **inputs))

    def launch(self, job: str, **inputs: Any) -> str:
        """Launch a job; gives the run's id."""
        config = {"ops": {"Start": {"config": inputs}}} if inputs else {}
        params = {"selector": {**REPOSITORY, "jobName": job}, "runConfigData": config}
        return _launched(self.query(LAUNCH, params=params))

    def terminate_in_step(self, run_id: str) -> None:
        """Press Terminate once a step of the run has started."""
        while not self.query(STEPS, id=run_id)["stepStats"]:
            time.sleep(0.1)
        answer = self.query(TERMINATE, id=run_id)
        assert answer["__typename"] == "TerminateRunSuccess", answer

    def reexecute_from_failure(self, run: FinishedRun) -> FinishedRun:
        """What the button does, until the new run has finished."""
        params = {"parentRunId": run.id, "strategy": "FROM_FAILURE"}
        return self.finished(_launched(self.query(REEXECUTE, params=params)))

    def reload(self) -> None:
        """What the reload button of the code location does."""
        entry = self.query(RELOAD, name=LOCATION)
        assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry

    def captured(self, run: FinishedRun, step: str) -> dict[str, str]:
        """The captured output of a step."""
        (event,) = [e for e in run.of("LogsCapturedEvent") if e["stepKeys"] == [step]]
        key = [run.id, "compute_logs", event["fileKey"]]
        captured: dict[str, str] = self.query(CAPTURED, key=key)
        return captured

    def finished(self, run_id: str) -> FinishedRun:
        """A run, once it has finished."""
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            found = self.query(RUN, id=run_id)
            if found["status"] in FINISHED:
                return FinishedRun(
                    run_id,
                    found["status"],
                    {tag["key"]: tag["value"] for tag in found["tags"]},
                    {step["stepKey"]: step["status"] for step in found["stepStats"]},
                    found["eventConnection"]["events"],
                )
            time.sleep(0.3)
        raise AssertionError(f"the run has not finished; the log:\n{self.log}")

    def _wait_until_loaded(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                entries = self.query(LOADED)["locationEntries"]
            except OSError:  # not listening yet
                entries = []
            if entries and all(entry["loadStatus"] == "LOADED" for entry in entries):
                (entry,) = entries
                assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry
                return
            time.sleep(0.2)
        raise AssertionError(f"the webserver is not up; its log:\n{self.log}")


def environment(ray_folder: Path, **more: str) -> dict[str, str]:
    """This process's environment, without what would lead to the user's own Dagster and Ray."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "DAGSTER_", "RAYFLOW_"))
    }
    return {**kept, "RAYFLOW_RAY_DIR": str(ray_folder), **more}


def _launched(answer: dict[str, Any]) -> str:
    assert answer["__typename"] == "LaunchRunSuccess", answer
    run_id: str = answer["run"]["runId"]
    return run_id


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
