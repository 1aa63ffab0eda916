"""A cluster that grows while a run goes on."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from clusters import PATIENCE, ROOT

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

GROW = """
import os, sys, time
from pathlib import Path

from ray.cluster_utils import Cluster

folder = Path(sys.argv[1])
os.environ["RAY_TMPDIR"] = sys.argv[2]
sys.path.insert(0, "tests")
from drawing import draw, node
from running import ODD, PROJECT
from rayflow_dagster.actors import cluster
from rayflow_dagster.actors.manager import ActorManager
from rayflow_dagster.errors import ClusterError
from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.orchestrator import FlowOrchestrator

names = [f"hang{number}" for number in range(6)]
hangs = {name: node(f"{ODD}HangNode", values={"path": "/nowhere"}) for name in names}
wires = ",".join(f"start > {name}" for name in names)
flow = draw({"start": node("start"), **hangs, "return": node("return")}, wires + ",hang0 > return")

machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
cluster.connect(cluster.RaySettings(address=machines.address))
manager = ActorManager(NodeLoader(PROJECT.registry), None, str(PROJECT.root))

def running():
    return sum((folder / name).exists() for name in names)

def wait_for(count):
    while running() < count:
        time.sleep(0.05)

graph = FlowOrchestrator(PROJECT).load(flow)
try:
    manager.prepare(graph)
except ClusterError as error:
    print(error)
machines.add_node(num_cpus=1)
manager.prepare(graph)
for name in names:
    manager.dispatch(name, {"path": str(folder / name)})
wait_for(1)
print(running())
machines.add_node(num_cpus=3)
wait_for(4)
print(running())
manager.cleanup_actors()
cluster.disconnect()
machines.shutdown()
"""


@pytest.fixture
def printed(tmp_path: Path) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="rfg-", dir="/tmp", ignore_cleanup_errors=True) as ray:
        done = subprocess.run(
            [sys.executable, "-c", GROW, str(tmp_path), ray],
            cwd=ROOT,
            # Without the access to a Ray that this process may be connected to.
            env={name: value for name, value in os.environ.items() if name[:4] != "RAY_"},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=True,
        )
    return done.stdout.splitlines()


def test_slots_follow_the_cluster_and_what_can_never_run_is_refused_by_name(printed):
    assert "node 'hang0' asks for CPU 1" in printed[0]
    assert "no machine of the Ray cluster" in printed[0]
    assert printed[1:] == ["1", "4"]
