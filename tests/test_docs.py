"""What the README and the pages in ``docs/`` show is run, or checked, as it stands."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from docs_blocks import DOCS, PAGES, ROOT, Block, all_blocks, blocks, headings, prose
from jsonschema import Draft202012Validator

from rayflow_dagster.cli import main
from rayflow_dagster.compiler.schema import flow_schema
from rayflow_dagster.project import Project, ProjectSettings

SHELL = ("sh", "bash")
CHECKED = {"python", "json", "toml", "yaml", "graphql", *SHELL}  # graphql: tests/e2e
PRINTED = "text"
"""The language of what commands print, which is compared where a page is followed."""
OTHER_PROGRAMS = {"cd", "curl", "dagster", "export", "git", "pip", "python", "python3", "source"}
TUTORIALS = [DOCS / "first-flow.md"]
"""Pages that are followed from top to bottom in a new folder."""
BUILDING = re.compile(r"/work\b|/root|/home/|localhost:|https?://(?!127\.0\.0\.1)")

SCHEMA = flow_schema()


def of_all_pages(*languages: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page, *languages)]


def named(value: Any) -> str:
    return value.name if isinstance(value, Path) else str(value)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_has_a_language_that_is_checked_or_says_why_not(page: Path):
    checked = {*CHECKED, PRINTED} if page in TUTORIALS else CHECKED

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
    tmp_path_factory: pytest.TempPathFactory, ray_session: None
) -> dict[Path, str | None]:
    """What each page's Python raises. One process runs them all, since most of what a process costs
    is what it imports.
    """
    folder = tmp_path_factory.mktemp("pages")
    scripts = {page: folder / f"{page.stem}.py" for page in WITH_PYTHON}
    for page, script in scripts.items():  # files, since the source of node classes is read
        script.write_text("\n".join(block.text for block in blocks(page, "python")))
    done = subprocess.run(
        [sys.executable, "-c", RUN_EACH, *map(str, scripts.values())],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
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


def is_followed(block: Block) -> bool:
    """A file of a tutorial is checked where the tutorial is followed."""
    return block.page in TUTORIALS and block.file is not None


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


# Commands


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command of a shell block: lines joined, comments and pipes cut."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        words = shlex.split(re.split(r" [|>] ", line)[0], comments=True)
        while words and re.match(r"\w+=", words[0]):
            del words[0]
        if words:
            yield words


@pytest.mark.parametrize("block", of_all_pages(*SHELL), ids=named)
def test_commands_exist_with_the_options_that_are_shown(block: Block):
    for words in commands(block.text):
        assert command_problem(words) == "", " ".join(words)


def command_problem(words: list[str]) -> str:
    program, *arguments = words
    if program == "make":
        targets = [word for word in arguments if "=" not in word]
        return "" if set(targets) <= make_targets() else "the Makefile has no such target"
    if program == "rayflow-dagster":
        return own_command_problem(arguments)
    return "" if program in OTHER_PROGRAMS else "unknown; mark the block as not run, and why"


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def own_command_problem(arguments: list[str]) -> str:
    command: click.Command = main
    context = click.Context(main, info_name="rayflow-dagster")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        found = command.get_command(context, arguments.pop(0))
        if found is None:
            return "there is no such command"
        command = found
    parser = command.make_parser(context)
    try:
        parser.parse_args(list(arguments))
    except click.UsageError as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_in_running_text_exist(page: Path):
    text = prose(page)

    for command in set(re.findall(r"`rayflow-dagster ([a-z]+(?:-[a-z]+)*)", text)):
        assert command in main.commands, command
    assert set(re.findall(r"`make ([a-z]+)", text)) <= make_targets()


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


# Following a page


@pytest.mark.ray
@pytest.mark.parametrize("page", TUTORIALS, ids=named)
def test_a_page_can_be_followed_in_a_new_folder(page: Path, tmp_path: Path, ray_session: None):
    folder = tmp_path
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    environment.pop("DAGSTER_HOME", None)
    printed = ""
    for block in all_blocks(page):
        if block.not_run:
            continue
        if block.language == PRINTED:
            assert lines_missing(block.text, printed) == [], f"{block}: not in\n{printed}"
        elif block.language in SHELL:
            printed, folder = followed(block, folder, environment)
        elif block.file is not None:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text)


def followed(block: Block, folder: Path, environment: dict[str, str]) -> tuple[str, Path]:
    """What a block's commands print, and the folder that they end in."""
    done = subprocess.run(
        ["bash", "-e", "-c", f"{block.text}\npwd"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}"
    printed, _, last = done.stdout.rstrip("\n").rpartition("\n")
    return printed, Path(last)


def lines_missing(text: str, printed: str) -> list[str]:
    """The lines of a page that a command did not print. Times and ids differ each time."""

    def plain(line: str) -> str:
        return re.sub(r"\d+(\.\d+)? m?s\b", "_", " ".join(line.split()))

    found = [plain(line) for line in printed.splitlines()]
    return [line for line in text.splitlines() if plain(line) not in found]


# Links


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_and_no_path_of_a_machine_is_named(page: Path):
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        file, _, heading = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.is_file(), target
        assert not heading or heading in headings(linked), target
    assert BUILDING.findall(page.read_text()) == []


def test_the_readme_leads_to_every_page():
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", prose(ROOT / "README.md")))

    assert linked == {page.name for page in DOCS.glob("*.md")}
