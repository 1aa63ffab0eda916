"""What a node leaves running behind ends with its worker, however the run and the worker end."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from drawing import draw, node
from forked_pythons import ForkedProcess, ForkedPythons
from processes import eventually, living, private_folder
from shapes import TESTS

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(sys.platform != "linux", reason="orphans have one parent elsewhere: init"),
]

PATHS = os.pathsep.join([str(TESTS), str(TESTS / "cluster"), os.environ.get("PYTHONPATH", "")])
PROCESSES = ("child_deaf_to_sigterm", "setsid", "double_fork", "child_of_a_daemon")
THREADS = ("thread", "busy_thread")

RUN = """
import json, sys
from running import PROJECT, execute
from rayflow_dagster.orchestrator import FlowOrchestrator
print(execute(FlowOrchestrator(PROJECT), json.loads(sys.argv[1]))["error"])
"""
TERMINATED = """
import json, sys
from pathlib import Path
from dagster_runs import run_and_interrupt
from event_logs import open_instance
from running import PROJECT
from rayflow_dagster.defs.build import build_job
job, file = build_job(json.loads(sys.argv[1]), "test", project=PROJECT), Path(sys.argv[2])
with open_instance(file.parent) as instance:
    print(run_and_interrupt(job, instance, file.exists).status.value)
"""

Start = Callable[..., ForkedProcess]


@pytest.fixture(scope="module")
def start(pythons: ForkedPythons) -> Iterator[Start]:
    """Starts a script with a flow, whose workers descend from the keeper: not as those of the
    tests' own Ray, which are forked elsewhere.
    """
    with contextmanager(private_folder)() as folder:
        variables = {**os.environ, "RAYFLOW_RAY_DIR": str(folder), "PYTHONPATH": PATHS}

        def started(script: str, flow: dict[str, Any], *words: str) -> ForkedProcess:
            return pythons.start(["-c", script, json.dumps(flow), *words], variables=variables)

        yield started


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
def test_after_the_run(start: Start, tmp_path: Path, how: str) -> None:
    assert start(RUN, leaving(tmp_path, how)).communicate()[0] == "None\n"
    assert has_gone(tmp_path / how)


def test_after_a_timeout(start: Start, tmp_path: Path) -> None:
    flow = leaving(tmp_path, "child_of_a_daemon", timeout=3, stays=True)
    assert "timeout" in start(RUN, flow).communicate()[0]
    assert has_gone(tmp_path / "child_of_a_daemon")


def test_after_terminate(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "child_of_a_daemon"
    run = start(TERMINATED, leaving(tmp_path, file.name, stays=True), str(file))
    assert run.communicate()[0] == "CANCELED\n"
    assert has_gone(file)


@pytest.mark.parametrize("how", ["child_of_a_daemon", "busy_thread"])
def test_after_the_death_of_the_runs_process(start: Start, tmp_path: Path, how: str) -> None:
    with start(RUN, leaving(tmp_path, how, stays=True)) as run:
        assert eventually(lambda: (tmp_path / how).exists() or run.poll() is not None)
        run.kill()
    assert has_gone(tmp_path / how)


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
