"""Fixtures that every test may use. What the flows do stands in ``shapes.py``."""

import compileall
import functools
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from alembic.script import ScriptDirectory
from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
)
from forked_pythons import WORKERS_VARIABLE, ForkedPythons
from postgres import postgres_server
from shapes import TESTS
from shapes import test_loader as make_loader

from rayflow_dagster.compiler.loader import NodeLoader

# Files whose tests share something dear run in one process of pytest-xdist, one after another: the
# files in which a test wants a Ray in as many as this, each with a Ray of its own, and these files
# in one. Every other file is a group of its own.
RAYS = 3
TOGETHER = {
    "tests/cli/test_dev.py": "pythons",
    "tests/cluster/test_existing_cluster.py": "machines",
    "tests/cluster/test_residents_kept.py": "machines",
    "tests/e2e/test_backfill.py": "e2e 2",
    "tests/e2e/test_inbox.py": "e2e 1",
    "tests/e2e/test_kept_variables.py": "e2e 1",
    "tests/e2e/test_triggers.py": "e2e 1",
    "tests/e2e/test_live_editing.py": "e2e 2",
    "tests/e2e/test_run_launcher.py": "e2e 2",
    "tests/e2e/test_webserver.py": "e2e 2",
    "tests/inbox/test_inbox_cli.py": "pythons",
    "tests/inbox/test_inbox_guard.py": "pythons",
    "tests/inbox/test_inbox_secrets.py": "pythons",
    "tests/instance/test_launching_processes.py": "pythons",
}
LONG_FIRST = ("e2e", "ray", "slow")
SLOW = (
    "tests/cli/test_cli_home.py",
    "tests/cli/test_cli_scaffold.py",
    "tests/compiler/test_many_findings.py",
    "tests/inbox/test_inbox_cli.py",
    "tests/instance/",
)
"""Files whose tests start many processes, or validate flows of thousands of nodes."""
# No Ray starts in a folder whose name is too long for its sockets.
NO_RAY = "/tmp/" + "-".join(["a-test-that-wants-a-Ray-asks-for-the-fixture-ray_session"] * 2)


def pytest_configure(config: pytest.Config) -> None:
    """A shell may have us ignore signals, and what the tests start would ignore them as well.

    No test meets the Ray of the user who runs the tests: one that needs a Ray asks for one.
    """
    if sys.dont_write_bytecode and not hasattr(config, "workerinput"):
        # Each of the hundreds of processes that tests start would compile the whole package.
        compileall.compile_dir(TESTS.parent / "rayflow_dagster", quiet=2)
    os.environ["RAYFLOW_RAY_DIR"] = NO_RAY
    search = [str(TESTS / "in_every_process"), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(search)
    os.environ.pop("RAY_ADDRESS", None)
    # How long an example takes says how busy the machine is.
    hypothesis.settings.register_profile("rayflow", deadline=None)
    hypothesis.settings.load_profile("rayflow")
    # Alembic reads Dagster's ninety migrations for each storage that is made or opened.
    ScriptDirectory.from_config = functools.cache(ScriptDirectory.from_config)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the tests compiled, too: every process of pytest-xdist loads all of them. What tests
    themselves write and load within a second is compiled anew each time, if that is wanted.
    """
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = before


def pytest_collection_finish() -> None:
    """What is loaded now stays: a collection of garbage need not look at it again and again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that wait longest, so that none of them is left alone at the end."""
    for item in items:
        if item.path.relative_to(TESTS.parent).as_posix().startswith(SLOW):
            item.add_marker("slow")
    items.sort(key=_how_long)


def _how_long(item: pytest.Item) -> int:
    """The place of the first of the marks that an item has."""
    has = (number for number, mark in enumerate(LONG_FIRST) if item.get_closest_marker(mark))
    return next(has, len(LONG_FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a group together. The marks of pytest-xdist 3.8, which should do it, have
    no effect under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    files = [path.relative_to(TESTS.parent).as_posix() for path in sorted(TESTS.rglob("test_*.py"))]
    with_ray = [file for file in files if "ray_session" in (TESTS.parent / file).read_text()]
    groups = {file: f"ray {number % RAYS}" for number, file in enumerate(with_ray)} | TOGETHER

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return groups.get(file, file)

        def remove_node(self, node: Any) -> str | None:
            """A test that ended its process is not run again. Its name, for the report."""
            units = self.assigned_work[node].values()
            left = ((unit, test) for unit in units for test, done in unit.items() if not done)
            unit, test = next(left, ({}, None))
            if test is not None:
                unit[test] = True
            super().remove_node(node)
            return test

    config.option.loadscopereorder = False
    return ByGroup(config, log)


@pytest.fixture(autouse=True)
def loading_anew() -> Iterator[None]:
    """Dagster keeps what it loaded a code location from; each test begins anew."""
    with DefinitionsLoadContext.scoped(DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION)):
        yield


@pytest.fixture
def loader() -> NodeLoader:
    """Knows the built-in nodes and those of ``flow_nodes``."""
    return make_loader()


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """This process is connected to an embedded Ray of the tests' own, with two CPU slots."""
    from rayflow_dagster.cluster import connection

    folder = tempfile.mkdtemp(prefix="rfs-", dir="/tmp")
    with ForkedPythons("workers") as workers, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYFLOW_RAY_DIR", folder)
        with pytest.MonkeyPatch.context() as starting:
            starting.setenv(WORKERS_VARIABLE, workers.address)
            connection.connect(connection.RaySettings(num_cpus=2))
        yield
        connection.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pythons() -> Iterator[ForkedPythons]:
    """Starts processes of Python that have Dagster and Ray imported already."""
    with ForkedPythons("commands") as pythons:
        yield pythons


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A database of a real server."""
    with postgres_server() as server:
        yield server.url
