"""Values at rest."""

import enum
import importlib.util
import json
import math
from collections import OrderedDict

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflow_dagster.errors import StorageError
from rayflow_dagster.values.stored import (
    INLINE_BYTES,
    StoredValue,
    check_location,
    is_inline,
    local_or_url,
    read_bytes,
    store_bytes,
    write_whole,
)


def test_bytes_are_stored_at_paths_and_urls_alike(tmp_path):
    for folder in (str(tmp_path), "memory://bytes"):
        location = store_bytes(f"{folder}/deep/file", b"content")
        assert read_bytes(location) == b"content"
    fsspec.filesystem("memory").rm("/bytes", recursive=True)


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("memory://bucket", "memory of one process"),
        ("nosuch://bucket", "Protocol not known"),
        ("s3://bucket", "s3fs"),
    ],
)
def test_a_place_that_values_cannot_be_stored_at_is_refused(location, why):
    if location.startswith("s3") and importlib.util.find_spec("s3fs"):
        pytest.skip("s3fs is installed")
    with pytest.raises(StorageError, match=why):
        check_location(location)


def test_a_folder_is_a_place_for_values(tmp_path):
    check_location(str(tmp_path))


def test_a_file_url_means_the_path():
    assert local_or_url("file:///data/values") == "/data/values"
    assert local_or_url("s3://bucket/values") == "s3://bucket/values"


def test_a_tilde_is_the_users_home(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert local_or_url("~/values") == "/home/ada/values"
    assert local_or_url("file://~/values") == "/home/ada/values"
    assert local_or_url("s3://bucket/~/values") == "s3://bucket/~/values"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


@given(json_values)
def test_what_travels_inline_equals_what_its_json_gives(value):
    if is_inline(value):
        again = json.loads(json.dumps(value))
        assert again == value
        assert repr(again) == repr(value)


@pytest.mark.parametrize("value", [None, True, 0, -5, 2.5, "text", [], {}, {"a": [1, {"b": None}]}])
def test_small_plain_values_travel_inline(value):
    assert is_inline(value)


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1, 2},
        b"bytes",
        math.nan,
        math.inf,
        {1: "a key that JSON would make a text"},
        Colour.RED,
        OrderedDict(a=1),
        [[object()]],
        "x" * INLINE_BYTES,
        1 << (4 * INLINE_BYTES),
        [0] * INLINE_BYTES,
        {"k" * INLINE_BYTES: 0},
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_and_larger_values_are_objects_of_their_own(value):
    assert not is_inline(value)


def test_a_value_that_contains_itself_is_an_object_of_its_own():
    endless = []
    endless.append(endless)
    assert not is_inline(endless)


def test_a_file_that_cannot_be_put_in_place_leaves_nothing_behind(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").touch()
    with pytest.raises(OSError, match="taken"):
        write_whole(tmp_path / "taken", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_writing_replaces_what_was_there(tmp_path):
    write_whole(tmp_path / "file", b"one")
    assert write_whole(tmp_path / "file", b"two").read_bytes() == b"two"


def test_a_file_that_is_gone_is_said(tmp_path):
    with pytest.raises(FileNotFoundError):
        StoredValue(str(tmp_path / "gone")).load()
