"""Which outputs are an input just as it came."""

from collections.abc import Callable
from typing import Any

import numpy
import pandas
import pyarrow
import pytest

from rayflow_dagster.values.unchanged import fingerprint, handed_on


def fixed(array: Any) -> Any:
    array.flags.writeable = False
    return array


NUMBERS = fixed(numpy.arange(6))
RECORDS = numpy.zeros(3, [("a", "i4"), ("b", "i4")])


def reshape(array: Any) -> None:
    array.shape = (2, 3)


def retype(array: Any) -> None:
    array.dtype = "uint64"


def rename(array: Any) -> None:
    array.dtype.names = ("b", "a")


@pytest.mark.parametrize("value", [NUMBERS, "text", b"bytes", pyarrow.table({"a": [1]})])
def test_a_value_that_cannot_change_is_handed_on(value: Any) -> None:
    outputs = {"out": value, "other": 1}
    assert handed_on(outputs, {"in": value}, {"in": fingerprint(value)}) == {"out": "in"}


@pytest.mark.parametrize(
    "value", [numpy.arange(6), fixed(numpy.array([[]], object)), [1], {}, 1, pandas.DataFrame()]
)
def test_of_others_it_cannot_be_told(value: Any) -> None:
    assert fingerprint(value) is None


@pytest.mark.parametrize(
    ("value", "change"),
    [(NUMBERS.copy(), reshape), (NUMBERS.copy(), retype), (RECORDS, rename)],
)
def test_an_array_that_was_changed_in_place_is_not_handed_on(
    value: Any, change: Callable[[Any], None]
) -> None:
    before = fingerprint(fixed(value))
    change(value)
    assert handed_on({"out": value}, {"in": value}, {"in": before}) == {}


def test_an_equal_value_is_another() -> None:
    other = fixed(numpy.arange(6))
    assert handed_on({"out": other}, {"in": NUMBERS}, {"in": fingerprint(NUMBERS)}) == {}
