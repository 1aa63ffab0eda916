"""Cron strings are taken as Dagster takes them, but for those that never tick."""

import pytest
from dagster._utils.schedules import cron_string_iterator, is_valid_cron_string
from dagster._vendored.croniter import CroniterBadDateError
from hypothesis import given, settings
from hypothesis import strategies as st

from rayflow_dagster.compiler.starts.cron import cron_problem

NEVER = [
    "0 0 31 4 *", "0 0 30-31 2 *", "0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31 4 1", "0 0 30 2 5",
    "0 0 31 2 L1",
]  # fmt: skip


@pytest.mark.parametrize(
    "cron",
    ["0 22-2 * * *", "0 0 * * sat-sun", "0 0 * * 5#2", "0 0 l * *", "@daily", "@midnight",
     "0 0 29 2 *", "*/5 8-18 * jan-mar mon-fri", "0 0 * * L5", "\t0  6 * * *\n"],
)  # fmt: skip
def test_what_dagster_takes_is_taken(cron):
    assert is_valid_cron_string(cron)
    assert cron_problem(cron) is None


@pytest.mark.parametrize("cron", NEVER)
def test_what_never_ticks_is_refused(cron):
    assert "never comes" in (cron_problem(cron) or "")
    with pytest.raises(CroniterBadDateError):
        next(cron_string_iterator(1_700_000_000, cron, "UTC"))


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("", "must have five fields"),
        ("0 6 * *", "must have five fields"),
        ("61 * * * *", "write five fields: minute, hour"),
        ("@dayly", "is no cron string"),
        ("0 0 15W * *", "is no cron string"),
        ("* * * * * *", "must have five fields"),
        (",".join(["1-59"] * 10_000) + " * * * *", "too long"),
    ],
)
def test_what_dagster_refuses_is_refused(cron, said):
    assert said in (cron_problem(cron) or "")


FIELDS = """
    * 0 5 7 8 13 24 31 32 59 60 L l5 fri#2 5#2 5#6 sun sat-sun jan dec-feb 22-2 1-5/2 */5 */0
    5/10 */61 1,2 1, -1 ? 30-31 W 15W */* 1- H R 2.5 *,1 mon#1-fri#2 1-3-5 x @
"""


@given(st.lists(st.sampled_from(FIELDS.split()), min_size=4, max_size=6).map(" ".join))
@settings(max_examples=1500)
def test_this_package_and_dagster_agree(cron):
    problem = cron_problem(cron)
    if "never comes" not in (problem or ""):
        assert (problem is None) == is_valid_cron_string(cron)
