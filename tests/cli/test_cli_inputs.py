"""``-i`` and ``--inputs``: how values are read."""

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
from cli_flows import flow_with_inputs

from rayflow_dagster.cli.group import Refused
from rayflow_dagster.cli.inputs import parse_value, read_inputs
from rayflow_dagster.errors import InvalidInputsError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.types import ExecutionGraph


def graph_of(**inputs: Any) -> ExecutionGraph:
    return FlowOrchestrator().load(flow_with_inputs(inputs))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "3", 3),
        ("int", "-12", -12),
        ("float", "3", 3.0),
        ("float", "2.5e3", 2500.0),
        ("bool", "true", True),
        ("bool", "Yes", True),
        ("bool", "1", True),
        ("bool", "no", False),
        ("bool", "FALSE", False),
        ("bool", "0", False),
        ("str", "3", "3"),
        ("str", "", ""),
        ("str", "a=b", "a=b"),
        ("str", '"quoted"', '"quoted"'),
        ("list", "[1, 2]", [1, 2]),
        ("list[int]", "[]", []),
        ("dict", '{"a": null}', {"a": None}),
        ("dict[str, float]", '{"a": 1}', {"a": 1}),
        ("any", "3", 3),
        ("any", "null", None),
        ("any", "plain text", "plain text"),
        ("any", "NaN", "NaN"),
        ("int | None", "null", None),
        ("int | None", "4", 4),
        ("str | None", "text", "text"),
        ("str | int", "7", 7),
        ("str | None", "7", "7"),
    ],
)
def test_a_value_is_read_by_the_declared_type(kind, text, value):
    read = parse_value(kind, text)

    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "3.0"),
        ("int", ""),
        ("int", "three"),
        ("float", "nan"),
        ("float", "inf"),
        ("float", "1,5"),
        ("float", "1e400"),
        ("float", "4" * 400),
        ("int", "4" * 400),
        ("int", "4" * 5000),
        ("bool", "2"),
        ("bool", "maybe"),
        ("list", "{}"),
        ("list[int]", '["a"]'),
        ("list", "[" * 100_000),
        ("dict", "{'a': 1}"),
        ("dict", '{"a": 1, "a": 2}'),
        ("int | None", "x"),
        ("int | None", "2.5"),
        ("str", "\udc80"),
        ("pathlib.Path", "/tmp"),
    ],
)
def test_a_value_of_another_type_is_refused_with_name_type_and_what_was_given(kind, text):
    with pytest.raises(InvalidInputsError) as refused:
        read_inputs(graph_of(x=kind), [f"x={text}"], None)

    (problem,) = refused.value.problems
    assert problem.startswith(f"input 'x' takes {kind}, not {text[:70]!r}"[:60])


def test_every_problem_is_told_at_once():
    graph = graph_of(a="int", b="int", c="int")
    with pytest.raises(InvalidInputsError) as refused:
        read_inputs(graph, ["a=x", "d=1"], None)

    told = refused.value.problems
    assert [problem.split("'")[1] for problem in told] == ["a", "d", "b", "c"]


def test_a_value_may_hold_an_equals_sign():
    assert read_inputs(graph_of(x="str"), ["x=a=b"], None) == {"x": "a=b"}


def test_the_last_of_two_values_wins():
    assert read_inputs(graph_of(x="int"), ["x=1", "x=2"], None) == {"x": 2}


@pytest.mark.parametrize("text", ["x", "=1", ""])
def test_an_input_without_a_name_and_equals_is_a_usage_error(text):
    with pytest.raises(click.UsageError):
        read_inputs(graph_of(x="int"), [text], None)


def test_typed_values_win_over_the_file(tmp_path: Path):
    file = tmp_path / "inputs.json"
    file.write_text(json.dumps({"a": 1, "b": 2}))

    assert read_inputs(graph_of(a="int", b="int"), ["b=3"], str(file)) == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("kind", "text"),
    [("float", "1e400"), ("any", "-1e400"), ("list[float]", "[1, 1e400]"),
     ("float", "4" * 400), ("any", "4" * 400), ("dict", '{"a": [' + "4" * 400 + "]}")],
)  # fmt: skip
def test_a_number_that_no_float_can_hold_is_refused_on_both_ways_in(tmp_path: Path, kind, text):
    file = tmp_path / "inputs.json"
    file.write_text(f'{{"x": {text}}}')
    for typed, given in (([f"x={text}"], None), ([], str(file))):
        with pytest.raises(InvalidInputsError) as refused:
            read_inputs(graph_of(x=kind), typed, given)
        (problem,) = refused.value.problems
        assert re.search(
            r"inf, which is not a JSON value|more than 300 digits|finite|at most 300", problem
        )
        assert problem.startswith("input 'x' ")


def test_values_of_the_file_are_json_and_not_text(tmp_path: Path):
    file = tmp_path / "inputs.json"
    file.write_text('{"a": "1"}')
    with pytest.raises(InvalidInputsError, match="input 'a' takes int, not '1'"):
        read_inputs(graph_of(a="int"), [], str(file))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[1]", "JSON object"),
        (b"{", "line 1 column 2"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": "\xff"}', "UTF-8"),
    ],
)
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, content, said):
    file = tmp_path / "inputs.json"
    file.write_bytes(content)
    with pytest.raises(Refused, match=said) as refused:
        read_inputs(graph_of(a="int"), [], str(file))

    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(Refused, match=r"nowhere\.json: No such file"):
        read_inputs(graph_of(a="int"), [], "nowhere.json")


def test_a_default_need_not_be_given():
    assert read_inputs(graph_of(a={"type": "int", "default": 1}), [], None) == {}
