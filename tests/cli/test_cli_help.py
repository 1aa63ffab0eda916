"""``--help``, and what every command has in common."""

import subprocess
import sys
from pathlib import Path

import pytest

from rayflow_dagster import __version__
from rayflow_dagster.cli.commands import main

COMMANDS = [
    (), ("validate",), ("run",), ("nodes",), ("init",), ("new-node",), ("graph",), ("ray",),
    ("ray", "status"), ("ray", "start"), ("ray", "stop"), ("prune",), ("inbox",), ("dev",),
    ("variables",), ("schema",), ("explain",),
]  # fmt: skip
MODULE = [sys.executable, "-m", "rayflow_dagster"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_shows_an_example(typed, command):
    result = typed(*command, "--help")

    assert result.exit_code == 0
    assert f"rayflow-dagster {' '.join(command)}".strip() in result.output.partition("Example")[2]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_h_alone_is_help_everywhere(typed, command):
    assert typed(*command, "-h").output == typed(*command, "--help").output


def test_h_with_a_value_is_the_host_where_dagster_has_it_so(typed):
    dev = main.commands["dev"].make_context("dev", ["-h", "::1"])

    assert dev.params["host"] == "::1"
    assert "-h, --host, --dagit-host HOST" in typed("dev", "--help").output
    assert "Alone, -h is help" in " ".join(typed("dev", "--help").output.split())


@pytest.mark.parametrize("group", [(), ("ray",)], ids=" ".join)
def test_the_list_of_commands_has_whole_sentences(typed, group):
    listed = typed(*group, "--help").output.partition("Commands:")[2]
    sentences = [
        inner.help.partition("\n\n")[0].partition(". ")[0].rstrip(".").split()
        for inner in (main.commands["ray"] if group else main).commands.values()
    ]

    assert "..." not in listed
    assert all(" ".join(sentence) in " ".join(listed.split()) for sentence in sentences)


def test_every_command_is_tested_for_help():
    assert {command[0] for command in COMMANDS if command} == set(main.commands)


def imported_by(*typed: str) -> list[str]:
    """The heavy packages that a command imports."""
    code = (
        "import sys; from rayflow_dagster.cli import main\n"
        f"main({list(typed)!r}, standalone_mode=False)\n"
        "heavy = ('ray', 'dagster', 'networkx', 'pydantic')\n"
        "print(*[name for name in heavy if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    return printed.stdout.splitlines()[-1].split()


def test_help_imports_nothing_heavy():
    assert imported_by("--help") == []


def test_commands_that_run_nothing_import_neither_ray_nor_dagster(project: Path):
    for typed in (
        ["validate", "flows/linear.json"],
        ["nodes"],
        ["graph", "linear"],
        ["explain", "linear"],
    ):
        assert not {"ray", "dagster"} & set(imported_by(*typed))


def test_the_module_is_the_command():
    printed = subprocess.run([*MODULE, "--version"], capture_output=True, text=True, check=True)

    assert __version__ in printed.stdout


def test_a_command_typed_wrongly_gives_exit_code_2(typed):
    assert typed("run").exit_code == 2
    assert typed("rum").exit_code == 2
    assert typed("validate").exit_code == 2


def test_a_broken_pipe_is_no_traceback(project: Path):
    piped = f"{sys.executable} -m rayflow_dagster nodes | head -1"
    printed = subprocess.run(piped, shell=True, capture_output=True, text=True, check=False)

    assert printed.stderr == ""


def test_broken_project_settings_are_one_message(typed, empty_folder: Path):
    (empty_folder / "pyproject.toml").write_text("[tool.rayflow_dagster]\nnods = 1\n")
    result = typed("nodes")

    assert result.exit_code == 1
    assert "nods" in result.output
    assert result.output.startswith("Error: ")
