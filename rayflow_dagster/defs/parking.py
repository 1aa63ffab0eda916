"""How a step waits for its actor without holding a thread.

The op yields a sentinel event while a future is open; our executor swallows it, goes on with other
steps, and resumes this one when the future is done. Under any other executor there is nobody to
resume it, so the op blocks.
"""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from dagster import DagsterEvent

from rayflow_dagster.encodable import encodable

from ._dagster import parked_event

POLL_SECONDS = 0.2
"""How often a blocked step looks for a termination signal."""


class Output(Protocol):
    """Where a step's prints go."""

    def write(self, text: str, *, error: bool = False) -> None:
        """Append to the step's captured output."""


@dataclass(slots=True)
class Parking:
    """Where one step says which future it waits for, and where its prints go."""

    output: Output
    wake: Callable[[], None]
    """Has the step looked after before its future is done; called on any thread."""
    future: "Future[Any] | None" = None


PARKING: ContextVar[Parking | None] = ContextVar("rayflow_parking", default=None)
"""Set by our executor in the context of every step that it drives."""


def wait_for(
    future: "Future[Any]", job_name: str, meanwhile: Callable[[], None] = lambda: None
) -> Iterator[DagsterEvent]:
    """Wait until ``future`` is done: parked under our executor, blocking under any other.
    ``meanwhile`` is called whenever the step is looked after.
    """
    parking = PARKING.get()
    while not future.done():
        meanwhile()
        if parking is not None:
            parking.future = future
            yield parked_event(job_name)
        else:
            _block(future)


def print_output(text: str, *, error: bool = False) -> None:
    """Append what a node printed to its step's captured output.

    Other executors capture what the process prints during a step, so there it is printed.
    """
    if not text:
        return
    parking = PARKING.get()
    if parking is not None:
        parking.output.write(text, error=error)
    else:
        stream = sys.stderr if error else sys.stdout
        stream.write(encodable(text, stream.encoding))
        stream.flush()


def _block(future: "Future[Any]") -> None:
    # Short waits: Python delivers signals between them, and Terminate is one.
    try:
        future.exception(timeout=POLL_SECONDS)
    except TimeoutError:
        return
