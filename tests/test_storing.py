"""How values are stored: what is large in them once in a run."""

import threading
from pathlib import Path
from typing import Any

import cloudpickle
import fsspec
import numpy
import pandas
import pyarrow
import pytest

from rayflow_dagster.values.stored import StoredValue, stored_exists
from rayflow_dagster.values.storing import PART_BYTES, store_value

NUMBERS = numpy.arange(PART_BYTES, dtype=numpy.float64)
LARGE = {
    "array": NUMBERS,
    "transposed": numpy.asfortranarray(NUMBERS.reshape(1000, -1)),
    "frame": pandas.DataFrame({"x": NUMBERS}),
    "table": pyarrow.table({"x": NUMBERS}),
    "bytes": bytes(PART_BYTES),
    "text": "\u00e9" * PART_BYTES,
    "list": list(range(PART_BYTES)),
    "many arrays": [numpy.full(PART_BYTES // 1000, float(each)) for each in range(200)],
}


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def store(run: Path | str, step: str, value: Any) -> Any:
    """Store the value as a step's; return what is read again."""
    return StoredValue(store_value(f"{run}/steps/{step}", "value", value)).load()


def test_a_stored_value_is_found_again(tmp_path):
    path = store_value(tmp_path / "run" / "node", "value", {"a": [1, 2]})
    assert path == str(tmp_path / "run" / "node" / "value.pkl")
    assert stored_exists(path)
    assert StoredValue(path).load() == {"a": [1, 2]}


def test_a_value_is_stored_at_a_url_and_found_again():
    place = store_value("memory://bucket/run/node", "value", {"a": (1, 2)})
    try:
        assert place == "memory://bucket/run/node/value.pkl"
        assert stored_exists(place)
        assert StoredValue(place).load() == {"a": (1, 2)}
        assert not stored_exists("memory://bucket/run/node/other.pkl")
    finally:
        fsspec.filesystem("memory").rm("/bucket", recursive=True)


def test_a_value_that_cannot_be_pickled_leaves_nothing_behind(tmp_path):
    with pytest.raises(TypeError):
        store_value(tmp_path, "value", threading.Lock())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", LARGE)
def test_an_unchanged_value_is_stored_once_in_a_run(tmp_path: Path, kind: str) -> None:
    value = store(tmp_path, "make", LARGE[kind])
    once = size_of(tmp_path)

    for step in ("first", "second", "third"):
        value = store(tmp_path, step, value)

    assert numpy.array_equal(numpy.asarray(value), numpy.asarray(LARGE[kind]))
    assert type(value) is type(LARGE[kind])
    assert size_of(tmp_path) < 1.2 * once


def test_an_array_in_a_result_is_stored_no_second_time(tmp_path: Path) -> None:
    value = store(tmp_path, "make", NUMBERS)
    result = store(tmp_path, "return", {"numbers": value, "of": "make"})

    assert numpy.array_equal(result["numbers"], NUMBERS)
    assert size_of(tmp_path) < 1.1 * NUMBERS.nbytes


def test_another_run_stores_a_value_of_its_own(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    again = store(second, "pass", store(first, "make", NUMBERS))

    assert size_of(second) == pytest.approx(size_of(first), abs=100)
    assert numpy.array_equal(again, NUMBERS)


def test_what_differs_is_stored_too(tmp_path: Path) -> None:
    values = [store(tmp_path, str(each), NUMBERS + each) for each in range(3)]

    assert [value[0] for value in values] == [0, 1, 2]
    assert size_of(tmp_path) > 3 * NUMBERS.nbytes


def test_a_small_value_is_one_file(tmp_path: Path) -> None:
    store(tmp_path, "small", numpy.arange(1000))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["value.pkl"]


def test_what_is_large_is_stored_once_at_a_url_too() -> None:
    try:
        for step in ("make", "pass"):
            again = store("memory://bucket/run", step, NUMBERS)
        sizes = fsspec.filesystem("memory").du("/bucket")
    finally:
        fsspec.filesystem("memory").rm("/bucket", recursive=True)
    assert numpy.array_equal(again, NUMBERS)
    assert sizes < 1.1 * NUMBERS.nbytes


@pytest.mark.parametrize("size", [0, 10, PART_BYTES])
def test_a_stored_array_is_read_only(tmp_path: Path, size: int) -> None:
    again = store(tmp_path, "make", numpy.zeros(size))
    assert again.shape == (size,)
    assert not again.flags.writeable


def test_a_part_that_is_gone_is_told_by_its_path(tmp_path: Path) -> None:
    place = store_value(tmp_path / "steps" / "make", "value", NUMBERS)
    (part,) = (tmp_path / "parts").iterdir()
    part.unlink()
    with pytest.raises(FileNotFoundError, match=part.name):
        StoredValue(place).load()


def test_a_value_that_an_earlier_version_stored_is_found(tmp_path: Path) -> None:
    file = tmp_path / "value.pkl"
    file.write_bytes(cloudpickle.dumps(NUMBERS, protocol=5))
    assert numpy.array_equal(StoredValue(str(file)).load(), NUMBERS)
