"""A person edits flows, nodes and ``definitions.py`` while ``rayflow-dagster dev`` runs."""

import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.processes import family, left_after
from e2e.webserver import REPOSITORY, Webserver

pytestmark = pytest.mark.e2e

DEV = (sys.executable, "-m", "rayflow_dagster", "dev", "-w", "workspace.yaml")
SECONDS = 60.0

WAIT_NODE = '''
import time
from pathlib import Path

from rayflow_dagster import RayflowNode


class WaitNode(RayflowNode):
    """Wait until a file is there."""

    inputs = {"path": str}
    outputs = {"path": str}

    def process(self, path):
        while path and not Path(path).exists():
            time.sleep(0.05)
        return {"path": path}
'''
DEFINITIONS = """
from pathlib import Path

from dagster import DefaultSensorStatus, Definitions, RunRequest, ScheduleDefinition
from dagster import SensorDefinition

from rayflow_dagster import build_definitions

nightly = ScheduleDefinition(name="nightly", job_name="other", cron_schedule="0 3 * * *")
sensors = []
defs = Definitions.merge(
    build_definitions(Path(__file__).with_name("flows")),
    Definitions(schedules=[nightly], sensors=sensors),
)
"""
SENSOR = """sensors = [
    SensorDefinition(
        name="once",
        job_name="other",
        evaluation_fn=lambda _: RunRequest(run_key="once"),
        minimum_interval_seconds=1,
        default_status=DefaultSensorStatus.RUNNING,
    )
]
"""
SCHEDULE = {**REPOSITORY, "scheduleName": "nightly"}
SWITCH_ON = """mutation($it: ScheduleSelector!) { startSchedule(scheduleSelector: $it) {
  __typename ... on ScheduleStateResult { scheduleState { status } } } }"""
SWITCHED = """query($it: ScheduleSelector!) { scheduleOrError(scheduleSelector: $it) {
  ... on Schedule { scheduleState { status } } } }"""
RUNS = """query($job: String!) { runsOrError(filter: {pipelineName: $job}) {
  ... on Runs { results { runId status tags { key value } } } } }"""
STARTED = "query($id: ID!) { runOrError(runId: $id) { ... on Run { stepStats { stepKey } } } }"


