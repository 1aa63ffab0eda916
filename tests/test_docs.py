"""What the README and the pages in ``docs/`` show is run, or checked, as it stands."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from docs_blocks import (
    DOCS,
    PAGES,
    PRINTED,
    ROOT,
    SHELL,
    Block,
    all_blocks,
    blocks,
    headings,
    is_followed,
    make_targets,
    prose,
    with_commands,
)
from docs_pictures import pictures
from forked_pythons import ForkedPythons
from jsonschema import Draft202012Validator
from running import execute

from rayflow_dagster.cli import main
from rayflow_dagster.compiler.schema import flow_schema
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project, ProjectSettings
from rayflow_dagster.testing import in_process

DRAWN = "mermaid"
CHECKED = {"python", "json", "toml", "yaml", "graphql", DRAWN, *SHELL}  # graphql: tests/e2e
BUILDING = re.compile(r"/work\b|/root|/home/|localhost:|https?://(?!127\.0\.0\.1)")

SCHEMA = flow_schema()


def of_all_pages(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page, *languages)]


def named(value: Any) -> str:
    return value.name if isinstance(value, Path) else str(value)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_has_a_language_that_is_checked_or_says_why_not(page: Path):
    checked = {*CHECKED, PRINTED} if page in with_commands() else CHECKED

    assert [str(b) for b in all_blocks(page) if b.language not in checked and not b.not_run] == []


# Python


WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
RUN_EACH = """
import contextlib, json, runpy, sys, traceback
told = {}
for script in sys.argv[1:]:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            runpy.run_path(script, run_name="__main__")
    except BaseException:
        told[script] = traceback.format_exc()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def python_of_pages(
    tmp_path_factory: pytest.TempPathFactory, ray_session: None, pythons: ForkedPythons
) -> dict[Path, str | None]:
    """What each page's Python raises. One process runs them all, since most of what a process costs
    is what it imports.
    """
    folder = tmp_path_factory.mktemp("pages")
    scripts = {page: folder / f"{page.stem}.py" for page in WITH_PYTHON}
    for page, script in scripts.items():  # files, since the source of node classes is read
        script.write_text("\n".join(block.text for block in blocks(page, "python")))
    done = pythons.run(["-c", RUN_EACH, *map(str, scripts.values())], ROOT)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return {page: told.get(str(script)) for page, script in scripts.items()}


@pytest.mark.ray
@pytest.mark.parametrize("page", WITH_PYTHON, ids=named)
def test_the_python_of_a_page_runs(page: Path, python_of_pages: dict[Path, str | None]):
    assert python_of_pages[page] is None


# Flows, and parts of flows


def is_flow(value: Any) -> bool:
    return isinstance(value, dict) and "nodes" in value


def parts_of(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict):
        yield from ({key: item} for key, item in value.items())
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield from parts_of(item)


def shown_flow_files(block: Block) -> list[Path]:
    """The project's flow files that the text around a block names."""
    names = re.findall(r"`(flows/\w+\.json)`", f"{block.before}\n{block.after}")
    return [ROOT / name for name in names if (ROOT / name).is_file()]


SHOWN_JSON = [block for block in of_all_pages("json") if not is_followed(block)]


@pytest.mark.parametrize("block", SHOWN_JSON, ids=named)
def test_json_is_a_flow_or_a_part_of_one(block: Block):
    value = json.loads(block.text)

    if is_flow(value):
        validator = Project.at(ROOT).validator()
        assert validator.validate(value) == (True, [])
        assert validator.warnings == []
    elif files := shown_flow_files(block):
        assert any(value in parts_of(json.loads(file.read_text())) for file in files)
    else:
        assert part_problems(value) == []


def part_problems(value: Any) -> list[str]:
    """What is wrong with some of the keys of a flow, a node, its data, or an edge."""
    forms = [SCHEMA, *(SCHEMA["$defs"][name] for name in ("Node", "NodeData", "Edge"))]
    fitting = [form for form in forms if set(value) <= set(form["properties"])]
    if not fitting:
        return [f"{sorted(value)} are no keys of a flow, a node, its data or an edge"]
    part = {"properties": fitting[0]["properties"], "$defs": SCHEMA["$defs"]}
    return [error.message for error in Draft202012Validator(part).iter_errors(value)]


REGIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"prices": [1.0, 2.0, 4.0]}, {"taxed": [1.21, 2.42, 4.84], "count": 3}),
    ({"debt": 100.0, "rate": 30.0}, {"years": 4}),
    ({"path": "data/gone.json"}, {"error": {"type": "FileNotFoundError", "node_id": "read"}}),
    ({"lines": ["a b", "", "c", "END", "d"]}, {"words": [["a", "b"], ["c"]]}),
    ({"amounts": [1.0, 2.0, 3.0]}, {"total": 6.0, "steps": [1.0, 3.0, 6.0]}),
    (
        {"prices": [1.0, 0.0, 2.0], "country": "pt"},
        {
            "taxed": [1.0, 2.2],
            "lines": [
                '{\n  "number": 1,\n  "price": 1.0\n}',
                '{\n  "number": 2,\n  "price": 2.0\n}',
            ],
        },
    ),
]
"""Inputs of the flows with regions on the page about control flow, in its order, and the result."""


def test_pictures_show_the_flows_that_they_stand_behind():
    """``make pictures`` draws them anew."""
    drawn = {file: text for page in PAGES for file, text in pictures(page).items()}

    assert {file: file.read_text(encoding="utf-8") for file in drawn} == drawn
    assert {*(DOCS / "images").rglob("*.svg")} == drawn.keys()


def test_the_regions_on_the_page_about_control_flow_do_what_it_says():
    flows = [json.loads(block.text) for block in blocks(DOCS / "control-flow.md", "json")]
    shown = [flow for flow in flows if '"sourceHandle": "body"' in json.dumps(flow)]
    for flow, (inputs, expected) in zip(shown, REGIONS, strict=True):
        orchestrator = FlowOrchestrator(Project.at(ROOT), connect=in_process)
        outcome = execute(orchestrator, flow, **inputs)
        assert outcome["error"] is None
        result = outcome["result"]
        if "error" in result:
            result["error"].pop("message")
        assert result == expected


# Commands


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_in_running_text_exist(page: Path):
    text = prose(page)

    for command in set(re.findall(r"`rayflow-dagster ([a-z]+(?:-[a-z]+)*)", text)):
        assert command in main.commands, command
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= make_targets()


# Settings


@pytest.mark.parametrize("block", of_all_pages("toml"), ids=named)
def test_toml_is_a_projects_settings(block: Block):
    table = tomllib.loads(block.text)["tool"]["rayflow_dagster"]

    ProjectSettings.model_validate(table)


@pytest.mark.parametrize("block", of_all_pages("yaml"), ids=named)
def test_yaml_is_an_instances_settings(block: Block):
    from dagster._config import validate_config
    from dagster._core.instance.config import dagster_instance_config_schema

    found = validate_config(dagster_instance_config_schema(), yaml.safe_load(block.text))

    assert [error.message for error in found.errors or []] == []


# Links


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_and_no_path_of_a_machine_is_named(page: Path):
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        file, _, heading = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.is_file(), target
        assert not heading or heading in headings(linked), target
    assert BUILDING.findall(page.read_text()) == []


@pytest.mark.parametrize("block", of_all_pages(DRAWN), ids=named)
def test_a_drawing_names_files_that_are_there(block: Block):
    files = re.findall(r"[\w/]+\.(?:py|json)\b", block.text)

    assert files
    assert [file for file in files if not _file_of(file).is_file()] == []


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", DOCS / "architecture.md"], ids=named)
def test_the_places_that_a_page_for_developers_names_are_there(page: Path):
    places = re.findall(r"`([\w.-]+(?:/[\w.-]+)*(?:/|\.py|\.md|\.toml))`", prose(page))

    assert places
    assert [place for place in places if not _file_of(place).exists()] == []


def _file_of(name: str) -> Path:
    """A place in the repository, or below the package."""
    return ROOT / name if (ROOT / name).exists() else ROOT / "rayflow_dagster" / name


def test_the_hooks_of_a_commit_are_what_make_lint_runs():
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^lint:.*\n((?:\t.+\n)+)", makefile, re.MULTILINE)
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook["entry"] for hook in repository["hooks"]]

    assert recipe
    assert hooks == recipe[1].replace("$(BIN)", ".venv/bin").replace("\t", "").splitlines()


def test_the_readme_names_the_benchmarks_that_miss_a_target():
    table = (DOCS / "benchmarks.md").read_text().partition("<!-- figures -->")[2]
    missed = re.findall(r"^\| (\w+) \|.*\| NO \|$", table, re.MULTILINE)
    said = re.search(r"some of (.+?) do not: \[Benchmarks\]", prose(ROOT / "README.md"), re.DOTALL)

    assert said
    assert set(re.findall(r"`(\w+)`", said[1])) == set(missed)


def test_the_readme_leads_to_every_page():
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", prose(ROOT / "README.md")))

    assert linked == {page.name for page in DOCS.glob("*.md")}


def test_each_promise_names_a_test_that_is_there():
    page = (ROOT / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    rows = [row for row in page.splitlines() if row.startswith("| ") and "`tests/" not in row]
    assert len(named) > 15
    assert all(row.endswith("| test |") for row in rows)
    for file, name in named:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), name
