"""Which files are new: every settled version once, whatever comes between."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayflow_dagster.arriving_files import FoundFile, new_files
from rayflow_dagster.errors import TriggerError

SETTLE = 5.0


def file(name, mtime, size=1):
    return FoundFile(f"/in/{name}", name, size, float(mtime), f"{mtime}-{size}")


def names(found):
    return [each.name for each in found]


def test_what_lies_there_at_the_first_look_is_new_and_then_not_again():
    files = [file("b", 2), file("a", 1)]
    found, cursor = new_files(files, None, settle=SETTLE, now=100)
    assert names(found) == ["a", "b"]
    assert new_files(files, cursor, settle=SETTLE, now=101) == ([], cursor)


def test_a_file_that_still_grows_waits_until_it_is_old_enough():
    found, cursor = new_files([file("a", 96)], None, settle=SETTLE, now=100)
    assert found == []
    found, _ = new_files([file("a", 96)], cursor, settle=SETTLE, now=101)
    assert names(found) == ["a"]


def test_a_file_that_arrives_late_with_an_old_mtime_is_new():
    _, cursor = new_files([file("a", 90)], None, settle=SETTLE, now=100)
    found, _ = new_files([file("a", 90), file("old", 3)], cursor, settle=SETTLE, now=100)
    assert names(found) == ["old"]


def test_more_than_asked_for_come_with_later_looks_oldest_first():
    files = [file(f"f{n}", n) for n in range(7)]
    cursor, order = None, []
    for _ in range(4):
        found, cursor = new_files(files, cursor, settle=SETTLE, now=100, most=3)
        order.append(names(found))
    assert order == [["f0", "f1", "f2"], ["f3", "f4", "f5"], ["f6"], []]


def test_a_file_from_the_future_is_new_once_it_stayed_the_same():
    _, cursor = new_files([file("a", 9000)], None, settle=SETTLE, now=100)
    found, cursor = new_files([file("a", 9000, size=2)], cursor, settle=SETTLE, now=104)
    assert found == []
    found, cursor = new_files([file("a", 9000, size=2)], cursor, settle=SETTLE, now=108)
    assert found == []
    found, cursor = new_files([file("a", 9000, size=2)], cursor, settle=SETTLE, now=109)
    assert names(found) == ["a"]
    assert new_files([file("a", 9000, size=2)], cursor, settle=SETTLE, now=200)[0] == []


def test_the_cursor_has_ten_characters_for_each_file_that_lies_there():
    files = [file(f"f{n}", n % 50) for n in range(100_000)]
    _, full = new_files(files, None, settle=SETTLE, now=100)
    assert len(full) < 10 * len(files) + 100
    _, empty = new_files([], full, settle=SETTLE, now=100)
    assert len(empty) < 100


@pytest.mark.parametrize("cursor", ["x", "[]", "{}", json.dumps({"seen": "abc", "ahead": {}})])
def test_a_cursor_of_something_else_is_told(cursor):
    with pytest.raises(TriggerError, match="clear it in the UI"):
        new_files([], cursor, settle=SETTLE, now=1)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "grow", "old", "ahead", "delete", "wait", "tick", "lost"]),
        st.integers(0, 5),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(STEPS, st.integers(1, 4))
def test_every_version_that_stays_is_found_exactly_once(steps, most):
    """``lost``: the daemon ends before it kept the cursor, and the next look is made anew."""
    there: dict[str, FoundFile] = {}
    born: dict[str, float] = {}
    now, cursor, size, fired = 1000.0, None, 0, []

    def look():
        return new_files(list(there.values()), cursor, settle=SETTLE, now=now, most=most)

    for what, number in steps:
        name = f"f{number}"
        now += 0.5
        if what in ("write", "grow", "old", "ahead"):
            size += 1  # so that no version comes twice
            mtime = {"old": 1.0, "ahead": now + 1e6}.get(what, now)
            there[name] = file(name, mtime, size)
            born[there[name].key] = mtime if mtime <= now else now
        elif what == "delete":
            there.pop(name, None)
        elif what == "wait":
            now += SETTLE
        elif what == "lost":
            assert look() == look()
        else:
            found, cursor = look()
            assert len(found) <= most
            assert all(now - born[each.key] >= SETTLE for each in found)
            fired += [each.key for each in found]
    for _ in range(8):
        now += SETTLE
        found, cursor = look()
        fired += [each.key for each in found]
    assert len(fired) == len(set(fired))
    assert {each.key for each in there.values()} <= set(fired)
