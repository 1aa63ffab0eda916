"""How long an address has to wait after wrong secrets: from addresses and times to seconds."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

FREE = 5
"""Wrong secrets that an address may send before it has to wait."""
MAX_WAIT = 300.0
FORGET_SECONDS = 3600.0
MAX_ADDRESSES = 10_000


@dataclass(slots=True)
class _Row:
    count: int
    until: float
    at: float


class WrongSecrets:
    """The addresses that sent wrong secrets, of which the last 10,000 are kept. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: OrderedDict[str, _Row] = OrderedDict()

    def note(self, address: str) -> float:
        """Count a wrong secret: 0.0, or the seconds for which the address still has to wait.

        After the first few, each that is counted doubles the wait: 1, 2, 4 ... 300 seconds. None
        is counted while the address has to wait, so that whoever waits is told no more of it.
        """
        now = self._clock()
        row = self._rows.get(address)
        if row is None or now - row.at > FORGET_SECONDS:
            row = _Row(0, now, now)
        if now < row.until:
            return row.until - now
        row.count, row.at = row.count + 1, now
        if row.count >= FREE:
            row.until = now + min(MAX_WAIT, 2.0 ** min(row.count - FREE, 16))
        self._rows[address] = row
        self._rows.move_to_end(address)
        if len(self._rows) > MAX_ADDRESSES:
            self._rows.popitem(last=False)
        return 0.0
