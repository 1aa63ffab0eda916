"""When the embedded Ray ends, and the detached actors that outlive a run: they keep it, are listed,
and can be ended."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import said as machines_said
from processes import PATIENCE, driver, eventually, family, living, private_folder, said

from rayflow_dagster.cluster import connection
from rayflow_dagster.cluster.connection import RaySettings

pytestmark = pytest.mark.ray

LEAVE = """
import os, ray
from rayflow_dagster.cluster import connection
from rayflow_dagster.cluster.residents import NAMESPACE, PREFIX

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


STATUS = ["ray", "status"]
STOP = ["ray", "stop"]


def cli(*commands: list[str]) -> str:
    """Source that runs ``rayflow-dagster`` with these arguments, one after another."""
    return f"""
from rayflow_dagster.cli import main
for arguments in {commands!r}:
    main(arguments, standalone_mode=False)
"""


def test_it_ends_when_idle_but_not_while_a_driver_is_connected_or_a_resident_lives(folder):
    """What each of them does takes many times as long as it may idle."""
    source = f"""{LEAVE}
connection.connect({RaySettings(num_cpus=1, idle_seconds=0.1)!r})
print(ray.get(ray.remote(lambda: "still up").remote()))
leave("rayflow-variables-of-a-run-that-died")
print(ray.get(leave(PREFIX + "-model").pid.remote()))
"""
    up, pid = said(driver(source)).splitlines()
    assert up == "still up"
    keeper = connection.status()
    assert keeper is not None
    everything = family(keeper.pid)
    assert "  resident rayflow-resident-model on 127.0.0.1\n" in said(driver(cli(STATUS)))
    assert connection.status() == keeper
    os.kill(int(pid), signal.SIGKILL)
    assert eventually(lambda: not living(everything))
    assert connection.status() is None
    assert not (folder / "record.json").exists()
    assert connection.residents() == []


def test_concurrent_starters_start_one_and_stop_ends_all_of_it_and_names_the_residents(folder):
    settings = RaySettings(num_cpus=1)
    source = f"""{LEAVE}
connection.connect({settings!r})
print(connection.status().pid, flush=True)
"""
    drivers = [driver(source + then) for then in ("input()", "leave(PREFIX + '-model')\ninput()")]
    pids = {int(process.stdout.readline()) for process in drivers if process.stdout}
    keeper = connection.status()
    assert keeper is not None
    assert pids == {keeper.pid}
    for process in drivers:
        process.communicate("\n", timeout=PATIENCE)
        assert process.returncode == 0

    everything = family(keeper.pid)
    expected = "the embedded Ray is stopped, and with it 1 resident(s): rayflow-resident-model\n"
    assert said(driver(cli(STOP, STOP))) == f"{expected}the embedded Ray was not running\n"
    assert eventually(lambda: not living(everything))
    assert connection.status() is None


def test_on_an_existing_cluster_residents_are_listed_and_ended_and_it_stays(machines):
    source = f"""{LEAVE}
connection.connect()
leave(PREFIX + "-model", resources={{"special": 0.1}})
leave("of-somebody-else")
connection.disconnect()
{cli(STATUS, STOP, STATUS)}
connection.connect()
print(ray.get_actor('of-somebody-else', namespace='rayflow') is not None)
"""
    told = machines_said(machines.driver(source))
    listed, _, rest = told.partition(f"the cluster at {machines.address} is not ours to stop")
    stopped, _, after = rest.partition("\n")
    assert f"RAY_ADDRESS names an existing cluster, which answers: {machines.address}" in listed
    assert "  resident rayflow-resident-model on 127.0.0.2\n" in listed
    assert "somebody" not in listed
    assert "1 resident(s): rayflow-resident-model" in stopped
    assert "resident rayflow" not in after
    assert after.endswith("\nTrue\n")
