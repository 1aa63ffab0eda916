"""Fixtures that every test may use. What the flows do stands in ``shapes.py``."""

import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest
from shapes import test_loader as make_loader

from rayflow_dagster.compiler.loader import NodeLoader


def pytest_configure() -> None:
    """A shell may have us ignore signals, and what the tests start would ignore them as well."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.fixture
def loader() -> NodeLoader:
    """Knows the built-in nodes and those of ``flow_nodes``."""
    return make_loader()


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """This process is connected to an embedded Ray of the tests' own, with two CPU slots."""
    from rayflow_dagster.actors import cluster

    folder = tempfile.mkdtemp(prefix="rfs-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYFLOW_RAY_DIR", folder)
        patch.delenv("RAY_ADDRESS", raising=False)
        cluster.connect(cluster.RaySettings(num_cpus=2))
        yield
        cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)
