"""What is packed for a cluster's workers, and where a worker looks for the project."""

import os
import zipfile
from pathlib import Path

import pytest

from rayflow_dagster.cluster import shipping
from rayflow_dagster.cluster.project_here import SHIPPED_MARK, found_here
from rayflow_dagster.cluster.shipping import Shipment
from rayflow_dagster.compiler.registry import NodeRoot
from rayflow_dagster.errors import ClusterError
from rayflow_dagster.project import Project

HERE = os.uname().nodename


@pytest.fixture
def folder(tmp_path):
    project = tmp_path / "project"
    for name, text in {
        "nodes/__init__.py": "",
        "nodes/far.py": "from rayflow_dagster import RayflowNode",
        "nodes/__pycache__/far.pyc": "x",
        "helpers.py": "",
        ".env": "SECRET=1",
        ".git/config": "",
        ".gitignore": "*.log\n",
        ".rayignore": "/large/\n",
        "run.log": "x",
        "large/data.bin": "x",
        "data/words.txt": "x",
        "data/notes.md": "x",
        "pyproject.toml": "",
    }.items():
        file = project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return project


@pytest.fixture(autouse=True)
def not_a_job(monkeypatch):
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)


def test_the_project_travels_without_hidden_ignored_and_compiled_files(folder, tmp_path):
    archive = tmp_path / "project.zip"
    environment = Shipment(folder, {"excludes": ["*.md"]}).packed(archive)
    assert environment is not None
    assert environment["working_dir"] == str(archive)
    assert set(zipfile.ZipFile(archive).namelist()) == {
        SHIPPED_MARK,
        "nodes/__init__.py",
        "nodes/far.py",
        "helpers.py",
        "data/words.txt",
        "pyproject.toml",
    }


def test_the_same_files_make_the_same_archive(folder, tmp_path):
    Shipment(folder).packed(tmp_path / "one.zip")
    os.utime(folder / "helpers.py", (0, 1_000_000_000))
    Shipment(folder).packed(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_the_package_travels_with_what_the_project_asks_for(tmp_path):
    asked = {"pip": ["polars"], "py_modules": ["s3://bucket/more.zip"]}
    environment = Shipment(None, asked).packed(tmp_path / "project.zip")
    assert environment is not None
    assert environment["pip"] == ["polars"]
    names = [Path(module).name for module in environment["py_modules"]]
    assert names == ["more.zip", "rayflow_dagster", "cloudpickle", "tblib"]
    assert "working_dir" not in environment


def test_a_working_dir_of_the_project_replaces_ours(folder, tmp_path):
    environment = Shipment(folder, {"working_dir": "s3://b/c.zip"}).packed(tmp_path / "p.zip")
    assert environment is not None
    assert environment["working_dir"] == "s3://b/c.zip"
    assert not (tmp_path / "p.zip").exists()


def test_a_submitted_job_ships_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert Shipment(folder).packed(tmp_path / "project.zip") is None


def test_too_large_a_project_is_refused_naming_the_largest_files(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "LARGEST_SHIPMENT", 1000)
    (folder / "data" / "words.txt").write_text("x" * 2000)
    with pytest.raises(ClusterError, match=r"too large to ship.*data/words\.txt.*\.rayignore"):
        Shipment(folder).packed(tmp_path / "project.zip")


def test_a_project_of_too_many_files_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "MOST_FILES", 2)
    with pytest.raises(ClusterError, match="or 2 files"):
        Shipment(folder).packed(tmp_path / "project.zip")


def test_a_project_without_nodes_of_its_own_is_not_shipped(folder, tmp_path):
    (folder / "pyproject.toml").write_text('[tool.rayflow_dagster.runtime_env]\npip = ["polars"]\n')
    assert Shipment.of(Project.at(folder)) == Shipment(folder.resolve(), {"pip": ["polars"]})
    assert Shipment.of(Project.at(tmp_path)) == Shipment(None)
    # Its built-in nodes read there what they may use.
    (tmp_path / "pyproject.toml").write_text('[tool.rayflow_dagster]\ndata = ["/mnt/in"]\n')
    assert Shipment.of(Project.at(tmp_path)) == Shipment(tmp_path.resolve())


# --- in a worker ---------------------------------------------------------------------------------


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """The working folder of a worker that was shipped a project."""
    place = tmp_path / "unpacked"
    place.mkdir()
    (place / SHIPPED_MARK).touch()
    monkeypatch.chdir(place)
    return place


def found(folder: Path, host: str) -> tuple[Path, Path]:
    """Where a worker looks for the project in ``folder`` and for its nodes."""
    place, (root, elsewhere) = found_here(
        str(folder),
        [NodeRoot("nodes", folder / "nodes"), NodeRoot("other", Path("/other/nodes"))],
        host,
    )
    assert elsewhere.path == Path("/other/nodes")
    assert place is not None
    return Path(place), root.path


def test_a_worker_on_the_drivers_machine_uses_the_project_itself(folder, unpacked):
    assert found(folder, HERE) == (folder, folder / "nodes")


def test_a_worker_elsewhere_uses_what_was_shipped_though_the_path_exists(folder, unpacked):
    assert found(folder, "another") == (unpacked, unpacked / "nodes")


def test_a_worker_without_the_project_uses_what_was_shipped(tmp_path, unpacked):
    assert found(tmp_path / "gone", HERE) == (unpacked, unpacked / "nodes")


def test_a_worker_that_was_shipped_nothing_uses_the_same_path(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert found(folder, "another") == (folder, folder / "nodes")


def test_without_a_folder_nothing_moves(unpacked):
    assert found_here(None, [NodeRoot("nodes", Path("/nodes"))], HERE) == (
        None,
        (NodeRoot("nodes", Path("/nodes")),),
    )
