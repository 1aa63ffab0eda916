"""Idle worker processes that the embedded Ray keeps for the next run."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import driver, eventually, family, private_folder, process_named, said

from rayflow_dagster.actors import cluster
from rayflow_dagster.actors.cluster import RaySettings

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(sys.platform != "linux", reason="kept on Linux only"),
]

RUN_AN_ACTOR = """
connect(RaySettings())
actor = ray.remote(type("Asked", (), {"pid": lambda self: os.getpid()})).remote()
print(ray.get(actor.pid.remote()))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    yield from private_folder()


def _idle(keeper: int) -> int | None:
    try:
        return process_named("ray::IDLE", family(keeper))
    except StopIteration:
        return None


def test_an_actor_of_the_next_driver_finds_a_process_that_is_up(folder: Path) -> None:
    keeper = cluster.start(RaySettings(num_cpus=1)).pid
    used = int(said(driver(RUN_AN_ACTOR)))
    assert eventually(lambda: _idle(keeper) not in (None, used))
    spare = _idle(keeper)

    assert int(said(driver(RUN_AN_ACTOR))) == spare
