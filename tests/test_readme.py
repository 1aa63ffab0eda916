"""What the README and the pages behind it show is run as it stands."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from rayflow_dagster import FlowValidator
from rayflow_dagster.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BUILDING = re.compile(r"/work\b|/root|/home/|localhost:|https?://(?!127\.0\.0\.1)")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.ray
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_the_python_blocks_run(page: Path, tmp_path: Path, ray_session: None) -> None:
    script = tmp_path / "blocks.py"  # a file, since the source of node classes is read
    script.write_text("\n".join(blocks(page, "python")))

    done = subprocess.run(
        [sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("flow", blocks(ROOT / "README.md", "json"))
def test_the_flows_shown_are_valid(flow: str) -> None:
    validator = FlowValidator()

    assert validator.validate(json.loads(flow)) == (True, [])
    assert validator.warnings == []


def test_the_commands_named_exist() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    commands = set(re.findall(r"rayflow-dagster ([a-z]+(?:-[a-z]+)*)", text))
    targets = set(re.findall(r"^make ([a-z]+)", text, re.MULTILINE))

    assert commands >= {"run", "validate", "nodes", "graph", "init", "new-node", "ray"}
    for command in commands:
        assert CliRunner().invoke(main, [command, "--help"]).exit_code == 0, command
    assert targets >= {"demo", "test", "dev"}
    rules = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets <= set(rules)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_no_path_of_a_machine_is_named(page: Path) -> None:
    text = page.read_text()

    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, heading = target.partition("#")
        linked = page.parent / file
        assert linked.is_file(), target
        assert not heading or f"\n## {heading.capitalize()}\n" in linked.read_text(), target
    assert BUILDING.findall(text) == []


def test_every_dependency_is_in_the_table_and_has_an_exact_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[<>=!~;\[ ]", item)[0] for item in wanted}
    table = (ROOT / "README.md").read_text().partition("## Dependencies")[2]
    constraints = (ROOT / "constraints.txt").read_text()
    exact = set(re.findall(r"^([\w.-]+)==[\w.]+$", constraints.lower(), re.MULTILINE))

    assert [name for name in names if not re.search(rf"\b{name}\b", table)] == []
    assert names <= exact
    assert "://" not in constraints
    assert "--" not in constraints