def chain(*labels: str) -> str:
    """A flow that waits once for each label, one after the other."""
    nodes: list[dict[str, Any]] = [
        {
            "id": "start",
            "type": "start",
            "data": {"label": "Start", "inputs": {"path": {"type": "str", "default": ""}}},
        },
        *({"id": f"n{i}", "type": "nodes.wait.WaitNode", "data": {"label": label}}
          for i, label in enumerate(labels)),
        {"id": "return", "type": "return", "data": {"label": "Return"}},
    ]  # fmt: skip
    edges = []
    for source, target in itertools.pairwise(nodes):
        ends = {"source": source["id"], "target": target["id"]}
        for kind, out, into in (("exec", "exec_out", "exec_in"), ("str", "path", "path")):
            handles = {"sourceHandle": out, "targetHandle": into}
            edges.append({"id": f"e{len(edges)}", "type": kind, **ends, **handles})
    return json.dumps({"nodes": nodes, "edges": edges})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two flows, ``edited`` and ``other``."""
    folder = tmp_path_factory.mktemp("live") / "project"
    for name in ("flows", "nodes"):
        (folder / name).mkdir(parents=True)
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "workspace.yaml").write_text("load_from:\n  - python_file: definitions.py\n")
    (folder / "nodes" / "__init__.py").touch()
    (folder / "nodes" / "wait.py").write_text(WAIT_NODE)
    save(folder, "edited", "First")
    save(folder, "other", "Only")
    return folder


@pytest.fixture(scope="module")
def dev(project: Path, ray_folder: Path) -> Iterator[Webserver]:
    """``rayflow-dagster dev`` in that project; nothing of it outlives Ctrl-C."""
    with Webserver(project, project.parent / "home", ray_folder, DEV) as server:
        until(lambda: "loaded again whenever" in server.log, server)
        yield server
        started = family(str(project))
    assert started
    assert not left_after(started, 30.0)


def save(project: Path, flow: str, *labels: str) -> None:
    (project / "flows" / f"{flow}.json").write_text(chain(*labels))


def until(is_so: Callable[[], bool], server: Webserver) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"it has not come; the log:\n{server.log}"
        time.sleep(0.2)


def steps(server: Webserver, flow: str) -> set[str]:
    return {op["name"] for op in server.job(flow).get("solids", [])}


def has_step(server: Webserver, flow: str, step: str) -> Callable[[], bool]:
    return lambda: step in steps(server, flow)


def test_a_saved_flow_is_there_by_itself(dev: Webserver, project: Path) -> None:
    save(project, "edited", "First", "Added")
    until(has_step(dev, "edited", "Added"), dev)

    save(project, "brand_new", "Alone")
    until(has_step(dev, "brand_new", "Alone"), dev)

    (project / "flows" / "brand_new.json").unlink()
    until(lambda: not steps(dev, "brand_new"), dev)
    assert "after a change of flows/edited.json" in dev.log


def test_a_flow_that_breaks_touches_no_other_and_comes_back(dev: Webserver, project: Path) -> None:
    whole = chain("First", "Mended")
    flow = project / "flows" / "edited.json"

    flow.write_text(whole[: len(whole) // 2])
    until(has_step(dev, "edited", "edited_cannot_run"), dev)
    assert "it is not JSON" in dev.job("edited")["description"]
    until(lambda: "flows/edited.json cannot run: it is not JSON" in dev.log, dev)
    assert dev.run("other").status == "SUCCESS"

    flow.write_text(whole)
    until(has_step(dev, "edited", "Mended"), dev)
    until(lambda: "flows/edited.json can run again" in dev.log, dev)
    assert dev.run("edited").status == "SUCCESS"


def test_a_run_in_progress_keeps_its_flow_while_that_is_edited(
    dev: Webserver, project: Path, tmp_path: Path
) -> None:
    go_on = tmp_path / "go_on"
    save(project, "edited", "Before", "After")
    until(has_step(dev, "edited", "After"), dev)
    run = dev.launch("edited", path=str(go_on))
    until(lambda: "Before" in str(dev.query(STARTED, id=run)["stepStats"]), dev)

    save(project, "edited", "Before", "Replaced")
    until(has_step(dev, "edited", "Replaced"), dev)
    go_on.touch()
    kept, edited = dev.finished(run), dev.run("edited")

    assert kept.status == edited.status == "SUCCESS"
    assert set(kept.steps) == {"Start", "Before", "After", "Return"}
    assert set(edited.steps) == {"Start", "Before", "Replaced", "Return"}
    assert kept.tags["rayflow/flow_hash"] != edited.tags["rayflow/flow_hash"]


def test_the_daemon_learns_of_a_change_and_a_schedule_stays_on_though_its_code_was_broken(
    dev: Webserver, project: Path
) -> None:
    dev.query(SWITCH_ON, it=SCHEDULE)

    (project / "definitions.py").write_text("raise RuntimeError('half done')\n")
    until(lambda: "after a change of definitions.py: RuntimeError: half done" in dev.log, dev)
    (project / "definitions.py").write_text(DEFINITIONS.replace("sensors = []\n", SENSOR))

    until(lambda: '"once"' in json.dumps(dev.query(RUNS, job="other")), dev)
    state = dev.query(SWITCHED, it=SCHEDULE)["scheduleState"]
    assert state == {"status": "RUNNING"}


def test_nothing_outlives_a_dev_that_is_killed(project: Path, tmp_path: Path) -> None:
    own = tmp_path / "project"
    for name in ("flows", "nodes"):
        (own / name).mkdir(parents=True)
    (own / "definitions.py").write_text("from dagster import Definitions\n\ndefs = Definitions()\n")
    (own / "workspace.yaml").write_text((project / "workspace.yaml").read_text())
    server = Webserver(own, tmp_path / "home", tmp_path / "no-ray", DEV)
    with server:
        until(lambda: "loaded again whenever" in server.log, server)
        started = family(str(tmp_path))
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGKILL)

    assert len(started) > 4
    assert not left_after(started, 60.0)
