"""Port types: their words, what fits what, and which values they accept."""

import datetime
import decimal
import enum
import fractions
import math
import pathlib
import sys
import types
import typing
from collections import OrderedDict
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflow_dagster.port_types import (
    ANY,
    accepts,
    as_declared,
    fits,
    imported_class,
    loaded_class,
    parse_type,
    type_text,
    value_type,
)


class Shade(enum.IntEnum):
    DARK = 1


class Tagged(list):
    """A list with more to it."""


@typing.runtime_checkable
class Named(typing.Protocol):
    name: str


WORDS = st.recursive(
    st.sampled_from(["any", "int", "float", "str", "bool", "dict", "list", "None", "a.b.C"]),
    lambda inner: (
        st.builds("list[{}]".format, inner)
        | st.builds("dict[{}, {}]".format, inner, inner)
        | st.builds("{} | {}".format, inner, inner)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("word", "canonical"),
    [
        ("int", "int"),
        ("INT", "int"),
        (" int ", "int"),
        ("integer", "int"),
        ("number", "float"),
        ("string", "str"),
        ("boolean", "bool"),
        ("object", "any"),
        ("Any", "any"),
        ("typing.Any", "any"),
        ("array", "list"),
        ("null", "None"),
        ("None", "None"),
        ("builtins.int", "int"),
        ("bytes", "builtins.bytes"),
        ("typing.List", "list"),
        ("list[int]", "list[int]"),
        ("List[ int ]", "list[int]"),
        ("typing.List[int]", "list[int]"),
        ("dict[str,list[any]]", "dict[str, list[any]]"),
        ("int|None", "int | None"),
        ("int | str | int", "int | str"),
        ("Optional[int]", "int | None"),
        ("Union[int, str]", "int | str"),
        ("Union[int]", "int"),
        ("int | b.C", "int | b.C"),
        ("pandas.DataFrame", "pandas.DataFrame"),
        ("list['int']", "list[int]"),
        ("'int'", "int"),
    ],
)
def test_a_type_has_many_spellings(word, canonical):
    assert str(parse_type(word)) == canonical
    assert str(parse_type(canonical)) == canonical


@pytest.mark.parametrize(
    "word",
    [
        "",
        " ",
        "intt",
        "list[",
        "list[int",
        "list[int, str]",
        "dict[int]",
        "int | ",
        "5",
        "int()",
        "__import__('os').system('x')",
        "'a b'",
        "lambda: 1",
        "a.b c",
        "[int]",
        "list[5]",
        "1if",
        "\0",
        "int\ud800",
        "x" * 2000,
        "list[" * 50 + "int" + "]" * 50,
        "a" * 500 + "!",
        "tuple[int]",
    ],
)
def test_what_is_no_type_is_refused(word):
    with pytest.raises(ValueError, match=r"type|deep|long"):
        parse_type(word)


@given(st.text(max_size=30) | st.text("intsr[]|,. '\"None", max_size=30))
def test_parsing_ends_in_a_type_or_a_value_error(text):
    try:
        parsed = parse_type(text)
    except ValueError:
        return
    assert parse_type(str(parsed)) == parsed


@given(WORDS, WORDS, WORDS)
def test_fitting_is_reflexive_and_any_fits_both_ways(one, two, three):
    a, b, c = (parse_type(word) for word in (one, two, three))
    assert fits(a, a)
    assert fits(a, ANY)
    assert fits(ANY, a)
    union = parse_type(f"{one} | {two}")
    assert fits(a, union)
    assert fits(b, union)
    if "any" not in f"{one} {two} {three}":
        assert fits(union, c) == (fits(a, c) and fits(b, c))


@pytest.mark.parametrize(
    ("source", "target", "does"),
    [
        ("int", "float", True),
        ("float", "int", False),
        ("bool", "int", False),
        ("int", "bool", False),
        ("int", "str", False),
        ("None", "int", False),
        ("int", "int | None", True),
        ("int | None", "int", False),
        ("int | str", "int | str | None", True),
        ("int", "float | str", True),
        ("list[int]", "list", True),
        ("list", "list[int]", True),
        ("list[int]", "list[float]", True),
        ("list[float]", "list[int]", False),
        ("list[any]", "list[int]", True),
        ("dict[str, int]", "dict[str, float]", True),
        ("dict[str, int]", "dict[int, int]", False),
        ("list[int]", "dict", False),
        ("collections.OrderedDict", "dict", True),
        ("dict", "collections.OrderedDict", False),
        ("collections.OrderedDict", "collections.OrderedDict", True),
        ("no.Such", "dict", False),
        ("builtins.bool", "int", False),
        ("pathlib.PosixPath", "pathlib.PurePath", True),
        ("list[int]", "collections.abc.Sequence", True),
        ("dict", "collections.abc.Mapping", True),
        ("dict", "collections.abc.Sequence", False),
        ("int", "numbers.Number", True),
        ("float", "numbers.Integral", False),
        ("numbers.Number", "float", False),
        ("numbers.Integral", "int", False),  # of which True is one
        ("numpy.int64", "int", True),
        ("numpy.int64", "float", True),
        ("numpy.float32", "float", True),
        ("numpy.float32", "int", False),
        ("numpy.bool", "bool", True),
        ("None", "collections.abc.Hashable", True),
        ("int", "collections.abc.Hashable", True),
        ("list", "collections.abc.Hashable", False),
        ("decimal.Decimal", "float", False),
    ],
)
def test_what_fits_what(source, target, does):
    assert fits(parse_type(source), parse_type(target)) is does


@pytest.mark.parametrize(
    ("word", "value", "does"),
    [
        ("any", object(), True),
        ("int", 1, True),
        ("int", True, False),
        ("int", 1.0, False),
        ("int", numpy.int64(1), True),
        ("float", 1, True),
        ("float", 1.5, True),
        ("float", numpy.float32(1), True),
        ("float", True, False),
        ("float", "1", False),
        ("bool", True, True),
        ("bool", numpy.bool_(True), True),
        ("bool", 1, False),
        ("str", "x", True),
        ("str", b"x", False),
        ("None", None, True),
        ("int | None", None, True),
        ("list", [1, "x"], True),
        ("list[int]", [1], True),
        ("list[int]", ["x"], False),
        ("list", (1,), False),
        ("dict[str, int]", {"a": 1}, True),
        ("dict[str, int]", {1: 1}, False),
        ("dict[str, list[int]]", {"a": ["x"]}, False),
        ("collections.OrderedDict", OrderedDict(), True),
        ("collections.OrderedDict", {}, False),
        ("no.Such", 1, False),
        ("builtins.bytes", b"", True),
    ],
)
def test_which_values_are_accepted(word, value, does):
    assert accepts(parse_type(word), value) is does


SAMPLES = {
    "int": [0, 7, -(2**70)],
    "float": [1.5, 2, math.inf],
    "bool": [True, False],
    "str": ["", "x"],
    "None": [None],
    "list": [[], [1], ["x"], [None, {}]],
    "dict": [{}, {"a": 1}, {1: "x"}],
    "list[int]": [[], [1, 2]],
    "list[float | None]": [[], [1.5, None, 2]],
    "dict[str, list[int]]": [{}, {"a": [1]}],
    "numpy.int64": [numpy.int64(1)],
    "numpy.float32": [numpy.float32(1)],
    "numpy.float64": [numpy.float64(1)],
    "numpy.bool": [numpy.True_],
    "numpy.ndarray": [numpy.zeros(2)],
    "fractions.Fraction": [fractions.Fraction(1, 2)],
    "decimal.Decimal": [decimal.Decimal(1)],
    "builtins.complex": [1j],
    "builtins.bytes": [b"x"],
    "builtins.bytearray": [bytearray(b"x")],
    "builtins.tuple": [(), (1, "x")],
    "builtins.frozenset": [frozenset({1})],
    "collections.OrderedDict": [OrderedDict(a=1)],
    "pathlib.PosixPath": [pathlib.PosixPath("x")],
    f"{__name__}.Shade": [Shade.DARK],
    f"{__name__}.Tagged": [Tagged()],
    "numbers.Number": [1, True, 1j, decimal.Decimal(1)],
    "numbers.Real": [1, True, 1.5, fractions.Fraction(1, 2)],
    "numbers.Integral": [1, True, numpy.int64(1)],
    "collections.abc.Sequence": [[1], (1,), "x"],
    "collections.abc.Mapping": [{}, types.MappingProxyType({})],
    "collections.abc.Sized": [[], "x", {}],
    "typing.SupportsIndex": [1, True, numpy.zeros(2)],
    "pathlib.PurePath": [pathlib.PurePosixPath("x"), pathlib.PureWindowsPath("x")],
}
"""Types, each with values that tell it from the others."""


@pytest.mark.parametrize("source", SAMPLES)
def test_a_type_fits_another_where_a_running_node_takes_all_its_values(source):
    one = parse_type(source)
    for target, samples in SAMPLES.items():
        if target == source:
            assert all(accepts(one, value) for value in samples)
        # What is in a bare list or dict is told by its values alone.
        if one.args or not parse_type(target).args:
            other = parse_type(target)
            assert fits(one, other) == all(accepts(other, value) for value in SAMPLES[source]), (
                target
            )


@given(
    st.lists(st.sampled_from(sorted(SAMPLES)), min_size=1, max_size=3),
    st.sampled_from(sorted(SAMPLES)),
)
def test_a_union_fits_where_all_its_values_are_taken(members, target):
    source, other = parse_type(" | ".join(members)), parse_type(target)
    if other.args and {"list", "dict"} & set(members):
        return
    values = [value for member in members for value in SAMPLES[member]]
    assert fits(source, other) == all(accepts(other, value) for value in values)
    assert fits(other, source) >= any(fits(other, parse_type(member)) for member in members)


def test_a_protocol_with_attributes_is_left_to_the_values():
    kind = parse_type(f"{__name__}.Named")
    assert fits(parse_type("pathlib.Path"), kind)
    assert accepts(kind, pathlib.Path("x"))
    assert not accepts(kind, 5)


@pytest.mark.parametrize(
    ("declared", "word"),
    [
        (int, "int"),
        (str, "str"),
        (None, "None"),
        (type(None), "None"),
        (Any, "any"),
        (object, "any"),
        (list, "list"),
        (list[int], "list[int]"),
        (typing.List, "list"),  # noqa: UP006 - what authors may still write
        (typing.List[int], "list[int]"),  # noqa: UP006
        (typing.Dict, "dict"),  # noqa: UP006
        (dict[str, list[int]], "dict[str, list[int]]"),
        (int | None, "int | None"),
        (typing.Optional[int], "int | None"),  # noqa: UP045
        (typing.Union[int, str], "int | str"),  # noqa: UP007
        ("list[int]", "list[int]"),
        (pathlib.Path, "pathlib.Path"),
        (bytes, "builtins.bytes"),
        (datetime.datetime, "datetime.datetime"),
    ],
)
def test_what_an_author_writes_has_a_word(declared, word):
    assert type_text(declared) == word


@pytest.mark.parametrize("declared", [5, tuple[int, ...], set[int], "intt", [int], {"type": int}])
def test_what_is_no_type_has_no_word(declared):
    with pytest.raises(ValueError, match="type"):
        type_text(declared)


def test_a_class_has_its_public_path():
    assert type_text(pathlib.Path) == "pathlib.Path"  # Python 3.13 defines it in pathlib._local
    assert type_text(numpy.ndarray) == "numpy.ndarray"


def test_a_loaded_class_is_found_without_importing(monkeypatch):
    assert loaded_class("collections.OrderedDict") is OrderedDict
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    assert loaded_class("wave.Wave_read") is None
    before = set(sys.modules)
    assert loaded_class("rayflow_dagster.ActorManager") is None  # which is imported when asked for
    assert loaded_class("rayflow_dagster.actors.manager.no.Such") is None
    assert loaded_class("sys.path") is None
    assert set(sys.modules) == before


def test_a_class_that_code_names_is_imported():
    assert imported_class("fractions.Fraction").__name__ == "Fraction"
    assert imported_class("no.such.Module") is None


@pytest.mark.parametrize(("value", "word"), [(None, "None"), (1, "int"), (b"", "builtins.bytes")])
def test_a_value_has_a_type_word(value, word):
    assert value_type(value) == word


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("float", 1, 1.0),
        ("list[float]", [1, 2.5], [1.0, 2.5]),
        ("dict[str, float]", {"a": 1}, {"a": 1.0}),
        ("float | None", 1, 1.0),
        ("float | None", None, None),
        ("int | float", 1, 1),
        ("any", 1, 1),
    ],
)
def test_an_int_given_for_a_float_becomes_one(kind, given, expected):
    declared = as_declared(parse_type(kind), given)

    assert declared == expected
    assert repr(declared) == repr(expected)
