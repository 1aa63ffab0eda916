"""Idle worker processes that the embedded Ray keeps for the next run."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import driver, eventually, family, private_folder, process_named, said

from rayflow_dagster.cluster import connection
from rayflow_dagster.cluster.connection import EmbeddedRay, RaySettings

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(sys.platform != "linux", reason="kept on Linux only"),
]

RUN_AN_ACTOR = """
connect(RaySettings())
actor = ray.remote(type("Asked", (), {"pid": lambda self: os.getpid()})).remote()
print(ray.get(actor.pid.remote()))
"""


@pytest.fixture(scope="module")
def keeper() -> Iterator[EmbeddedRay]:
    """Of one Ray, which what its folder has does not keep from starting."""
    for folder in private_folder():
        (folder / "ray").mkdir()
        (folder / "ray" / "session_that_is_no_folder").touch()
        yield connection.start(RaySettings(num_cpus=1))


def _idle(keeper: int) -> int | None:
    try:
        return process_named("ray::IDLE", family(keeper))
    except StopIteration:
        return None


def test_an_actor_of_the_next_driver_finds_a_process_that_is_up(keeper: EmbeddedRay) -> None:
    used = int(said(driver(RUN_AN_ACTOR)))
    assert eventually(lambda: _idle(keeper.pid) not in (None, used))
    spare = _idle(keeper.pid)

    assert int(said(driver(RUN_AN_ACTOR))) == spare


@pytest.mark.parametrize("helper", ["log_monitor", "monitor", "dashboard"])
def test_no_process_of_a_head_is_started_that_serves_nobody(
    helper: str, keeper: EmbeddedRay
) -> None:
    with pytest.raises(StopIteration):
        process_named(f"/{helper}.py", family(keeper.pid))


def test_a_ray_outlives_a_raylet_that_pauses(keeper: EmbeddedRay) -> None:
    raylet = process_named("/raylet/raylet", family(keeper.pid))
    said(driver(RUN_AN_ACTOR))
    os.kill(raylet, signal.SIGSTOP)
    paused = "filling up the idle worker processes failed"
    try:
        assert eventually(lambda: paused in Path(keeper.folder, "keeper.log").read_text())
    finally:
        os.kill(raylet, signal.SIGCONT)

    assert said(driver(RUN_AN_ACTOR)).strip().isdigit()
    assert connection.status() == keeper
