"""Fixtures that every test may use. What the flows do stands in ``shapes.py``."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest
from postgres import postgres_is_installed, running_postgres
from shapes import test_loader as make_loader

from rayflow_dagster.compiler.loader import NodeLoader

# Files whose tests share something dear run in one process of pytest-xdist, one after another.
# Every other file is a group of its own.
TOGETHER = {
    "tests/actors/test_existing_cluster.py": "three machines",
    "tests/actors/test_residents_kept.py": "three machines",
}
# Groups that start processes and wait for them begin first, so that none of them is left alone at
# the end.
LONG_FIRST = ("e2e", "ray")
# No Ray starts in a folder whose name is too long for its sockets.
NO_RAY = "/tmp/" + "-".join(["a-test-that-wants-a-Ray-asks-for-the-fixture-ray_session"] * 2)


def pytest_configure() -> None:
    """A shell may have us ignore signals, and what the tests start would ignore them as well.

    No test meets the Ray of the user who runs the tests: one that needs a Ray asks for one.
    """
    os.environ["RAYFLOW_RAY_DIR"] = NO_RAY
    os.environ.pop("RAY_ADDRESS", None)
    # How long an example takes says how busy the machine is.
    hypothesis.settings.register_profile("rayflow", deadline=None)
    hypothesis.settings.load_profile("rayflow")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests pytest-xdist keeps together, and in which order they begin."""
    waits = {
        _group(item): kind
        for kind in reversed(range(len(LONG_FIRST)))
        for item in items
        if item.get_closest_marker(LONG_FIRST[kind])
    }
    items.sort(key=lambda item: waits.get(_group(item), len(LONG_FIRST)))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    file = item.nodeid.partition("::")[0]
    return TOGETHER.get(file, file)


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
        cluster.connect(cluster.RaySettings(num_cpus=2))
        yield
        cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A database of a real server."""
    if not postgres_is_installed():
        pytest.skip("PostgreSQL is not installed: on Debian, apt-get install postgresql")
    with running_postgres() as url:
        yield url
