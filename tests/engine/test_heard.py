"""What a region passes on of what the nodes of its body print."""

import threading

import pytest

from rayflow_dagster.engine.heard import MAX_PASSED_ON, MAX_PRINTED, Heard
from rayflow_dagster.runner import MAX_LOG_RECORDS
from rayflow_dagster.types import LogRecord, RunDetails


def test_each_printed_line_has_its_place_and_ends():
    heard = Heard()
    heard.add("item 0", [("one", {"stdout": "a\n\nb"}), ("two", {"stderr": "c\n"})])
    heard.add("", [("one", {"stdout": "d\n"})])
    assert heard.rest() == {
        "stdout": "[item 0, one] a\n[item 0, one] \n[item 0, one] b\n[one] d\n",
        "stderr": "[item 0, two] c\n",
    }


@pytest.mark.parametrize("length", [82, 83, 107, 5000])
def test_of_much_that_is_printed_the_last_whole_lines_are_kept(length):
    heard = Heard()
    for number in range(2000):
        heard.add(f"item {number:04}", [("one", {"stdout": "x" * length})])
    line = len("[item 0000, one] \n") + length
    first, *kept = heard.rest()["stdout"].splitlines()
    assert len(kept) == MAX_PRINTED // line
    assert first == f"[{(2000 - len(kept)) * line} characters before these are left out]"
    assert kept[0] == f"[item {2000 - len(kept):04}, one] " + "x" * length


def test_of_a_line_that_is_longer_the_end_is_kept():
    heard = Heard()
    heard.add("", [("one", {"stdout": "x" * MAX_PRINTED + "end"})])
    assert heard.rest()["stdout"] == (
        "[10 characters before these are left out]\n" + "x" * (MAX_PRINTED - 4) + "end\n"
    )


def test_what_is_passed_on_is_bounded_and_the_last_of_the_rest_is_kept():
    passed_on: list[RunDetails] = []
    came = threading.Event()

    def hear(details: RunDetails) -> None:
        passed_on.append(details)
        came.set()

    heard = Heard(hear)
    written = 0
    while not passed_on or sum(len(each["stdout"]) for each in passed_on) < MAX_PASSED_ON - 90_007:
        came.clear()
        heard.add("", [("one", {"stdout": f"{written:05}" * 18_000})])
        written += 1
        assert came.wait(60)
    for _ in range(3):
        heard.add("", [("one", {"stdout": f"{written:05}" * 18_000})])
        written += 1
    note, last = heard.rest()["stdout"].splitlines()
    assert [each["stdout"][6:11] for each in passed_on] == [f"{n:05}" for n in range(written - 3)]
    assert last == "[one] " + f"{written - 1:05}" * 18_000
    assert note == f"[{2 * 90_007} characters before these are left out]"


def test_log_records_count_where_they_were_passed_on():
    passed_on = threading.Event()
    heard = Heard(lambda _: passed_on.set())
    record: LogRecord = {"level": 20, "message": "m", "time": 0.0}
    heard.add("", [("one", {"logs": [record] * (MAX_LOG_RECORDS - 1)})])
    assert passed_on.wait(60)
    heard.add("", [("one", {"logs": [record] * 3})])
    rest = heard.rest()
    assert (len(rest["logs"]), rest["logs_left_out"]) == (1, 2)
