"""What is told of a value's kind and amount."""

from types import SimpleNamespace
from typing import Any

import numpy
import pandas
import pyarrow
import pytest

from rayflow_dagster.values.measures import measures

FRAME = pandas.DataFrame({"x": [1, 2, 3], "y": [4, 5, 6]})


class Broken(dict):  # type: ignore[type-arg]
    def __len__(self) -> int:
        raise OSError("gone")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, {"type": "int"}),
        (None, {"type": "NoneType"}),
        ("text", {"type": "str"}),
        (b"bytes", {"type": "bytes"}),
        ([1, 2], {"type": "list", "size": 2}),
        ({"a": 1}, {"type": "dict", "size": 1}),
        ({1, 2, 3}, {"type": "set", "size": 3}),
        (
            numpy.zeros((2, 3)),
            {"type": "ndarray", "rows": 2, "columns": 3, "shape": "2 x 3", "bytes": 48},
        ),
        (numpy.float64(1.5), {"type": "float64"}),
        (FRAME, {"type": "DataFrame", "rows": 3, "columns": 2, "shape": "3 x 2"}),
        (
            pyarrow.table({"x": [1, 2]}),
            {"type": "Table", "rows": 2, "columns": 1, "shape": "2 x 1", "bytes": 16},
        ),
        (SimpleNamespace(shape=(float("nan"), 2)), {"type": "SimpleNamespace"}),
        (Broken(), {"type": "Broken that cannot be measured"}),
    ],
)
def test_measures(value: Any, expected: dict[str, Any]) -> None:
    assert measures(value) == expected
