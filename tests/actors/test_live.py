"""What of a node's words can be told before it has ended."""

import sys

import pytest

from rayflow_dagster.actors.capture import Captured, captured_output
from rayflow_dagster.actors.live import NOTHING, Position, Speaking
from rayflow_dagster.runner import NodeReply
from rayflow_dagster.secrets.references import Mask
from rayflow_dagster.types import LogRecord, RunDetails

RECORD: LogRecord = {"level": 20, "message": "m", "time": 0.0}


def said(captured: Captured, *secrets: str) -> Speaking:
    mask = Mask()
    for each in secrets:
        mask.add(each)
    return Speaking(b"", captured, NodeReply(mask=mask))


def test_a_line_is_told_when_it_is_whole_or_stays_as_it_is() -> None:
    with captured_output() as captured:
        speaking = said(captured)
        sys.stdout.write("whole\nunfin")
        sys.stdout.flush()
        assert speaking.said()["stdout"] == "whole\n"
        assert speaking.said()["stdout"] == "whole\nunfin"
        sys.stdout.write("ished\r")
        sys.stdout.flush()
        assert speaking.said()["stdout"] == "whole\nunfinished\r"


def test_of_a_secret_not_even_its_beginning_is_told() -> None:
    with captured_output() as captured:
        speaking = said(captured, "hidden", "two\nlines")
        sys.stdout.write("of hid")
        sys.stdout.flush()
        assert speaking.said()["stdout"] == ""
        assert speaking.said()["stdout"] == ""
        sys.stdout.write("den\n")
        assert speaking.said()["stdout"] == "of ***\n"
        sys.stdout.write("two\nlin")
        sys.stdout.flush()
        assert "lin" not in speaking.said()["stdout"]
        sys.stdout.write("es")
        sys.stdout.flush()
        assert speaking.said()["stdout"] in ("", "of ***\n")
        sys.stdout.write("\n")
        assert speaking.said()["stdout"] == "of ***\n***\n"


def test_nothing_is_told_of_a_node_that_has_ended() -> None:
    with captured_output() as captured:
        print("it")  # noqa: T201
    assert said(captured).said() == {}


@pytest.mark.parametrize(
    ("position", "rest"),
    [
        (NOTHING, {"logs": [RECORD, RECORD], "stdout": "out", "stderr": "err"}),
        (Position(1, 2, 3), {"logs": [RECORD], "stdout": "t"}),
        (Position(2, 3, 3), {}),
    ],
)
def test_what_is_behind_a_position_and_where_that_ends(position: Position, rest: dict) -> None:
    details = RunDetails(logs=[RECORD, RECORD], stdout="out", stderr="err")
    behind = position.behind(details)
    assert behind == rest
    assert position.beyond(behind) == Position(2, 3, 3)
