"""What a project lets its flows reach."""

from ipaddress import ip_address

import pytest

from rayflow_dagster.errors import ProjectError
from rayflow_dagster.project import Project
from rayflow_dagster.reach import Reach, is_local, names_local


def reach(folder, settings=""):
    (folder / "pyproject.toml").write_text(f"[tool.rayflow_dagster]\n{settings}\n")
    return Reach.of(folder)


def test_without_settings_a_project_has_three_data_folders(tmp_path):
    for known in (Reach.of(tmp_path), reach(tmp_path)):
        assert known.file("out/report.txt") == tmp_path / "out" / "report.txt"
        assert known.file("data") == tmp_path / "data"
        with pytest.raises(PermissionError, match=r"in none of the folders .* data, out, inbox"):
            known.file("database/x")


def test_a_project_names_its_data_folders_also_elsewhere(tmp_path):
    project, shared = tmp_path / "project", tmp_path / "shared"
    project.mkdir()
    known = reach(project, f'data = ["in", "{shared}"]')
    assert known.file("in/a.csv") == project / "in" / "a.csv"
    assert known.file(f"{shared}/a.csv") == shared / "a.csv"
    with pytest.raises(PermissionError, match="in none of the folders"):
        known.file("data/a.csv")


@pytest.mark.parametrize(
    "path",
    ["nodes/a.py", "flows/a.json", "shop/nodes/a.py", "pyproject.toml", "definitions.py"],
)
def test_what_runs_is_no_data_even_where_the_whole_project_is_named(tmp_path, path):
    known = reach(tmp_path, 'data = ["."]\nnodes = ["shop.nodes"]')
    assert known.file("shop/a.csv") == tmp_path / "shop" / "a.csv"
    with pytest.raises(PermissionError, match="code, flows or settings"):
        known.file(path)


@pytest.mark.parametrize("path", [".env", ".dagster/storage/x", "data/.git/config", "data/.\n"])
def test_hidden_files_are_no_data(tmp_path, path):
    with pytest.raises(PermissionError, match="is hidden"):
        reach(tmp_path, 'data = ["."]').file(path)


def test_a_changed_setting_counts_from_then_on(tmp_path):
    assert not reach(tmp_path).local_requests
    assert reach(tmp_path, "local_requests = true").local_requests


@pytest.mark.parametrize("settings", ["data = [1]", 'local_requests = "yes"'])
def test_a_wrong_setting_is_refused_when_the_project_is_opened(tmp_path, settings):
    reach(tmp_path, settings)
    with pytest.raises(ProjectError, match=settings.partition(" ")[0]):
        Project.at(tmp_path)


@pytest.mark.parametrize(
    "pattern", ["inbox/*.csv", "inbox/2024/**", "data/[ab]/x*", "inbox/one.csv"]
)
def test_patterns_in_data_folders_are_taken(tmp_path, pattern):
    Reach(tmp_path).pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["*", "*.csv", "/etc/*", "inbox/../*", "flows/*.json", "inbox/.*", "inbox/**/.env"]
)
def test_other_patterns_are_not(tmp_path, pattern):
    with pytest.raises(PermissionError):
        Reach(tmp_path).pattern(pattern)


@pytest.mark.parametrize(
    ("address", "is_so"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("0.0.0.0", True),
        ("169.254.169.254", True),
        ("::1", True),
        ("::", True),
        ("fe80::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("93.184.216.34", False),
        ("2606:2800::1", False),
    ],
)
def test_local_addresses(address, is_so):
    assert is_local(ip_address(address)) is is_so
    assert names_local(address) is is_so


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "shop.localhost"])
def test_local_names(name):
    assert names_local(name)
