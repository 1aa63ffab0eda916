"""What is wrong with a flow's partitions."""

from typing import Any

import pytest
from drawing import draw, node

from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.types import RETURN_CLASS, START_CLASS

DAILY = {"kind": "daily", "start": "2026-01-01", "input": "day"}


def findings(partitions: Any, kind: str = "str", **keys: Any) -> str:
    nodes = {"start": node(START_CLASS, inputs={"day": kind}), "back": RETURN_CLASS}
    flow = draw(nodes, "start > back, start.day - back.day", partitions=partitions, **keys)
    return "\n".join(FlowValidator().validate(flow)[1])


@pytest.mark.parametrize(
    "partitions",
    [
        DAILY,
        {**DAILY, "kind": "hourly", "start": "2026-01-01T05:00", "timezone": "Europe/Madrid"},
        {**DAILY, "kind": "monthly", "end": "2026-06-01"},
        {"kind": "static", "values": ["north", "south"], "input": "day"},
        {"kind": "dynamic", "input": "day"},
    ],
)
def test_every_kind_is_taken(partitions: Any) -> None:
    assert findings(partitions) == ""


@pytest.mark.parametrize(
    ("partitions", "told"),
    [
        ({"kind": "daily", "input": "day"}, "partitions.start: is missing"),
        ({"kind": "yearly", "start": "2026-01-01", "input": "day"}, "partitions.kind"),
        ({**DAILY, "start": "1 Jan"}, "must be a date or time such as 2026-01-01"),
        ({**DAILY, "start": "2026-01-01T00:00+01:00"}, "use the key timezone"),
        ({**DAILY, "end": "2025-01-01"}, "end: must come after start"),
        ({**DAILY, "timezone": "Europe/Madird"}, "did you mean 'Europe/Madrid'"),
        ({**DAILY, "input": "dya"}, "did you mean 'day'"),
        ({**DAILY, "values": ["a"]}, "values: belongs to static"),
        ({**DAILY, "zone": "UTC"}, "partitions.zone: there is no such key"),
        ({"kind": "static", "input": "day"}, "values: is missing"),
        ({"kind": "static", "values": ["a", "a"], "input": "day"}, "more than once"),
        ({"kind": "static", "values": ["a...b"], "input": "day"}, "cannot be a part"),
        ({"kind": "dynamic", "start": "2026-01-01", "input": "day"}, "start: belongs to hourly"),
        ("daily", "partitions: must be an object"),
    ],
)
def test_wrong_partitions_are_a_finding(partitions: Any, told: str) -> None:
    assert told in findings(partitions)


def test_the_input_must_take_a_text() -> None:
    assert "START declares 'day' as int" in findings(DAILY, kind="int")


def test_a_schedule_of_days_needs_neither_a_cron_nor_the_day() -> None:
    assert findings(DAILY, schedules=[{}]) == ""


def test_a_schedule_does_not_give_the_day_itself() -> None:
    told = findings(DAILY, schedules=[{"inputs": {"day": "2026-01-01"}}])
    assert "is given by the schedule itself" in told


def test_a_schedule_of_names_needs_a_cron() -> None:
    names = {"kind": "static", "values": ["a"], "input": "day"}
    assert "schedules[0].cron: is missing" in findings(names, schedules=[{}])
