"""A project to type commands in, and what is typed."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_flows import FIXTURE_FLOWS
from click.testing import CliRunner, Result
from shapes import FIXTURES, FLOW_NODES

from rayflow_dagster.cli import main
from rayflow_dagster.cli.flows import FlowFile, open_flow

Typed = Callable[..., Result]


@pytest.fixture(autouse=True)
def untouched_process() -> Iterator[None]:
    """Commands set ``DAGSTER_HOME`` and import node packages; both are undone."""
    environment, path = dict(os.environ), list(sys.path)
    os.environ.pop("DAGSTER_HOME", None)
    modules = {name: module for name, module in sys.modules.items() if _is_node_module(name)}
    yield
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)
    sys.path[:] = path
    for name in [name for name in sys.modules if _is_node_module(name)]:
        del sys.modules[name]
    sys.modules.update(modules)


def _is_node_module(name: str) -> bool:
    return name.partition(".")[0] in ("nodes", "flow_nodes")


@pytest.fixture
def typed() -> Typed:
    """``typed("run", "x")`` is what ``rayflow-dagster run x`` does."""

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(main, list(arguments), input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with nothing in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def project(empty_folder: Path) -> Path:
    """The working folder: a project with some of the fixtures as its flows."""
    (empty_folder / "flow_nodes").symlink_to(FLOW_NODES.path)
    settings = '[tool.rayflow_dagster]\nnodes = ["flow_nodes"]\n'
    (empty_folder / "pyproject.toml").write_text(settings)
    flows = empty_folder / "flows"
    flows.mkdir()
    for name in FIXTURE_FLOWS:
        shutil.copy(FIXTURES / f"{name}.json", flows)
    return empty_folder


@pytest.fixture
def flow_of(project: Path) -> Callable[[str], FlowFile]:
    """``flow_of("linear")`` opens that flow of the project."""
    return open_flow
