"""The variable store, without Ray."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from rayflow_dagster.errors import VariableError
from rayflow_dagster.variables import GlobalVariableStore, WriteTracking


@pytest.fixture
def store() -> GlobalVariableStore:
    return GlobalVariableStore(
        {
            "count": {"type": "int", "default": 1},
            "limit": {"type": "int", "default": 9, "readonly": True},
            "plain": "text",
        }
    )


def test_a_variable_starts_with_its_default(store):
    assert (store.get("count"), store.get("limit"), store.get("plain")) == (1, 9, "text")


def test_a_snapshot_takes_the_place_of_defaults_and_unknown_names_are_dropped():
    store = GlobalVariableStore({"a": {"default": 1}, "b": {"default": 2}}, {"a": 5, "gone": 6})
    assert store.snapshot() == (0, {"a": 5, "b": 2})


def test_writes_change_the_value_and_the_version(store):
    store.set("count", 2)
    assert store.increment("count") == 3
    assert store.update("count", lambda value: value * 2) == 6
    assert store.snapshot()[0] == 3


@pytest.mark.parametrize("write", ["set", "increment", "update"])
def test_a_readonly_variable_is_never_written(write, store):
    with pytest.raises(VariableError, match="'limit' is read-only"):
        getattr(store, write)("limit", len if write == "update" else 1)


def test_a_value_of_another_type_is_refused_and_nothing_changes(store):
    with pytest.raises(VariableError, match="takes int, not 'x'"):
        store.set("count", "x")
    assert store.snapshot() == (0, {"count": 1, "limit": 9, "plain": "text"})


def test_an_undeclared_variable_is_refused_with_a_hint(store):
    with pytest.raises(VariableError, match=r"'cuont' is not declared .* did you mean 'count'"):
        store.get("cuont")


def test_what_the_function_raises_passes_and_nothing_changes(store):
    with pytest.raises(ZeroDivisionError):
        store.update("count", lambda value: value / 0)
    assert store.increment("count") == 2


def test_a_function_that_uses_the_store_is_refused_instead_of_waiting_for_itself(store):
    for call in (store.get, store.increment):
        with pytest.raises(VariableError, match="cannot use variables"):
            store.update("count", lambda value, call=call: value + call("count"))
    assert store.get("count") == 1


def test_increments_of_parallel_threads_add_up(store):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: store.increment("count"), range(500)))
    assert store.get("count") == 501


def test_only_a_write_that_worked_counts_as_written(store):
    tracking = WriteTracking(store)
    tracking.get("count")
    with pytest.raises(VariableError):
        tracking.set("limit", 1)
    assert not tracking.written
    tracking.update("count", lambda value: value)
    assert tracking.written
