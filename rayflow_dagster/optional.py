"""What only helps a run: when it fails it is told once, and the run goes on without it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)
_failing: set[str] = set()


@contextmanager
def optional(what: str) -> Iterator[None]:
    """Log what the block raises instead of raising it: once, until the block has succeeded again.

    ``what`` says what the block does: ``showing the run's progress``. Interrupts and exits pass.
    """
    try:
        yield
    except Exception:
        if what not in _failing:
            _log.warning("%s failed; everything else goes on", what, exc_info=True)
        _failing.add(what)
    else:
        _failing.discard(what)
