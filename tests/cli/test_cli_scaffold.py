"""``rayflow-dagster init`` and ``new-node``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forked_pythons import ForkedPythons

from rayflow_dagster.cli.group import Refused
from rayflow_dagster.cli.home import use_home
from rayflow_dagster.cli.scaffold import write_new
from rayflow_dagster.cli.templates import KEPT, PROJECT

REPOSITORY = Path(__file__).parents[2]


def files_in(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def pytest_in(folder: Path, pythons: ForkedPythons) -> subprocess.CompletedProcess[str]:
    return pythons.run(["-m", "pytest", "-q", "-p", "no:cacheprovider"], folder)


def test_a_new_project_has_definitions_settings_one_node_and_one_flow(typed, empty_folder: Path):
    result = typed("init", "mine")

    assert result.exit_code == 0
    assert files_in(empty_folder / "mine") == set(PROJECT)
    assert "rayflow-dagster run hello" in result.output


def test_the_flow_of_a_new_project_is_valid(typed, empty_folder: Path):
    typed("init", "mine")
    result = typed("validate", "mine/flows", "--json")

    assert json.loads(result.output)["files"][0]["findings"] == []


def test_the_definitions_are_three_lines_and_those_of_this_repository():
    ours = (REPOSITORY / "definitions.py").read_text()
    lines = [line for line in PROJECT["definitions.py"].splitlines() if line]

    assert PROJECT["definitions.py"] == ours
    assert len(lines) == 3
    assert PROJECT["workspace.yaml"] == (REPOSITORY / "workspace.yaml").read_text()


def test_a_new_project_has_the_dagster_settings_of_this_repository(typed, empty_folder: Path):
    typed("init", "mine")
    home = use_home(empty_folder / "mine")

    assert (home / "dagster.yaml").read_text() == (REPOSITORY / "dagster.yaml").read_text()


def test_the_definitions_of_a_new_project_load_from_any_folder(
    typed, empty_folder: Path, pythons: ForkedPythons
):
    typed("init", "mine")
    code = (
        "import runpy\n"
        f"defs = runpy.run_path({str(empty_folder / 'mine' / 'definitions.py')!r})['defs']\n"
        "print([job.name for job in defs.jobs], 'rayflow/broken' in defs.jobs[0].tags)"
    )
    printed = pythons.run(["-c", code], Path("/"))

    assert printed.stdout == "['hello'] False\n"


def test_a_project_may_be_made_in_a_folder_with_other_files(typed, empty_folder: Path):
    (empty_folder / "notes.txt").write_text("mine")
    result = typed("init", ".")

    assert result.exit_code == 0
    assert files_in(empty_folder) == {*PROJECT, "notes.txt"}


def test_plain_pytest_finds_the_nodes_of_a_new_project(typed, empty_folder: Path):
    typed("init", ".")
    pytest_itself = Path(sys.executable).with_name("pytest")
    done = subprocess.run([pytest_itself], capture_output=True, text=True, check=False)

    assert "2 passed" in done.stdout, done.stdout


def test_a_pyproject_and_a_gitignore_that_are_there_are_kept(
    typed, empty_folder: Path, pythons: ForkedPythons
):
    for name in KEPT:
        (empty_folder / name).write_text("# mine\n")
    result = typed("init", ".")

    assert result.exit_code == 0
    assert {(empty_folder / name).read_text() for name in KEPT} == {"# mine\n"}
    assert files_in(empty_folder) == {*PROJECT, "pytest.ini"}
    assert "2 passed" in pytest_in(empty_folder, pythons).stdout


def test_init_overwrites_nothing_and_leaves_nothing_half_done(typed, empty_folder: Path):
    (empty_folder / "workspace.yaml").write_text("mine")
    result = typed("init", ".")

    assert result.exit_code == 1
    assert "workspace.yaml is there already; nothing was written" in result.output
    assert files_in(empty_folder) == {"workspace.yaml"}
    assert (empty_folder / "workspace.yaml").read_text() == "mine"


def test_init_into_a_file_is_refused(typed, empty_folder: Path):
    (empty_folder / "mine").touch()
    result = typed("init", "mine")

    assert result.exit_code == 1
    assert "is a file" in result.output


def test_what_was_written_is_removed_when_the_rest_cannot_be(empty_folder: Path):
    (empty_folder / "closed").touch()
    contents = {empty_folder / "a" / "b" / "x": "x", empty_folder / "closed" / "y": "y"}
    with pytest.raises(Refused, match="nothing was written"):
        write_new(contents)

    assert files_in(empty_folder) == {"closed"}
    assert not (empty_folder / "a").exists()


def test_a_new_node_and_its_test_pass_at_once(typed, empty_folder: Path, pythons: ForkedPythons):
    typed("init", ".")
    result = typed("new-node", "nodes/text/shout.py")
    tested = pytest_in(empty_folder, pythons)

    assert result.exit_code == 0
    assert "nodes.text.shout.ShoutNode" in result.output
    assert "class ShoutNode(RayflowNode):" in Path("nodes/text/shout.py").read_text()
    assert Path("nodes/text/__init__.py").is_file()
    assert Path("tests/nodes/text/test_shout.py").is_file()
    assert "5 passed" in tested.stdout, tested.stdout


def test_how_to_install_pytest_is_said_where_it_is_missing(typed, empty_folder: Path, monkeypatch):
    there = typed("init", ".").output
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pytest", None)  # as Python has a module that cannot be found
        missing = typed("new-node", "nodes/shout.py").output

    assert there.endswith("  rayflow-dagster dev\n  python -m pytest\n")
    install, test = missing.splitlines()[-2:]
    assert install == "  pip install pytest"
    assert test == "  python -m pytest tests/nodes/test_shout.py"


def test_two_nodes_of_one_file_name_are_tested_side_by_side(
    typed, empty_folder: Path, pythons: ForkedPythons
):
    typed("init", ".")
    typed("new-node", "nodes/text/shout.py")
    typed("new-node", "nodes/sound/shout.py")

    assert "8 passed" in pytest_in(empty_folder, pythons).stdout


def test_a_new_node_can_be_used_in_a_flow(typed, empty_folder: Path):
    typed("init", ".")
    typed("new-node", "nodes/word_count.py")
    nodes = json.loads(typed("nodes", "--json").stdout)["nodes"]

    assert "nodes.word_count.WordCountNode" in [node["type"] for node in nodes]


def test_what_is_written_is_formatted(typed, empty_folder: Path):
    typed("init", ".")
    typed("new-node", "nodes/text/shout.py")
    ruff = Path(sys.executable).with_name("ruff")
    for verb in (["format", "--check"], ["check", "--select=E,F,I,B,UP"]):
        command = [ruff, *verb, "--isolated", "--line-length=100", "."]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_node_of_a_project_without_any_is_written_with_its_package(
    typed, empty_folder: Path
):
    assert typed("new-node", "nodes/shout.py").exit_code == 0
    assert Path("nodes/__init__.py").is_file()


def test_a_node_may_go_into_a_package_that_the_project_lists(typed, empty_folder: Path):
    settings = '[tool.rayflow_dagster]\nnodes = ["my.own"]\n'
    (empty_folder / "pyproject.toml").write_text(settings)
    result = typed("new-node", "my/own/shout.py")

    assert "my.own.shout.ShoutNode" in result.output
    assert Path("my/__init__.py").is_file()
    assert Path("my/own/__init__.py").is_file()


def test_new_node_overwrites_neither_node_nor_test(typed, empty_folder: Path):
    test = Path("tests/nodes/test_shout.py")
    test.parent.mkdir(parents=True)
    test.write_text("mine")
    result = typed("new-node", "nodes/shout.py")

    assert result.exit_code == 1
    assert "is there already" in result.output
    assert not Path("nodes").exists()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nodes/text/shout", "no Python file"),
        ("nodes/text", "no Python file"),
        ("nodes/class.py", "a word of Python's own"),
        ("nodes/import/x.py", "a word of Python's own"),
        ("nodes/two-words.py", "no legal Python name"),
        ("nodes/2nd.py", "no legal Python name"),
        ("nodes/a b/x.py", "no legal Python name"),
        ("nodes/__init__.py", "no legal Python name"),
        ("nodes/_.py", "no letter"),
        ("shout.py", "outside this project's node packages"),
        ("../shout.py", "outside this project's node packages"),
        ("nodes/../shout.py", "outside this project's node packages"),
        ("/tmp/nodes_of_nobody/shout.py", "outside this project's node packages"),
        ("nodes/.py", "no Python file"),
    ],
)
def test_a_path_that_is_no_place_for_a_node_is_refused(typed, empty_folder: Path, path, said):
    result = typed("new-node", path)

    assert result.exit_code == 1
    assert said in result.output
    assert files_in(empty_folder) == set()


def test_a_link_out_of_the_node_package_is_not_followed(typed, empty_folder: Path, tmp_path: Path):
    (empty_folder / "nodes").mkdir()
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", empty_folder / "nodes" / "link")

    assert typed("new-node", "nodes/link/shout.py").exit_code == 1
    assert files_in(tmp_path / "elsewhere") == set()
