"""What becomes of a process whose cluster loses its head, which Ray itself says nothing about."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from clusters import PATIENCE, two_machines
from drawing import draw, node

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(sys.platform != "linux", reason="needs loopback addresses of their own"),
]

LISTEN = """
import sys, threading
from rayflow_dagster.cluster import connection
from rayflow_dagster.errors import ClusterError

connection.connect()
heard, told = [], threading.Event()
connection.on_lost(lambda error: 1 / 0)
connection.on_lost(lambda error: (heard.append(str(error)), told.set()))
connection.on_lost(lambda error: heard.append("taken back"))()
print("ready", flush=True)
told.wait()
connection.on_lost(lambda error: heard.append("late"))
try:
    connection.connect()
except ClusterError as error:
    heard.append(str(error))
sys.stdin.readline()  # until Ray has ended a process that did not disconnect
print(*heard, ray.is_initialized(), sep="\\n")
"""

# What Ray does to a process that hears nothing of a lost head.
DEAF = """
import threading
ray.init(log_to_driver=False)
print("ready", flush=True)
threading.Event().wait()
"""

RUN = """
import asyncio, json, sys
from pathlib import Path
from rayflow_dagster.cluster import connection
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project

flow = json.loads(sys.stdin.readline())
project = Project.at(Path("tests"), ["flow_nodes"])
settled = lambda result: print("settled", result["node_id"], flush=True)
orchestrator = FlowOrchestrator(project, on_settled=settled)
print(json.dumps(asyncio.run(orchestrator.execute_flow(flow, {}))))
"""


FLOW = draw(
    {
        "start": "start",
        "first": node("identity", values={"value": 1}),
        "hangs": node("sleep", values={"SECONDS": 3600}),
        "return": "return",
    },
    "start > first, first > hangs, hangs > return",
)


@dataclass(frozen=True)
class Ended:
    """A driver that has ended, and the address of the head that it lost."""

    address: str
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def ended() -> Iterator[dict[str, Ended]]:
    """Two drivers, one that listens and one that runs a flow, and what their head's end did.

    The first still lives when Ray has ended a third one, which was not told.
    """
    sooner = {"RAY_gcs_rpc_server_reconnect_timeout_s": "20"}
    with two_machines() as machines:
        drivers = {
            "listening": machines.driver(LISTEN, **sooner),
            "running": machines.driver(RUN),
        }
        deaf = machines.driver(DEAF, RAY_AUTH_MODE="token", **sooner)
        running = drivers["running"].stdin
        assert running is not None
        print(json.dumps(FLOW), file=running, flush=True)
        wait_for(drivers["listening"], "ready")
        wait_for(drivers["running"], "settled first")
        wait_for(deaf, "ready")
        os.kill(machines.gcs, signal.SIGKILL)
        deaf.communicate(timeout=PATIENCE)
        assert deaf.returncode != 0
        said = {name: driver.communicate(timeout=PATIENCE) for name, driver in drivers.items()}
        yield {
            name: Ended(machines.address, driver.returncode, *said[name])
            for name, driver in drivers.items()
        }


def wait_for(driver: subprocess.Popen[str], line: str) -> None:
    assert driver.stdout is not None
    for said in driver.stdout:
        if said.strip() == line:
            return
    _out, err = driver.communicate(timeout=PATIENCE)
    pytest.fail(f"{line!r} was never said: {err}")


def test_whoever_asked_hears_of_it_and_the_process_lives_on(ended):
    driver = ended["listening"]
    assert driver.code == 0, driver.err
    lost, late, refused, connected = driver.out.splitlines()
    assert f"the head of the Ray cluster at {driver.address} stopped answering" in lost
    assert late == "late"
    assert "nothing answers at Ray address" in refused
    assert connected == "False"
    assert "that the cluster is gone failed" in driver.err


def test_a_flow_ends_with_the_reason(ended):
    driver = ended["running"]
    assert driver.code == 0, driver.err
    answer = json.loads(driver.out.splitlines()[-1])
    assert not answer["success"]
    assert "stopped answering" in answer["error"]
