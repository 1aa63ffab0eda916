"""Detached actors that outlive a run: they keep the embedded Ray, are listed, and can be ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import PATIENCE, ROOT
from processes import driver, eventually, family, living, private_folder, said

from rayflow_dagster.actors import cluster
from rayflow_dagster.actors.cluster import RaySettings

pytestmark = pytest.mark.ray

LEAVE = """
import os, ray
from rayflow_dagster.actors import cluster
from rayflow_dagster.actors.residents import NAMESPACE, PREFIX

class Staying:
    def pid(self):
        return os.getpid()

def leave(name, **options):
    actor = ray.remote(Staying).options(
        name=name, namespace=NAMESPACE, lifetime="detached", num_cpus=0, **options
    ).remote()
    ray.get(actor.__ray_ready__.remote())
    return actor
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    yield from private_folder()


def cli(*arguments: str, **environment: str) -> str:
    """What ``rayflow-dagster ray`` prints."""
    command = [sys.executable, "-m", "rayflow_dagster", "ray", *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE,
        env={**os.environ, **environment},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_resident_keeps_the_embedded_ray_until_it_ends_and_is_listed(folder):
    source = f"""{LEAVE}
cluster.connect({RaySettings(num_cpus=1, idle_seconds=0.5)!r})
leave("rayflow-variables-of-a-run-that-died")
print(ray.get(leave(PREFIX + "-model").pid.remote()))
"""
    pid = int(said(driver(source)))
    keeper = cluster.status()
    assert keeper is not None
    everything = family(keeper.pid)
    assert "  resident rayflow-resident-model on 127.0.0.1\n" in cli("status")
    time.sleep(2)  # four times as long as it may idle
    assert cluster.status() == keeper
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not living(everything))
    assert cluster.residents() == []


def test_stop_names_the_residents_that_it_ends(folder):
    said(driver(f"{LEAVE}\ncluster.connect(RaySettings(num_cpus=1))\nleave(PREFIX + '-model')"))
    expected = "the embedded Ray is stopped, and with it 1 resident(s): rayflow-resident-model\n"
    assert cli("stop") == expected


def test_on_an_existing_cluster_residents_are_listed_and_ended_and_it_stays(machines):
    source = f"""{LEAVE}
cluster.connect()
leave(PREFIX + "-model", resources={{"special": 0.1}})
leave("of-somebody-else")
"""
    said(machines.driver(source))
    access = {
        "RAY_ADDRESS": machines.address,
        "RAY_AUTH_TOKEN_PATH": str(machines.folder / "token"),
    }
    listed = cli("status", **access)
    assert f"RAY_ADDRESS names an existing cluster, which answers: {machines.address}" in listed
    assert "  resident rayflow-resident-model on 127.0.0.4\n" in listed
    assert "somebody" not in listed
    stopped = cli("stop", **access)
    assert f"the cluster at {machines.address} is not ours to stop" in stopped
    assert "1 resident(s): rayflow-resident-model" in stopped
    assert "resident rayflow" not in cli("status", **access)
    left = "from rayflow_dagster.actors import cluster\ncluster.connect()\n"
    left += "print(ray.get_actor('of-somebody-else', namespace='rayflow') is not None)"
    assert said(machines.driver(left)) == "True\n"
