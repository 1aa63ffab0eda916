"""Previews of any value."""

from collections import OrderedDict, defaultdict, namedtuple
from enum import Enum

import numpy as np
import pytest

from rayflow_dagster.values.preview import LENGTH, preview

Point = namedtuple("Point", "x y")


class Color(Enum):
    RED = 1


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    @property
    def shape(self) -> None:
        raise RuntimeError("neither")


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (1.5, "1.5"),
        ("a'b", '"a\'b"'),
        ([1, "a"], "[1, 'a']"),
        ((1,), "(1,)"),
        ({}, "{}"),
        ({"b": 1, "a": [2]}, "{'b': 1, 'a': [2]}"),
        (set(), "{}"),
        (b"abc", "b'abc'"),
        (list(range(1000)), "[0, 1, 2, 3, 4, 5, ... 994 more]"),
        (OrderedDict(a=1), "OrderedDict({'a': 1})"),
        (Point(1, 2), "Point((1, 2))"),
        (Color.RED, "<Color.RED: 1>"),
        (np.zeros((3, 4)), "ndarray 3 x 4 of float64"),
        pytest.param(10**5000, "<an int of 16,610 bits>", id="huge int"),
        (Hostile(), "<Hostile that cannot be shown: RuntimeError>"),
        ([[[[[1]]]]], "[[[[...]]]]"),
    ],
)
def test_a_preview_says_what_a_value_is(value, text):
    assert preview(value) == text


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, b"x" * 10**6, defaultdict(list, {i: i for i in range(10**5)}), nested(10**5),
     {"x" * 1000: "y" * 1000}, [[["x" * 500] * 9] * 9] * 9],
)  # fmt: skip
def test_a_preview_is_bounded(value):
    assert len(preview(value)) <= LENGTH
    assert len(preview(value, 50)) <= 50
