"""What a node says, while it runs and at its end, in; log records, prints and progress at its step
out.
"""

import logging
import math
import time
from queue import SimpleQueue

from dagster import OpExecutionContext

from rayflow_dagster.optional import optional
from rayflow_dagster.runner import how_far_text, log_of, share_done
from rayflow_dagster.types import HowFar, RunDetails

from ._dagster import record_about
from .parking import PARKING, print_output

SHARE, DONE = "progress", "progress done"
"""The metadata of an event that tells how far a node has come: from 0 to 1, or how much is done."""
PROGRESS_SECONDS = 5.0
"""How often, at most, the run's log tells how far a node has come."""


class Saying:
    """What the node of one step says. Everything but ``hear`` happens on the thread of the step."""

    def __init__(self, context: OpExecutionContext) -> None:
        self._context = context
        self._parking = PARKING.get()
        self._came: SimpleQueue[RunDetails] = SimpleQueue()
        self._told_progress = -math.inf

    def hear(self, details: RunDetails) -> None:
        """Have it reported soon. On any thread."""
        self._came.put(details)
        if self._parking is not None:
            self._parking.wake()

    def report(self) -> None:
        """Report what came since."""
        with optional("showing what a node says while it runs"):
            while not self._came.empty():
                self._report(self._came.get())

    def end(self, details: RunDetails) -> None:
        """Report what the node's result has of it, the last that it says."""
        self._log(details)
        for name in ("stdout", "stderr"):
            text = str(details.get(name, ""))
            whole = text if text.endswith("\n") or not text else f"{text}\n"
            print_output(whole, error=name == "stderr")

    def _report(self, details: RunDetails) -> None:
        self._log(details)
        print_output(details.get("stdout", ""))
        print_output(details.get("stderr", ""), error=True)
        now = time.monotonic()
        if "how_far" in details and now - self._told_progress >= PROGRESS_SECONDS:
            self._told_progress = now
            self._tell_progress(details["how_far"])

    def _tell_progress(self, how_far: HowFar) -> None:
        share = share_done(how_far)
        about = {DONE: how_far["done"]} if share is None else {SHARE: share}
        record_about(self._context, how_far_text(how_far), about)

    def _log(self, details: RunDetails) -> None:
        """The records, each with its own time."""
        log = self._context.log
        for each in log_of(details):
            level = each["level"] if logging.getLevelName(each["level"]).isupper() else 20
            if log.isEnabledFor(level):
                record = log.makeRecord(log.name, level, "", 0, each["message"], (), None)
                record.created = each["time"]
                log.handle(record)
