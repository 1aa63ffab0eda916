"""Values on disk."""

import threading

import pytest

from rayflow_dagster.values import StoredValue, store_value, write_whole


def test_a_stored_value_is_found_again(tmp_path):
    path = store_value(tmp_path / "run" / "node", "value", {"a": [1, 2]})
    assert path == tmp_path / "run" / "node" / "value.pkl"
    assert StoredValue(str(path)).load() == {"a": [1, 2]}


def test_a_value_that_cannot_be_pickled_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError):
        store_value(tmp_path, "value", threading.Lock())
    assert list(tmp_path.iterdir()) == []


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
