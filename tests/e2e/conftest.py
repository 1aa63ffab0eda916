"""The embedded Ray and the server that the end-to-end tests share. Nothing outlives them."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from e2e.example_project import PROJECT
from e2e.live_project import make_live_project, until
from e2e.processes import family, left_after
from e2e.webserver import DEV, Webserver, environment

ORDERS = """order_id,date,customer,country,product,quantity,unit_price
O-1,2024-03-01,Ada,ES,pen,3,2.5
O-2,2024-03-02,Bo,SE,ink,1,4.0
O-3,2024-03-02,Cy,FR,pad,2,1.5
O-4,2024-03-05,Di,ES,pad,2,1.5
"""
STOP_RAY = "from rayflow_dagster.cluster import connection; connection.stop()"


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """The folder of an embedded Ray that the first run starts; at the end, no process that was
    started with it is left."""
    folder = Path(tempfile.mkdtemp(prefix="rfe-", dir="/tmp"))  # short, for Ray's sockets
    yield folder
    started = family(str(folder))
    subprocess.run([sys.executable, "-c", STOP_RAY], env=environment(folder), check=True)
    left = left_after(started, 20.0)
    was_used = any(folder.iterdir())  # the Ray may have ended by itself since
    shutil.rmtree(folder, ignore_errors=True)
    assert was_used, "the tests have started no process"
    assert not left


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``DAGSTER_HOME`` with the settings of this project."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copy(PROJECT / "dagster.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def recorded(home: Path) -> Iterator[DagsterInstance]:
    """What is recorded there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with DagsterInstance.get() as instance:
            yield instance


@pytest.fixture(scope="session")
def live_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that tests may change while it is served."""
    folder = tmp_path_factory.mktemp("live") / "project"
    make_live_project(folder, ORDERS)
    return folder


@pytest.fixture(scope="session")
def dev(live_project: Path, ray_folder: Path) -> Iterator[Webserver]:
    """``rayflow-dagster dev`` in that project, a daemon with it; nothing of it outlives Ctrl-C."""
    with Webserver(live_project, live_project.parent / "home", ray_folder, DEV) as server:
        until(lambda: "loaded again whenever" in server.log, server)
        yield server
        started = family(str(live_project))
    assert started
    assert not left_after(started, 30.0)
