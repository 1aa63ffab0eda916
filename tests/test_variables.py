"""The variable store, without Ray."""

import math
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import numpy as np
import pytest

from rayflow_dagster.errors import VariableError
from rayflow_dagster.secrets.references import Secret
from rayflow_dagster.variables.store import (
    GlobalVariableStore,
    Snapshot,
    WriteTracking,
    pickled,
    unpickled,
)


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
    left = Snapshot(9, {"a": 5, "gone": 6})
    store = GlobalVariableStore({"a": {"default": 1}, "b": {"default": 2}}, left)
    assert store.snapshot() == Snapshot(0, {"a": 5, "b": 2})


def test_writes_change_the_value_and_the_version(store):
    store.set("count", 2)
    assert store.increment("count") == 3
    assert store.update("count", lambda value: value * 2) == 6
    assert store.snapshot().version == 3


@pytest.mark.parametrize("write", ["set", "increment", "update"])
def test_a_readonly_variable_is_never_written(write, store):
    with pytest.raises(VariableError, match="'limit' is read-only"):
        getattr(store, write)("limit", len if write == "update" else 1)


def test_a_value_of_another_type_is_refused_and_nothing_changes(store):
    with pytest.raises(VariableError, match="takes int, not 'x'"):
        store.set("count", "x")
    assert store.snapshot() == Snapshot(0, {"count": 1, "limit": 9, "plain": "text"})


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


@pytest.mark.parametrize(("kind", "start"), [("float", 1.5), ("int", 1), ("any", None)])
@pytest.mark.parametrize("by", [10**400, math.inf, math.nan])
def test_a_sum_that_is_no_number_to_keep_is_refused(kind, start, by):
    store = GlobalVariableStore({"sum": {"type": kind, "default": start}})
    with pytest.raises(VariableError, match="variable 'sum' cannot be raised by"):
        store.increment("sum", by)
    assert store.get("sum") == start


def test_only_a_write_that_worked_counts_as_written(store):
    tracking = WriteTracking(store)
    tracking.get("count")
    with pytest.raises(VariableError):
        tracking.set("limit", 1)
    assert not tracking.written
    tracking.update("count", lambda value: value)
    assert tracking.written


def kept(kind: str = "any", default: object = 0) -> GlobalVariableStore:
    """A store with one variable that is kept between runs, and one that is not."""
    spec = {"type": kind, "default": default, "scope": "flow"}
    return GlobalVariableStore({"kept": spec, "own": {"default": 0}})


def test_a_snapshot_has_the_sum_of_increments_of_kept_variables_only():
    store = kept()
    assert store.snapshot().changes == {}
    store.increment("kept", 3)
    store.increment("kept", -0.5)
    store.increment("own")
    assert store.snapshot().changes == {"kept": 2.5}


@pytest.mark.parametrize("write", ["set", "update"])
def test_a_kept_variable_that_was_set_has_no_sum_whatever_came_before_and_after(write):
    store = kept()
    store.increment("kept")
    getattr(store, write)("kept", (lambda value: value + 1) if write == "update" else 7)
    store.increment("kept")
    assert store.snapshot().changes == {"kept": None}


def test_an_increment_of_a_text_counts_as_a_set():
    store = kept("str", "a")
    assert store.increment("kept", "b") == "ab"
    assert store.snapshot().changes == {"kept": None}


def test_a_write_that_is_refused_is_no_change():
    store = kept("int")
    with pytest.raises(VariableError):
        store.increment("kept", 0.5)
    assert store.snapshot() == Snapshot(0, {"kept": 0, "own": 0})


def test_a_store_that_goes_on_from_a_snapshot_goes_on_adding():
    before = kept()
    before.increment("kept", 3)
    store = GlobalVariableStore(
        {"kept": {"scope": "flow"}}, unpickled(pickle.dumps(before.snapshot()))
    )
    store.increment("kept", 4)
    assert store.snapshot() == Snapshot(1, {"kept": 7}, {"kept": 7})


def test_a_snapshot_of_an_older_version_has_no_changes():
    assert unpickled(pickle.dumps((3, {"a": 1}))) == Snapshot(3, {"a": 1}, {})


@pytest.mark.parametrize(
    "value",
    [
        Decimal(1),
        (1, 2),
        {1: "a"},
        [float("nan")],
        {"deep": [{"er": {1}}]},
        {"computed": {"$env": "TOKEN"}},
        b"bytes",
        np.array([1]),
    ],
    ids=repr,
)
def test_a_kept_variable_takes_plain_json_only_and_says_its_name_and_the_type(value):
    store = kept()
    with pytest.raises(VariableError, match="'kept' is kept between runs, so it takes plain JSON"):
        store.set("kept", value)
    store.set("own", value)
    assert store.get("kept") == 0


def test_a_kept_variable_takes_a_secret_which_stays_a_reference():
    store = kept()
    store.set("kept", {"tokens": [Secret("TOKEN")]})
    assert store.get("kept") == {"tokens": [Secret("TOKEN")]}


def test_what_is_nested_too_deep_is_refused():
    value: list = []
    value.append(value)
    with pytest.raises(VariableError, match="nested deeper than 100"):
        kept().set("kept", value)


def test_numbers_and_texts_of_numpy_are_kept_as_those_of_python():
    store = kept()
    store.set("kept", {"i": np.int64(3), "f": [np.float32(0.5)], "b": np.True_, "s": np.str_("x")})
    value = store.get("kept")
    assert value == {"i": 3, "f": [0.5], "b": True, "s": "x"}
    kinds = [type(item) for item in (value["i"], value["f"][0], value["b"], value["s"])]
    assert kinds == [int, float, bool, str]
    store = kept("int")
    store.increment("kept", np.int64(2))
    assert type(store.snapshot().changes["kept"]) is int


DEEP = 100_000
"""More levels than any Python pickles."""


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_a_value_that_is_nested_too_deep_to_be_pickled_is_told_with_its_variable():
    with pytest.raises(VariableError, match=r"variable 'deep' cannot hold \[\[\[\[\.\.\."):
        pickled(Snapshot(1, {"first": 1, "deep": nested(DEEP)}))


def test_what_a_store_cannot_take_is_told_with_its_variable():
    variables = WriteTracking(GlobalVariableStore({"deep": {"type": "any"}}))
    for value in (nested(DEEP), threading.Lock()):
        with pytest.raises(VariableError, match=r"variable 'deep' cannot hold .*be pickled"):
            variables.set("deep", value)
    with pytest.raises(VariableError, match="variable 'deep' cannot hold this"):
        variables.update("deep", lambda _: nested(DEEP))
    assert not variables.written


def test_a_store_tells_the_type_of_a_variable():
    variables = WriteTracking(GlobalVariableStore({"a": {"type": "int | None"}, "b": 1}))
    assert (variables.type_of("a"), variables.type_of("b")) == ("int | None", "any")
    with pytest.raises(VariableError, match="'c' is not declared"):
        variables.type_of("c")


def test_a_secret_cannot_be_incremented_where_only_its_reference_is():
    store = GlobalVariableStore({"port": {"type": "int", "default": Secret("PORT", "int")}})
    with pytest.raises(VariableError, match="variable 'port' holds a secret"):
        store.increment("port")


def test_a_failed_update_changes_nothing_in_place_either():
    def spoil(rows: list[int]) -> str:
        rows.append(1)
        return "no list"

    store = GlobalVariableStore({"rows": {"type": "list", "default": []}})
    with pytest.raises(VariableError, match="takes list"):
        store.update("rows", spoil)
    assert store.get("rows") == []
