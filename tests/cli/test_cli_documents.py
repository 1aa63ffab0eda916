"""``--json`` is one JSON document, whatever happens."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import click
import pytest
from cli_flows import flow_with_inputs, write_flow
from forked_pythons import ForkedPythons

from rayflow_dagster.cli.commands import main

WITH_JSON = {
    name for name, command in main.commands.items()
    if any("--json" in param.opts for param in command.params)
}  # fmt: skip


def flow_in(command: str) -> list[str]:
    return [] if command == "nodes" else ["f"]


def failed(result, exit_code: int) -> dict[str, Any]:
    """What was printed of a failure: the document; the message stands on standard error."""
    document = json.loads(result.stdout)
    assert result.exit_code == exit_code
    assert document["success"] is False
    assert "Error: " in result.stderr
    assert document["error"].splitlines()[0] in result.stderr
    return document


@pytest.mark.parametrize("command", sorted(WITH_JSON - {"nodes"}))
def test_a_flow_that_is_not_there(typed, empty_folder: Path, command):
    assert "no flow 'f'" in failed(typed(command, "f", "--json"), 1)["error"]


@pytest.mark.parametrize("command", sorted(WITH_JSON))
def test_broken_settings(typed, empty_folder: Path, command):
    write_flow(empty_folder / "flows" / "f.json", flow_with_inputs({"a": "int"}))
    (empty_folder / "pyproject.toml").write_text("[tool.rayflow_dagster]\nnods = 1\n")

    assert "nods" in failed(typed(command, *flow_in(command), "--json"), 1)["error"]


@pytest.mark.parametrize("command", sorted(WITH_JSON))
def test_a_command_typed_wrongly(typed, empty_folder: Path, command):
    result = typed(command, *flow_in(command), "--json", "--wrong")

    assert "--wrong" in failed(result, 2)["error"]


@pytest.mark.parametrize("command", sorted(WITH_JSON))
def test_an_env_file_that_cannot_be_read(typed, empty_folder: Path, command):
    (empty_folder / ".env").write_bytes(b"A=\xff\n")

    assert ".env" in failed(typed(command, *flow_in(command), "--json"), 1)["error"]


def test_what_only_looks_like_the_option_asks_for_nothing(typed, empty_folder: Path):
    assert typed("variables", "f", "--", "--json").stdout == ""


@pytest.mark.parametrize("arguments", [("run",), ("run", "--direct"), ("variables",)])
def test_an_invalid_flow_with_its_findings(typed, empty_folder: Path, arguments):
    flow = flow_with_inputs({"a": "int"})
    flow["nodes"] += [{"id": "x", "type": "math.ad"}, {"id": "y", "type": "start"}]
    write_flow(empty_folder / "f.json", flow)
    command, *options = arguments
    document = failed(typed(command, "f.json", *options, "--json"), 1)

    assert len(document["findings"]) > 1
    assert all(finding in document["error"] for finding in document["findings"])


@pytest.mark.parametrize("direct", [(), ("--direct",)])
def test_wrong_inputs_with_all_of_them(typed, project: Path, direct):
    result = typed("run", "linear", *direct, "-i", "a=x", "-i", "nowhere=1", "--json")

    assert len(failed(result, 1)["findings"]) == 2


@pytest.mark.parametrize("command", sorted(WITH_JSON))
def test_a_fault_of_ours_too(
    project: Path, command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(*_arguments: Any, **_options: Any) -> None:
        raise LookupError("ours")

    monkeypatch.setattr(main.commands[command], "callback", fail)
    with pytest.raises(LookupError):
        main([command, *(["linear"] if command != "nodes" else []), "--json"])

    assert json.loads(capsys.readouterr().out)["error"] == "LookupError: ours"


@pytest.mark.parametrize("command", sorted(WITH_JSON))
def test_stopped_while_something_is_read(project: Path, pythons: ForkedPythons, command):
    pipe = project / ".env"
    os.mkfifo(pipe)
    arguments = [] if command == "nodes" else ["linear"]
    process = pythons.start(["-m", "rayflow_dagster", command, *arguments, "--json"])
    # Goes on once it is being read. A signal that comes just before the read begins does not end
    # that read: the end of the file does.
    with pipe.open("w"):
        process.send_signal(signal.SIGINT)
    out, err = process.communicate()

    assert process.returncode == 130, err
    assert json.loads(out)["success"] is False
    assert "stopped" in json.loads(out)["error"]
    assert err.endswith("Stopped.\n")


@pytest.mark.parametrize("command", sorted(WITH_JSON))
def test_what_is_printed_beside_it_goes_to_standard_error(
    typed, project: Path, command, monkeypatch: pytest.MonkeyPatch
):
    told = main.commands[command].callback
    assert told is not None

    def chatter(*arguments: Any, **options: Any) -> Any:
        click.echo("by a node's file")
        return told(*arguments, **options)

    monkeypatch.setattr(main.commands[command], "callback", chatter)
    result = typed(command, *(["no_return_reached"] if command != "nodes" else []), "--json")

    assert "by a node's file" in result.stderr
    json.loads(result.stdout)
