"""What a node leaves running behind ends with its worker, however the run and the worker end."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from dagster_runs import run_and_interrupt
from drawing import draw, node
from event_logs import open_instance
from forked_pythons import ForkedPythons
from processes import eventually, living
from running import PROJECT, execute
from shapes import TESTS

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.orchestrator import FlowOrchestrator

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(sys.platform != "linux", reason="orphans have one parent elsewhere: init"),
]

PROCESSES = ("child_deaf_to_sigterm", "setsid", "double_fork", "child_of_a_daemon")
DEEPEST = PROCESSES[-1]
"""What Ray kills in no case."""
THREADS = ("thread", "busy_thread")


def leaving(folder: Path, how: str, *, stays: bool = False, **data: Any) -> dict[str, Any]:
    """A flow of one node, which leaves something behind and writes its process id to a file."""
    values = {"HOW": how, "FILE": str(folder / how), "STAYS": stays}
    leaves = node("odd_nodes.leaving.LeavingNode", values=values, **data)
    return draw(
        {"start": "start", "leaves": leaves, "end": "return"}, "start > leaves, leaves > end"
    )


def has_gone(file: Path) -> bool:
    return eventually(lambda: not living({int(file.read_text())}))


@pytest.mark.parametrize("how", [*PROCESSES, *THREADS])
def test_after_the_run(ray_session: None, tmp_path: Path, how: str) -> None:
    assert execute(FlowOrchestrator(PROJECT), leaving(tmp_path, how))["error"] is None
    assert has_gone(tmp_path / how)


def test_after_a_timeout(ray_session: None, tmp_path: Path) -> None:
    flow = leaving(tmp_path, DEEPEST, timeout=3, stays=True)
    assert "timeout" in execute(FlowOrchestrator(PROJECT), flow)["error"]
    assert has_gone(tmp_path / DEEPEST)


def test_after_terminate(ray_session: None, tmp_path: Path) -> None:
    flow = leaving(tmp_path, DEEPEST, stays=True)
    with open_instance(tmp_path) as instance:
        run_and_interrupt(
            build_job(flow, "test", project=PROJECT), instance, (tmp_path / DEEPEST).exists
        )
    assert has_gone(tmp_path / DEEPEST)


ADOPTS = """
import os, subprocess
from rayflow_dagster.cluster import leftovers
leftovers.adopt_orphans()
kept = subprocess.Popen(["sleep", "600"])
deep = "setsid -f sh -c 'sleep 600 >&- & echo $!; exec >&-; wait'"
left = subprocess.run(["sh", "-c", deep], stdout=subprocess.PIPE, text=True, check=True).stdout
print(len(leftovers.children() - {kept.pid}), os.path.exists(f"/proc/{left.strip()}"))
leftovers.kill_all_but({kept.pid})
print(leftovers.children() == {kept.pid}, kept.poll(), os.path.exists(f"/proc/{left.strip()}"))
kept.kill()
"""


def test_all_below_but_what_is_kept_has_gone_at_once(pythons: ForkedPythons) -> None:
    assert pythons.run(["-c", ADOPTS]).stdout == "1 True\nTrue None False\n"


RUN = """
import asyncio, json, sys
from pathlib import Path
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project
project = Project.at(Path(sys.argv[1]), ["odd_nodes"])
asyncio.run(FlowOrchestrator(project).execute_flow(json.loads(sys.argv[2]), {}))
"""


@pytest.mark.parametrize("how", [DEEPEST, "busy_thread"])
def test_after_the_death_of_the_runs_process(
    ray_session: None, pythons: ForkedPythons, tmp_path: Path, how: str
) -> None:
    flow = leaving(tmp_path, how, stays=True)
    with pythons.start(["-c", RUN, str(TESTS), json.dumps(flow)]) as run:
        assert eventually(lambda: (tmp_path / how).exists() or run.poll() is not None)
        run.kill()
    assert has_gone(tmp_path / how)
