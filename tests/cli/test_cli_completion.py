"""What a shell offers at Tab."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_flows import flow_with_inputs, write_flow
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    get_completion_class,
)

from rayflow_dagster.cli.commands import main

VARIABLE = "_RAYFLOW_DAGSTER_COMPLETE"


def items(words: str) -> list[CompletionItem[str]]:
    """What the last word can become; the others are complete."""
    *complete, incomplete = words.split(" ")
    shell = ShellComplete(main, {}, "rayflow-dagster", VARIABLE)
    return shell.get_completions(complete, incomplete)


def offered(words: str) -> list[str]:
    return [item.value for item in items(words) if item.type == "plain"]


def test_commands(empty_folder: Path):
    assert offered("v") == ["validate", "variables"]
    assert offered("ray st") == ["start", "status", "stop"]


def test_options(empty_folder: Path):
    assert offered("run linear --di") == ["--direct"]
    assert offered("variables linear s") == ["set"]


def test_flows_by_name(project: Path):
    assert offered("run l") == ["linear"]
    assert offered("run --direct l") == ["linear"]
    assert set(offered("graph p")) == {"parallel_join", "printer"}
    assert offered("validate linear b") == ["branch_join"]


def test_nodes_of_the_flow_that_was_typed(project: Path):
    assert offered("explain l") == ["linear"]
    assert offered("explain branch_join b") == ["branch"]
    assert offered("explain nowhere ") == []


def test_a_path_where_no_flow_is_called_so(project: Path):
    (item,) = items("run flows/l")

    assert (item.type, item.value) == ("file", "flows/l")


def test_inputs_of_the_flow_that_was_typed(empty_folder: Path):
    flow = flow_with_inputs({"amount": "int", "account": "str", "quick": "bool"})
    write_flow(empty_folder / "flows" / "pay.json", flow)

    assert offered("run pay -i a") == ["amount=", "account="]
    assert offered("run pay --input ") == ["amount=", "account=", "quick="]
    assert offered("run pay -i amount=3 -i a") == ["account="]
    assert offered("run flows/pay.json -i q") == ["quick="]
    assert offered("run pay -i quick=t") == ["quick=true"]
    assert offered("run pay -i amount=") == []


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"nodes": [1]}', '{"nodes": [{"id": "s", "type": "start"}]}', "\xff"],
)
def test_a_broken_flow_is_offered_and_has_no_inputs(empty_folder: Path, content):
    (empty_folder / "flows").mkdir()
    (empty_folder / "flows" / "broken.json").write_text(content, encoding="latin-1")

    assert offered("run b") == ["broken"]
    assert offered("run broken -i ") == []
    assert offered("run nowhere -i ") == []
    assert offered("run -i ") == []
    assert offered("explain broken x") == []


def test_broken_settings_and_nodes_keep_no_flow_from_being_offered(project: Path):
    (project / "pyproject.toml").write_text("[tool.rayflow_dagster\n")
    (project / "nodes").mkdir()
    (project / "nodes" / "bad.py").write_text("class (")

    assert offered("run l") == ["linear"]
    assert "a=" in offered("run linear -i ")


def test_what_a_shell_would_take_for_more_than_a_name_is_not_offered(empty_folder: Path):
    flow = flow_with_inputs({"good": "int", "$(touch x)": "int", "a b": "int"})
    write_flow(empty_folder / "flows" / "größe.json", flow)
    write_flow(empty_folder / "flows" / "$(touch x).json", flow)
    write_flow(empty_folder / "flows" / "-v.json", flow)

    assert offered("run ") == ["größe"]
    assert offered("run größe -i ") == ["good="]


def test_every_file_and_folder_can_be_completed(empty_folder: Path):
    kinds = {"FILE": "file", "PATH": "file", "DIR": "dir"}
    found = {
        param.metavar
        for command in main.commands.values()
        for param in command.params
        if param.metavar in kinds
        and [item.type for item in param.shell_complete(click.Context(command), "x")]
        == [kinds[param.metavar]]
    }
    assert found == set(kinds)


def completed(shell: str, *typed: str) -> str:
    """What the shell's script is told, by a process as it starts one."""
    words = "\n".join(["rayflow-dagster", *typed])
    environment = {
        VARIABLE: f"{shell}_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": typed[-1] if shell == "fish" else str(len(typed)),
    }
    code = (
        "import sys; from rayflow_dagster.cli import main\n"
        "try:\n    main(prog_name='rayflow-dagster')\n"
        "finally:\n    print(*{'ray', 'dagster'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.split() == []
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_neither_ray_nor_dagster_is_imported(project: Path, shell):
    assert "linear" in completed(shell, "run", "l")
    assert "a=" in completed(shell, "run", "linear", "-i", "a")


@pytest.mark.parametrize("shell", [BashComplete, ZshComplete, FishComplete])
def test_every_shell_has_a_script(shell):
    used = get_completion_class(shell.name)
    assert used is not None
    assert issubclass(used, shell)
    script = used(main, {}, "rayflow-dagster", VARIABLE).source()

    assert VARIABLE in script
    if shell is not FishComplete:  # which writes no space behind "="
        assert script != shell(main, {}, "rayflow-dagster", VARIABLE).source()


def test_bash_takes_the_script_and_offers_what_there_is(project: Path):
    script = f"""
        eval "$({VARIABLE}=bash_source rayflow-dagster)"
        compopt() {{ echo compopt "$@"; }}
        COMP_WORDS=(rayflow-dagster run linear -i "") COMP_CWORD=4
        _rayflow_dagster_completion rayflow-dagster
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    printed = done.stdout.splitlines()
    assert [line for line in printed if line.endswith("=")] == ["a=", "b="]
    assert "compopt -o nospace" in printed
