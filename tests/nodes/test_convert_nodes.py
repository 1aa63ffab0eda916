import math
import sys
from fractions import Fraction

import numpy
import pytest

from rayflow_dagster.nodes.convert.to_bool import ToBoolNode
from rayflow_dagster.nodes.convert.to_float import ToFloatNode
from rayflow_dagster.nodes.convert.to_int import ToIntNode
from rayflow_dagster.nodes.convert.to_str import ToStrNode
from rayflow_dagster.testing import run_node_locally

LONG = 10 ** sys.get_int_max_str_digits()
"""An int with more digits than Python writes or reads."""
TOO_LONG = pytest.param(LONG, id="long")
LARGE = 2**53 + 1
"""An int that no float is equal to."""


def converted(node, value):
    (result,) = run_node_locally(node, value=value).values()
    return result


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        (3, 3), (3.0, 3), (-0.0, 0), (True, 1), (False, 0), ("3", 3), (" -12 ", -12), ("+007", 7),
        (str(LARGE), LARGE), (1e300, int(1e300)), (Fraction(4, 2), 2),
        (numpy.int64(3), 3), (numpy.float32(3), 3), (numpy.True_, 1),
    ],
)  # fmt: skip
def test_an_int_of_a_whole_number(value, whole):
    result = converted(ToIntNode, value)
    assert (type(result), result) == (int, whole)


@pytest.mark.parametrize("value", [3.5, "3.5", "3.0", "", "three", "1_000", "0x10", "1e3", "٣"])
def test_no_int_is_guessed(value):
    with pytest.raises(ValueError, match="is no whole number"):
        converted(ToIntNode, value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_no_ints(value):
    with pytest.raises(ValueError, match=f"^{value} is no whole number"):
        converted(ToIntNode, value)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3.0), (2.5, 2.5), (True, 1.0), (" -2.5 ", -2.5), ("1e-3", 0.001), (".5", 0.5),
        ("5.", 5.0), ("INF", math.inf), ("-inf", -math.inf), (math.inf, math.inf),
        (LARGE, 2.0**53), (numpy.float64(2.5), 2.5),
    ],
)  # fmt: skip
def test_a_float_of_a_number(value, number):
    result = converted(ToFloatNode, value)
    assert (type(result), result) == (float, number)


@pytest.mark.parametrize("value", [math.nan, "nan", "NaN"])
def test_nan_is_a_float(value):
    assert math.isnan(converted(ToFloatNode, value))


@pytest.mark.parametrize("value", ["2,5", "1_000", "", "infinite", "1e", ".", "0x10"])
def test_no_float_is_guessed(value):
    with pytest.raises(ValueError, match="is no number"):
        converted(ToFloatNode, value)


@pytest.mark.parametrize("value", [TOO_LONG, "1e999", "-1e999"])
def test_a_number_too_large_for_a_float_is_refused(value):
    with pytest.raises(ValueError, match="too large for a float"):
        converted(ToFloatNode, value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"), (2.50, "2.5"), (1e300, "1e+300"), (True, "true"), (False, "false"),
        ("True", "True"), ("", ""), (LARGE, str(LARGE)), (math.nan, "nan"), (-math.inf, "-inf"),
        (numpy.int64(3), "3"), (numpy.float64(2.5), "2.5"), (numpy.True_, "true"),
    ],
)  # fmt: skip
def test_a_text_of_a_number_or_truth_value(value, text):
    assert converted(ToStrNode, value) == text


def test_the_text_of_a_number_becomes_that_number_again():
    for node, value in [(ToIntNode, LARGE), (ToFloatNode, 0.1), (ToBoolNode, True)]:
        assert converted(node, converted(ToStrNode, value)) is not None
        assert converted(node, converted(ToStrNode, value)) == value


def test_a_number_too_long_for_a_text_is_refused_both_ways():
    assert converted(ToIntNode, LONG) == LONG
    with pytest.raises(ValueError, match="digits is too long for a text"):
        converted(ToStrNode, LONG)
    with pytest.raises(ValueError, match="digits is too long to read"):
        converted(ToIntNode, "1" * (sys.get_int_max_str_digits() + 1))


@pytest.mark.parametrize("value", [True, 1, "true", "YES", " on ", "1", numpy.True_])
def test_a_word_for_true(value):
    assert converted(ToBoolNode, value) is True


@pytest.mark.parametrize("value", [False, 0, "False", "no", "off", "0", numpy.False_])
def test_a_word_for_false(value):
    assert converted(ToBoolNode, value) is False


@pytest.mark.parametrize("value", ["", "y", "2", 2, -1, "none", TOO_LONG])
def test_no_truth_value_is_guessed(value):
    with pytest.raises(ValueError, match="is no truth value: write true or false, yes or no, on"):
        converted(ToBoolNode, value)


@pytest.mark.parametrize("node", [ToIntNode, ToFloatNode, ToStrNode, ToBoolNode])
@pytest.mark.parametrize("value", [None, [1], {"a": 1}, b"1"])
def test_what_is_no_number_text_or_truth_value_is_refused_by_its_port(node, value):
    with pytest.raises(Exception, match="'value'"):
        converted(node, value)
