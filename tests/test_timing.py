"""Where the time of an execution went."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayflow_dagster.timing import leaving, times_of
from rayflow_dagster.types import Moments, RunDetails

SPAN = st.floats(0, 100)
ROUND = pytest.approx(0, abs=1e-6)


@given(SPAN, SPAN, SPAN, SPAN, SPAN, st.floats(-1000, 1000), st.booleans())
def test_the_figures_add_up_whatever_the_clock_of_the_place(
    there: float, loading: float, process: float, storing: float, back: float, skew: float,
    is_here: bool,
) -> None:  # fmt: skip
    arrived = there + skew
    started = arrived + loading
    moments = Moments(skew, arrived, started, started + process + storing)
    details: RunDetails = {"moments": moments, "seconds": process, "host": "here"}
    whole = there + loading + process + storing + back

    times = times_of(details, 0.0, whole, "here" if is_here else "elsewhere")

    assert times is not None
    assert sum(times.values()) - whole == ROUND
    assert min(times.values()) >= -1e-6
    assert times["process"] == process


def test_until_a_worker_is_free_is_waiting_and_what_follows_is_loading() -> None:
    details: RunDetails = {"moments": Moments(3.0, 4.0, 6.0, 17.0), "seconds": 10.0}

    times = times_of(details, 0.0, 20.0, "here")

    assert times == {"waiting": 3.0, "loading": 3.0, "process": 10.0, "storing": 4.0}


def test_a_worker_that_was_free_before_is_not_waited_for() -> None:
    details: RunDetails = {"moments": Moments(-9.0, 1.0, 1.0, 2.0), "seconds": 1.0}

    times = times_of(details, 0.0, 2.0, "here")

    assert times == {"waiting": 0.0, "loading": 1.0, "process": 1.0, "storing": 0.0}


def test_the_clock_of_another_machine_is_not_compared() -> None:
    details: RunDetails = {
        "moments": Moments(993.0, 994.0, 994.0, 995.0), "seconds": 1.0, "host": "there",
    }  # fmt: skip

    times = times_of(details, 0.0, 6.0, "here")

    assert times == {"waiting": 4.0, "loading": 1.0, "process": 1.0, "storing": 0.0}


def test_an_execution_whose_class_cannot_be_loaded_spent_its_time_loading() -> None:
    details = RunDetails()
    ended = leaving(details, arrived=1.0, free=0.0)

    assert details["moments"] == Moments(0.0, 1.0, ended, ended)
