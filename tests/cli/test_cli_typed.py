"""What was misspelled, or left empty."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from forked_pythons import ForkedPythons

from rayflow_dagster.cli.commands import main
from rayflow_dagster.cli.typed import Typed


def commands(group: click.Group = main) -> Iterator[tuple[list[str], click.Command]]:
    """Everything that can be typed, with the words for it."""
    for name, command in group.commands.items():
        yield [name], command
        if isinstance(command, click.Group):
            yield from (([name, *words], inner) for words, inner in commands(command))


def with_empty() -> Iterator[list[str]]:
    """Every command with each of its names and paths empty, the others being there."""
    for words, command in commands():
        texts = [param for param in command.params if param.type is click.STRING]
        for empty in texts:
            typed = list(words)
            for param in command.params:
                value = "" if param is empty else "x"
                if isinstance(param, click.Option) and param is empty:
                    typed += [param.opts[-1], value]
                elif isinstance(param.type, click.Choice):
                    typed.append("set")
                elif isinstance(param, click.Argument) and (param.required or param is empty):
                    typed.append(value)
            yield typed


@pytest.mark.parametrize("words", list(with_empty()), ids=repr)
def test_an_empty_name_or_path_is_one_error_and_writes_nothing(typed, empty_folder: Path, words):
    result = typed(*words)

    assert result.exit_code == 2
    assert result.stderr.count("Error: ") == 1
    assert "empty" in result.stderr
    assert list(empty_folder.iterdir()) == []


def test_a_blank_name_is_as_empty(typed, empty_folder: Path):
    assert typed("init", " ").exit_code == 2
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("runn x", "run"),
        ("validat x", "validate"),
        ("node", "nodes"),
        ("new_node x", "new-node"),
        ("variable x", "variables"),
        ("ray statu", "status"),
        ("ray strat", "start"),
        ("--versoin", "--version"),
        ("--hlep", "--help"),
        ("run x --jsn", "--json"),
        ("run x -json", "--json"),
        ("run x --dirct", "--direct"),
        ("run x --inpt a=1", "--input"),
        ("run x --inpts=a.json", "--inputs"),
        ("graph x --sgv", "--svg"),
        ("validate x --jsn", "--json"),
        ("nodes --jsno", "--json"),
        ("schema --markdwon", "--markdown"),
        ("variables x --jsn", "--json"),
        ("variables x -json", "--json"),
        ("variables x st y 1", "set"),
        ("variables x rest", "reset"),
        ("prune --dryrun", "--dry-run"),
        ("prune --older 3d", "--older-than"),
        ("inbox --prt 3001", "--port"),
        ("inbox --max-bdy 3", "--max-body"),
        ("dev --wacth x", "--watch"),
        ("dev --hots x", "--host"),
        ("ray start --cpu 2", "--cpus"),
    ],
)
def test_a_misspelled_word_is_told_with_the_one_that_was_meant(
    typed, empty_folder: Path, words, meant
):
    result = typed(*words.split())

    assert result.exit_code == 2
    assert result.stderr.endswith(f"; did you mean '{meant}'?\n")
    assert result.stderr.count("did you mean") == 1
    assert list(empty_folder.iterdir()) == []


def test_a_word_like_no_other_is_told_alone(typed):
    assert typed("xyzzy").stderr.endswith("No such command 'xyzzy'.\n")
    assert typed("nodes", "--xyzzy").stderr.endswith("No such option '--xyzzy'.\n")


def test_every_command_reads_its_words_so():
    assert all(isinstance(command, Typed) for _words, command in commands())


def test_what_looks_like_an_option_is_a_value_behind_two_dashes(typed, project: Path):
    assert "'--jsn' is not one of" in typed("variables", "linear", "--", "--jsn").stderr


def test_negative_numbers_are_values(typed, project: Path):
    assert "keeps no variable" in typed("variables", "linear", "set", "x", "-5").stderr


def test_a_file_given_for_an_input_is_told_where_files_go(typed, project: Path):
    assert "--inputs takes a file" in typed("run", "linear", "-i", "inputs.json").stderr


def test_dagsters_own_options_are_left_to_it(pythons: ForkedPythons):
    told = pythons.run(["-m", "dagster", "dev", "--help"]).stdout
    options = {word.strip(",") for word in told.split() if word.startswith("--")}
    assert "--grpc-port" in options
    command = main.commands["dev"]
    for option in options - {"--help", "--host", "--port", "--dagit-host", "--dagit-port"}:
        context = command.make_context("dev", [option], resilient_parsing=False)
        assert context.params["arguments"] == (option,)
