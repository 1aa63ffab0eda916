"""Runs that a real ``rayflow-dagster dev`` launches with the settings of this project."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.live_project import until
from e2e.processes import family, left_after
from e2e.webserver import DEV, Webserver

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]

# Written by hand: what the launcher does has nothing to do with flows.
DEFINITIONS = """
import os, time
from dagster import Definitions, in_process_executor, job, op

@op
def speak():
    print("printed")

@op
def crash():
    os._exit(3)

@op
def wait():
    time.sleep(1000)

def of(an_op):
    @job(name=f"job_{an_op.name}", executor_def=in_process_executor)
    def single():
        an_op()
    return single

defs = Definitions(jobs=[of(speak), of(crash), of(wait)])
"""


@pytest.fixture(scope="module")
def webserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webserver]:
    """``rayflow-dagster dev`` with hand-written jobs. It is killed at the end, and nothing outlives
    it: no server, no daemon, no fork server.
    """
    project = tmp_path_factory.mktemp("by_hand") / "project"
    project.mkdir()
    (project / "definitions.py").write_text(DEFINITIONS)
    shutil.copy(ROOT / "workspace.yaml", project)
    with Webserver(project, project.parent / "home", project / "no-ray", DEV) as server:
        until(lambda: "loaded again whenever" in server.log, server)
        yield server
        started = family(str(project))
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGKILL)
    assert len(started) > 4
    assert not left_after(started, 60.0)


def test_a_run_is_forked_and_its_output_captured(webserver: Webserver) -> None:
    run = webserver.run("job_speak")

    assert run.status == "SUCCESS"
    assert webserver.captured(run, "speak")["stdout"] == "printed\n"
    said = [event["message"] for event in run.of("EngineEvent")]
    assert any("Started process for run" in message for message in said)
    assert not any("Dagster's own way" in message for message in said)


def test_a_crash_is_a_failed_run(webserver: Webserver) -> None:
    run = webserver.run("job_crash")

    assert run.status == "FAILURE"
    said = [event["message"] for event in run.of("EngineEvent")]
    assert any("unexpectedly exited with code 3" in message for message in said)
    assert webserver.run("job_speak").status == "SUCCESS"


def test_terminate_ends_a_run(webserver: Webserver) -> None:
    run_id = webserver.launch("job_wait")
    webserver.terminate_in_step(run_id)

    assert webserver.finished(run_id).status == "CANCELED"
