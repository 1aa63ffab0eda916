"""Idle worker processes of the embedded Ray, kept ready for the actors of the next run.

Ray has as many when it starts, but a process that an actor used ends with it, and the next actor
waits for a new one: half a second and more for Python and Ray's imports, twice as long as all the
rest of an actor's start. So the keeper has new ones started, most of them while no run needs the
processor. They belong to no run, have imported nothing of an author's, and take no slot.
"""

import sys

from . import _ray

MOST = 8
"""Processes at most, whatever the slots: each takes some 90 MB."""


class Spares:
    """Keeps ``slots`` idle worker processes, at most ``MOST``. On Linux; elsewhere none."""

    def __init__(self, slots: int) -> None:
        self._wanted = min(slots, MOST) if sys.platform == "linux" else 0

    def refill(self, *, in_use: bool) -> None:
        """Have Ray start what is missing; while a run goes on one at a time, as starting takes
        processor time, and only when the last spare is gone.

        To be called again and again: Ray starts only as many at once as the machine has cores and
        forgets the rest of what it was asked for. Those that it is starting are not idle yet, so
        that there may be one too many in the end.
        """
        idle = _ray.idle_workers() if self._wanted else 0
        missing = self._wanted - idle
        if in_use:
            missing = min(missing, 1) if not idle else 0
        if missing > 0:
            _ray.start_workers(missing)
