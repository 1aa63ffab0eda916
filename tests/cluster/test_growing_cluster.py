"""A cluster that grows and shrinks while a run goes on."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from clusters import PATIENCE, ROOT

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

# "tell" prints what a test looks at. "wait_for" fails with the reason where a node has failed, and
# not by waiting for it for ever.
DRIVER = """
import json, os, sys, time
from pathlib import Path

from ray.cluster_utils import Cluster

folder = Path(sys.argv[1])
sys.path.insert(0, "tests")
from drawing import draw, node
from running import ODD, PROJECT
from rayflow_dagster.cluster import connection, feasible
from rayflow_dagster.actors.manager import ActorManager
from rayflow_dagster.errors import ClusterError
from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.orchestrator import FlowOrchestrator

def tell(**what):
    print(json.dumps(what), flush=True)

def graph_of(**hangs):
    hangs = {name: node(f"{ODD}HangNode", values={"path": "/nowhere"}, **data)
             for name, data in hangs.items()}
    wires = [f"start > {name}" for name in hangs] + [f"{next(iter(hangs))} > return"]
    flow = draw({"start": node("start"), **hangs, "return": node("return")}, ",".join(wires))
    return FlowOrchestrator(PROJECT).load(flow)

def refusal(graph):
    try:
        manager.prepare(graph)
    except ClusterError as error:
        return str(error)

def hang(name):
    return manager.dispatch(name, {"path": str(folder / name)})

def running(names):
    return sum((folder / name).exists() for name in names)

def wait_for(is_so, *futures):
    while not is_so():
        for future in futures:
            if future.done():
                raise SystemExit(f"a node has failed: {future.exception()}")
        time.sleep(0.05)

machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
connection.connect(connection.RaySettings(address=machines.address))
manager = ActorManager(NodeLoader(PROJECT.registry), None, str(PROJECT.root))
"""
GROW = """
names = [f"hang{number}" for number in range(6)]
graph = graph_of(**dict.fromkeys(names, {}))
tell(refused=refusal(graph))
machines.add_node(num_cpus=1)
manager.prepare(graph)
hanging = [hang(name) for name in names]
wait_for(lambda: running(names) >= 1, *hanging)
tell(running=running(names))
machines.add_node(num_cpus=3)
wait_for(lambda: running(names) >= 4, *hanging)
tell(running=running(names))
"""
SHRINK = """
special = {"num_cpus": 0, "resources": {"special": 1}}
graph = graph_of(plain={}, special={"ray": special}, kept={"ray": special, "resident": True})
tell(refused=refusal(graph))
machine = machines.add_node(num_cpus=1, resources={"special": 2})
manager.prepare(graph)

machines.remove_node(machine)
back = hang("special")
wait_for(lambda: manager._pool._stranded._since, back)
machine = machines.add_node(num_cpus=1, resources={"special": 2})
wait_for(lambda: running(["special"]), back)
tell(came_back=True)

feasible.GRACE_SECONDS = 1
machines.remove_node(machine)
tell(ran=str(back.exception()))
for name in ("plain", "special", "kept"):
    tell(waited=str(hang(name).exception()))
"""
NO_SLOTS = """
machines.add_node(num_cpus=0, resources={"special": 1})
special = {"resources": {"special": 1}}
kept = node("identity", values={"value": 1}, ray=special, resident=True)
flow = draw({"start": node("start"), "kept": kept, "return": node("return")},
            "start > kept, kept > return")
manager.prepare(FlowOrchestrator(PROJECT).load(flow))
tell(outputs=manager.dispatch("kept", {"value": 1}).result().outputs)
tell(refused=refusal(graph_of(own={"ray": special})))
"""
END = """
manager.cleanup_actors()
connection.disconnect()
machines.shutdown()
"""


@contextmanager
def driver(source: str, folder: Path, ray: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that is a cluster and its driver; nothing of both is left afterwards."""
    # Without the access to a Ray that this process may be connected to, or its user to another.
    own = {name: value for name, value in os.environ.items() if name[:4] != "RAY_"}
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER + source + END, str(folder)],
        cwd=ROOT,
        env={**own, "RAY_TMPDIR": ray, "HOME": ray},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # all have ended by themselves
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=PATIENCE)


def told(source: str, folder: Path) -> list[dict[str, Any]]:
    """What the driver told, in its order."""
    with (
        tempfile.TemporaryDirectory(prefix="rfg-", dir="/tmp", ignore_cleanup_errors=True) as ray,
        driver(source, folder, ray) as process,
    ):
        out, err = process.communicate(timeout=4 * PATIENCE)
        assert process.returncode == 0, out + err
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def test_slots_follow_the_cluster_and_what_can_never_run_is_refused_by_name(tmp_path: Path):
    refused, *rest = told(GROW, tmp_path)
    assert "node 'hang0' asks for CPU 1" in refused["refused"]
    assert "no machine of the Ray cluster" in refused["refused"]
    assert rest == [{"running": 1}, {"running": 4}]


def test_what_waits_for_a_machine_that_left_runs_when_it_is_back_and_else_fails_by_name(tmp_path):
    refused, came_back, ran, plain, special, kept = told(SHRINK, tmp_path)
    assert "node 'plain' asks for CPU 1; node 'special' asks for special 1" in refused["refused"]
    assert "node 'kept' asks for special 1" in refused["refused"]
    assert came_back == {"came_back": True}
    assert "its actor died while it ran" in ran["ran"]
    assert "node 'plain' asks for CPU 1: no machine" in plain["waited"]
    assert "node 'special' asks for special 1: no machine" in special["waited"]
    assert "node 'kept' asks for special 1: no machine" in kept["waited"]
    assert "none came back within 1 s" in kept["waited"]


def test_a_resident_runs_on_a_machine_without_slots_where_any_other_node_is_refused(tmp_path):
    ran, refused = told(NO_SLOTS, tmp_path)
    assert ran == {"outputs": {"value": 1}}
    assert "node 'own' asks for CPU 1, special 1" in refused["refused"]
