"""What a region passes on of what the nodes of its body print."""

import pytest

from rayflow_dagster.engine.heard import MAX_PRINTED, Heard


def test_each_printed_line_has_its_place_and_ends():
    heard = Heard()
    heard.add("item 0", [("one", {"stdout": "a\n\nb"}), ("two", {"stderr": "c\n"})])
    heard.add("", [("one", {"stdout": "d\n"})])
    assert heard.details == {
        "stdout": "[item 0, one] a\n[item 0, one] \n[item 0, one] b\n[one] d\n",
        "stderr": "[item 0, two] c\n",
    }


@pytest.mark.parametrize("length", [82, 83, 107, 5000])
def test_of_much_that_is_printed_the_last_whole_lines_are_kept(length):
    heard = Heard()
    for number in range(2000):
        heard.add(f"item {number:04}", [("one", {"stdout": "x" * length})])
    line = len("[item 0000, one] \n") + length
    first, *kept = heard.details["stdout"].splitlines()
    assert len(kept) == MAX_PRINTED // line
    assert first == f"[{(2000 - len(kept)) * line} characters before these are left out]"
    assert kept[0] == f"[item {2000 - len(kept):04}, one] " + "x" * length


def test_of_a_line_that_is_longer_the_end_is_kept():
    heard = Heard()
    heard.add("", [("one", {"stdout": "x" * MAX_PRINTED + "end"})])
    assert heard.details["stdout"] == (
        "[10 characters before these are left out]\n" + "x" * (MAX_PRINTED - 4) + "end\n"
    )
