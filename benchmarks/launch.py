"""Launching a small flow from the webserver: from the request to success.

Ours: a flow of three nodes (START, a trivial node, RETURN) in a project as
``rayflow-dagster init`` lays it out, under ``dagster dev`` with the repository's ``dagster.yaml``,
which is what ``make dev`` starts. Theirs: the same three steps written by hand, with Dagster's
in-process executor, under ``dagster dev`` with Dagster's default settings (its queue, launcher and
storage).

Both servers run at the same time and are asked in turns. A launch is a GraphQL request; then the
run's status is asked for every 20 ms until it is SUCCESS. The first launch of each (which starts
Ray for ours) is told, not compared; then the median of ten.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from _bench import (
    BENCHMARKS,
    QUIET,
    Row,
    alternate,
    is_quick,
    make_home,
    our_settings,
    report,
)
from _flows import chain

OURS = """\
from pathlib import Path

from rayflow_dagster import build_definitions

defs = build_definitions(Path(__file__).with_name("flows"))
"""
THEIRS = """\
from _handmade import chain
from dagster import Definitions, in_process_executor

defs = Definitions(jobs=[chain(1, in_process_executor)])
"""
WORKSPACE = "load_from:\n  - python_file: definitions.py\n"
LOADED = """{ workspaceOrError { ... on Workspace { locationEntries { loadStatus
  locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { required healthy } } } }"
LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"

POLL_SECONDS = 0.02
UP_SECONDS = 120.0
RUN_SECONDS = 120.0
STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running ``dagster dev``, and the job to launch there."""

    port: int
    job: str
    log: Path
    process: "subprocess.Popen[bytes]"

    def query(self, text: str, **variables: Any) -> Any:
        """The one field that ``text`` asks for."""
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        if "errors" in answer:
            raise RuntimeError(str(answer["errors"]))
        (only,) = answer["data"].values()
        return only

    def launch(self) -> float:
        """Seconds from asking for a run until it has succeeded.

        Raises:
            RuntimeError: it did not.
        """
        selector = {
            "repositoryLocationName": "definitions.py",
            "repositoryName": "__repository__",
            "jobName": self.job,
        }
        started = time.perf_counter()
        params = {"selector": selector, "runConfigData": {}}
        launched = self.query(LAUNCH, params=params)
        if launched["__typename"] != "LaunchRunSuccess":
            raise RuntimeError(f"the run was not launched: {launched}")
        while time.perf_counter() - started < RUN_SECONDS:
            status = self.query(STATUS, id=launched["run"]["runId"])["status"]
            if status == "SUCCESS":
                return time.perf_counter() - started
            if status in {"FAILURE", "CANCELED"}:
                break
            time.sleep(POLL_SECONDS)
        raise RuntimeError(f"the run has not succeeded; the server's log:\n{self._tail()}")

    def wait_until_up(self) -> None:
        """Wait until the code location is loaded and the daemons that launch runs are alive.

        Raises:
            RuntimeError: they are not, after two minutes.
        """
        deadline = time.monotonic() + UP_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):  # not listening yet
                entries = self.query(LOADED)["locationEntries"]
                daemons = self.query(DAEMONS)["daemonHealth"]["allDaemonStatuses"]
                is_loaded = entries and all(entry["loadStatus"] == "LOADED" for entry in entries)
                if is_loaded and all(each["healthy"] for each in daemons if each["required"]):
                    return
            time.sleep(0.2)
        raise RuntimeError(f"dagster dev is not up; its log:\n{self._tail()}")

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


def main() -> None:
    """Measure, print and write."""
    quick = is_quick(__doc__)
    repeat = 1 if quick else 10
    with (
        ray_folder() as ray,
        tempfile.TemporaryDirectory(prefix="rfb-launch-") as folder,
        serving(lambda: our_project(Path(folder)), "benchmark", our_settings(), ray) as ours,
        serving(lambda: their_project(Path(folder)), "handmade", QUIET, ray) as theirs,
    ):
        first = {"first": ours.launch(), "first by hand": theirs.launch()}
        found = alternate({"ours": ours.launch, "by hand": theirs.launch}, repeat)
    seconds = {name: median(values) for name, values in found.items()}
    rows = [
        Row(
            "launch of a 3-node flow, request to success", seconds["ours"], seconds["by hand"], 0.25
        ),
        Row("the very first launch, Ray started", first["first"], first["first by hand"]),
    ]
    told = {**found, **{name: [value] for name, value in first.items()}}
    report("launch", rows, quick=quick, measured=told)


def our_project(folder: Path) -> Path:
    """A project with one flow."""
    project = folder / "ours"
    (project / "flows").mkdir(parents=True)
    shutil.copytree(BENCHMARKS / "bench_nodes", project / "nodes")
    text = json.dumps(chain(1)).replace("bench_nodes.", "nodes.")
    (project / "flows" / "benchmark.json").write_text(text)
    return _defined(project, OURS)


def their_project(folder: Path) -> Path:
    """The same job, written by hand."""
    project = folder / "theirs"
    project.mkdir()
    shutil.copy(BENCHMARKS / "_handmade.py", project)
    return _defined(project, THEIRS)


def _defined(project: Path, definitions: str) -> Path:
    (project / "definitions.py").write_text(definitions)
    (project / "workspace.yaml").write_text(WORKSPACE)
    return project


@contextlib.contextmanager
def serving(make: Callable[[], Path], job: str, settings: str, ray: Path) -> Iterator[Server]:
    """``dagster dev`` in the project that ``make`` gives, with its home in it, as ``make dev``."""
    project = make()
    home = make_home(project / ".dagster", settings)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    log = home / "dev.log"
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            cwd=project,
            env={**os.environ, "DAGSTER_HOME": str(home), "RAYFLOW_RAY_DIR": str(ray)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    server = Server(port, job, log, process)
    try:
        server.wait_until_up()
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def ray_folder() -> Iterator[Path]:
    """A folder for the embedded Ray that the first run starts; it is ended after."""
    folder = Path(tempfile.mkdtemp(prefix="rfb-", dir="/tmp"))  # short, for Ray's sockets
    environment = {**os.environ, "RAYFLOW_RAY_DIR": str(folder)}
    stop = "from rayflow_dagster.cluster import connection; connection.stop()"
    try:
        yield folder
    finally:
        subprocess.run([sys.executable, "-c", stop], env=environment, check=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
