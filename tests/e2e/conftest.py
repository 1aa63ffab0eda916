"""The embedded Ray that the end-to-end tests share. Nothing outlives it."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.processes import family, left_after
from e2e.webserver import environment

STOP_RAY = "from rayflow_dagster.actors import cluster; cluster.stop()"


@pytest.fixture(scope="session")
def ray_folder() -> Iterator[Path]:
    """The folder of an embedded Ray that the first run starts; at the end, no process that was
    started with it is left."""
    folder = Path(tempfile.mkdtemp(prefix="rfe-", dir="/tmp"))  # short, for Ray's sockets
    yield folder
    started = family(str(folder))
    subprocess.run([sys.executable, "-c", STOP_RAY], env=environment(folder), check=True)
    left = left_after(started, 20.0)
    shutil.rmtree(folder, ignore_errors=True)
    assert started, "the tests have started no process"
    assert not left
