"""Any value as JSON, whole or cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflow_dagster.values.jsonable import json_text, json_within

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
VALUES = st.recursive(
    LEAVES, lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=40
)


@given(VALUES, st.integers(40, 400))
def test_what_is_cut_is_still_json_of_that_length_and_marked(value: Any, length: int) -> None:
    whole, cut = json_text(value, indent=None), json_within(value, length)

    json.loads(cut)
    assert len(cut) <= length
    assert cut == whole or "..." in cut


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": 1, "b": list(range(100))}, '{"a": 1, "b": [0, 1, 2, 3, "... 96 more"]}'),
        ({"a": "x" * 100, "b": 2}, '{"a": "xxxxxxxxxxxxxxxxxxx...", "b": 2}'),
        ({"a": "x" * 100, "b": "y" * 9}, '{"a": "xxxxxxxxxxxxxxxxxxx...", "...": "1 more"}'),
        ("é" * 100, '"' + "é" * 45 + '..."'),
        ({"name": "caf\udce9"}, '{"name": "caf\\udce9"}'),
        ({"n": 10**5000}, '{"n": "<an int of 16,610 bits>"}'),
        ({(1, 2): {3}}, '{"(1, 2)": "{3}"}'),
        ("\n" * 100, '"' + "\\n" * 22 + '..."'),
    ],
)
def test_it_is_cut_between_values_and_says_so(value: Any, shown: str) -> None:
    assert json_within(value, 50) == shown


class Broken(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("never")


def test_a_value_whose_own_code_fails_is_shown_all_the_same() -> None:
    assert json.loads(json_within({"a": Broken(b=1)}, 60))
