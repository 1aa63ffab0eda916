"""Where the time of one execution went: moments in, four figures that add up out."""

import time
from collections.abc import Mapping

from .types import Moments, RunDetails, Times

WORDS: Mapping[str, str] = {
    "waiting": "seconds waiting for a worker",
    "loading": "seconds loading inputs",
    "process": "seconds in process()",
    "storing": "seconds storing outputs",
}
"""Each figure's name on a step, in the order in which they pass."""
PATIENCE_SECONDS = 60.0
"""How long a run waits for a database that is locked or away."""


def leaving(details: RunDetails, arrived: float, free: float) -> float:
    """Note the moments of an execution that leaves the place it ran in; returns the last one.

    ``free`` is when the place was there and had nothing to do, ``arrived`` when the execution
    came; both by ``time.monotonic`` there.
    """
    now = time.monotonic()
    details["moments"] = Moments(free, arrived, details.get("started", now), now)
    return now


def times_of(details: RunDetails, asked: float, answered: float, host: str) -> Times | None:
    """The figures of an execution that ``host``, this machine, asked for and had the answer of at
    these moments; None if the place did not tell.

    What passes between here and the place goes to what caused it: before the place was free that
    is waiting, then loading, and on the way back storing. Another machine has another clock; there
    the way back counts with the way there.
    """
    moments = details.get("moments")
    if moments is None:
        return None
    free, arrived, started, ended = moments
    process = details.get("seconds", 0.0)
    ways = max(0.0, answered - asked - (ended - arrived))
    is_here = details.get("host", host) == host
    there = min(max(0.0, arrived - asked), ways) if is_here else ways
    waiting = max(0.0, there - max(0.0, arrived - free))
    return {
        "waiting": waiting,
        "loading": there - waiting + started - arrived,
        "process": process,
        "storing": ways - there + max(0.0, ended - started - process),
    }
