"""What the nodes of a body say in; what of it their region passes on, each line with the place that
it comes from, out.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from rayflow_dagster.runner import MAX_LOG_LENGTH, MAX_LOG_RECORDS
from rayflow_dagster.types import Hear, HowFar, LogRecord, RunDetails

from .timers import after

FIRST_SECONDS = 1.0
"""How long a node, or an iteration, runs before what it says is passed on while it runs."""
PASS_ON_SECONDS = 0.25
MAX_PRINTED = 100_000
"""Characters of each stream that a region passes on at its end, the last ones."""
MAX_PASSED_ON = 1_000_000
"""Characters of each stream that it passes on while it runs, the first ones."""

HearNode = Callable[[str, RunDetails], None]
"""As ``Hear``, of the node with an id."""


class Heard:
    """What the nodes of one region's body have said and was not passed on yet. On any thread.

    ``hear`` is who it is passed on to while the region runs, now and then; ``counts`` where the
    region itself tells how far it has come, and not its nodes.
    """

    def __init__(self, hear: Hear | None = None, *, counts: bool = False) -> None:
        self._hear = hear
        self._counts = counts
        self._passing_on: Future[None] | None = None
        self._logs: list[LogRecord] = []
        self._logs_passed_on = 0
        self._left_out = 0
        self._stdout = _Printed()
        self._stderr = _Printed()
        self._how_far: HowFar | None = None
        self._is_further = False
        self._lock = threading.Lock()

    def add(self, place: str, told: Iterable[tuple[str, RunDetails]]) -> None:
        """Take over what nodes said in an iteration that is called ``place`` ("" in a group)."""
        for node_id, details in told:
            self.take_over(said_at(place, node_id, details))

    def take_over(self, details: RunDetails) -> None:
        """Take over what a node said, which has its place already."""
        with self._lock:
            self._take_over(details)
            self._pass_on_soon()

    def come(self, how_far: HowFar) -> None:
        """The region itself has come so far."""
        with self._lock:
            self._how_far, self._is_further = how_far, True
            self._pass_on_soon()

    def _pass_on_soon(self) -> None:
        if self._hear is not None and self._passing_on is None and self._has_new:
            self._passing_on = after(PASS_ON_SECONDS)
            self._passing_on.add_done_callback(self._pass_on)

    @property
    def _has_new(self) -> bool:
        has_printed = self._stdout.is_new or self._stderr.is_new
        return bool(self._logs) or has_printed or self._is_further

    def _take_over(self, details: RunDetails) -> None:
        records = details.get("logs", [])
        kept = records[: MAX_LOG_RECORDS - self._logs_passed_on - len(self._logs)]
        self._left_out += len(records) - len(kept) + details.get("logs_left_out", 0)
        self._logs += kept
        self._stdout.add(details.get("stdout", ""))
        self._stderr.add(details.get("stderr", ""))
        if "how_far" in details and not self._counts:
            self._how_far, self._is_further = details["how_far"], True

    def _pass_on(self, timer: "Future[None]") -> None:
        if timer.cancelled():
            return
        with self._lock:
            if self._hear is None:
                return
            self._passing_on = None
            passed_on = RunDetails()
            if self._logs:
                passed_on["logs"], self._logs = self._logs, []
                self._logs_passed_on += len(passed_on["logs"])
            if stdout := self._stdout.passed_on():
                passed_on["stdout"] = stdout
            if stderr := self._stderr.passed_on():
                passed_on["stderr"] = stderr
            if self._how_far is not None and self._is_further:
                passed_on["how_far"], self._is_further = self._how_far, False
            if passed_on:
                self._hear(passed_on)

    def rest(self) -> RunDetails:
        """All of it, and how much is left out; nothing is passed on any more."""
        with self._lock:
            self._hear = None
        if self._passing_on is not None:
            self._passing_on.cancel()
        found = RunDetails()
        if self._logs:
            found["logs"] = [*self._logs]
        if self._left_out:
            found["logs_left_out"] = self._left_out
        if stdout := self._stdout.text:
            found["stdout"] = stdout
        if stderr := self._stderr.text:
            found["stderr"] = stderr
        if self._how_far is not None:
            found["how_far"] = self._how_far
        return found


def said_at(place: str, node_id: str, details: RunDetails) -> RunDetails:
    """What a node said, each record and each line behind where it was said."""
    where = f"[{place}, {node_id}] " if place else f"[{node_id}] "
    found = details.copy()
    if "logs" in details:
        found["logs"] = [
            {**record, "message": (where + record["message"])[:MAX_LOG_LENGTH]}
            for record in details["logs"]
        ]
    if out := details.get("stdout"):
        found["stdout"] = _lines(where, out)
    if err := details.get("stderr"):
        found["stderr"] = _lines(where, err)
    if "how_far" in details:
        text = where + details["how_far"]["text"]
        found["how_far"] = {**details["how_far"], "text": text.rstrip()}
    return found


def _lines(where: str, text: str) -> str:
    return "".join(f"{where}{line}\n" for line in text.removesuffix("\n").split("\n"))


class _Printed:
    """The last of what nodes printed to one stream, in whole lines where those are no longer."""

    def __init__(self) -> None:
        self._lines = ""
        self._left_out = 0
        self._passed_on = 0

    @property
    def is_new(self) -> bool:
        """Whether something is kept that can be passed on."""
        is_much = self._left_out or self._passed_on + len(self._lines) > MAX_PASSED_ON
        return bool(self._lines) and not is_much

    def passed_on(self) -> str:
        """What is kept, which then is passed on; nothing once that was much."""
        if not self.is_new:
            return ""
        lines, self._lines = self._lines, ""
        self._passed_on += len(lines)
        return lines

    def add(self, lines: str) -> None:
        """Take over what a node printed, in whole lines."""
        self._lines += lines
        over = len(self._lines) - MAX_PRINTED
        if over > 0:
            begin = self._lines.index("\n", over - 1) + 1
            begin = begin if begin < len(self._lines) else over
            self._left_out += begin
            self._lines = self._lines[begin:]

    @property
    def text(self) -> str:
        """What is kept, behind a line that says how much is left out."""
        if not self._left_out:
            return self._lines
        return f"[{self._left_out} characters before these are left out]\n{self._lines}"
