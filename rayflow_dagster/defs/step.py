"""One step in flight: Dagster's generator of its events, and where what it prints goes."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from dagster import DagsterEvent

from ._dagster import (
    DagsterExecutionInterruptedError,
    StepExecutionContext,
    StepLogs,
    step_error,
)
from .parking import PARKING, Parking


@dataclass
class StepInFlight:
    """One step in flight. ``wake`` has it resumed soon; it is called on any thread."""

    key: str
    context: StepExecutionContext
    events: Iterator[DagsterEvent]
    logs: StepLogs
    closing: contextlib.ExitStack
    wake: Callable[[], None]
    waits_for: "Future[Any] | None" = None
    parking: Parking = field(init=False)
    variables: contextvars.Context = field(default_factory=contextvars.copy_context)
    seen: list[DagsterEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parking = Parking(self.logs, self.wake)
        self.variables.run(PARKING.set, self.parking)

    @property
    def is_retried(self) -> bool:
        """Whether it has ended to be tried again."""
        return any(event.is_step_up_for_retry for event in self.seen)

    @property
    def has_succeeded(self) -> bool:
        """Whether it has ended with success."""
        return any(event.is_step_success for event in self.seen)

    def told_error(self) -> str:
        """Why it failed, as its last event says."""
        error = step_error(self.seen[-1]) if self.seen else None
        return error.message if error is not None else f"step {self.key} ended without an event"

    def advance(self) -> DagsterEvent | None:
        """The step's next event; None when it has ended."""
        return self.variables.run(next, self.events, None)

    def give_up(self) -> None:
        """End the step without an event: for Dagster, one that is broken off has failed."""
        generator: Any = self.events
        self.context.log.disabled = True
        with contextlib.suppress(RuntimeError):  # Dagster answers with that event
            self.variables.run(generator.close)
        self.closing.close()

    def interrupt(self) -> DagsterEvent | None:
        """Tell the step that the run is over; its last event, if it gives one."""
        thrower: Any = self.events
        error = DagsterExecutionInterruptedError("the run was terminated")
        try:
            event: DagsterEvent = self.variables.run(thrower.throw, error)
        except (StopIteration, DagsterExecutionInterruptedError):
            return None
        return event
