"""A wire whose types do not fit names the built-in nodes that convert."""

import pytest
from drawing import draw, node

from rayflow_dagster.compiler.converters import CONVERTERS, converters
from rayflow_dagster.compiler.spelling import class_path_of
from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.port_types import fits, parse_type

TO_NUMBERS = ["convert.to_int", "convert.to_float"]


def named(gives: str, takes: str) -> list[str]:
    return converters(parse_type(gives), parse_type(takes))


@pytest.mark.parametrize(
    ("gives", "takes", "names"),
    [
        ("str", "int", TO_NUMBERS[:1]),
        ("float", "int", TO_NUMBERS[:1]),
        ("bool", "float", TO_NUMBERS[1:]),
        ("str", "int | float", TO_NUMBERS),
        ("int | str", "float | None", TO_NUMBERS[1:]),
        ("int", "str", ["convert.to_str"]),
        ("str", "bool", ["convert.to_bool"]),
        ("dict[str, int]", "str", ["data.json_dump"]),
        ("str", "list[int]", ["data.json_parse"]),
        ("str", "dict | list", ["data.json_parse"]),
        ("float", "bool", []),
        ("str | None", "int", []),
        ("list", "dict", []),
        ("int", "pathlib.Path", []),
    ],
)
def test_the_nodes_that_convert_from_the_one_type_to_the_other(gives, takes, names):
    assert named(gives, takes) == names


@pytest.mark.parametrize(("name", "source", "target"), CONVERTERS)
def test_each_takes_and_gives_what_the_table_says(loader, name, source, target):
    found = loader.registry.metadata(class_path_of(name, loader.registry))

    (takes,), (gives,) = found["inputs"].values(), found["outputs"].values()
    assert fits(parse_type(source), parse_type(takes))
    assert fits(parse_type(gives), parse_type(target))
    assert takes == "any" or parse_type(takes) == parse_type(source)


def misfit(takes: str):
    return draw(
        {"s": node("start", inputs={"a": "str"}), "r": node("return", inputs={"a": takes})},
        "s > r, s.a - r.a",
    )


def test_the_finding_names_the_node_that_converts(loader):
    validator = FlowValidator(loader)

    _, (error,) = validator.validate(misfit("int"))
    assert error.endswith("put a node between that converts: convert.to_int")
    between = draw(
        {
            "s": node("start", inputs={"a": "str"}),
            "i": "convert.to_int",
            "r": node("return", inputs={"a": "int"}),
        },
        "s.a - i.value, i.value - r.a",
    )
    assert validator.validate(between) == (True, [])


def test_the_finding_says_where_no_node_converts(loader):
    _, (error,) = FlowValidator(loader).validate(misfit("collections.OrderedDict"))

    assert error.endswith("no built-in node converts, so put one of yours between")
