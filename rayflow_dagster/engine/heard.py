"""What the nodes of a body log and print in; what of it their region passes on, each with the place
that it comes from, out.
"""

from collections.abc import Iterable

from rayflow_dagster.runner import MAX_LOG_LENGTH, MAX_LOG_RECORDS
from rayflow_dagster.types import LogRecord, RunDetails

MAX_PRINTED = 100_000
"""Characters of each stream that a region passes on, the last ones."""


class Heard:
    """What the nodes of one region's body have said so far."""

    def __init__(self) -> None:
        self._logs: list[LogRecord] = []
        self._left_out = 0
        self._stdout = _Printed()
        self._stderr = _Printed()

    def add(self, place: str, told: Iterable[tuple[str, RunDetails]]) -> None:
        """Take over what nodes said in an iteration that is called ``place`` ("" in a group)."""
        for node_id, details in told:
            where = f"[{place}, {node_id}] " if place else f"[{node_id}] "
            records = details.get("logs", [])
            kept = records[: MAX_LOG_RECORDS - len(self._logs)]
            self._left_out += len(records) - len(kept) + details.get("logs_left_out", 0)
            for record in kept:
                message = (where + record["message"])[:MAX_LOG_LENGTH]
                self._logs.append({**record, "message": message})
            self._stdout.add(where, details.get("stdout", ""))
            self._stderr.add(where, details.get("stderr", ""))

    @property
    def details(self) -> RunDetails:
        """All of it, and how much is left out."""
        found = RunDetails()
        if self._logs:
            found["logs"] = [*self._logs]
        if self._left_out:
            found["logs_left_out"] = self._left_out
        if stdout := self._stdout.text:
            found["stdout"] = stdout
        if stderr := self._stderr.text:
            found["stderr"] = stderr
        return found


class _Printed:
    """The last of what nodes printed to one stream, in whole lines where those are no longer."""

    def __init__(self) -> None:
        self._lines = ""
        self._left_out = 0

    def add(self, where: str, text: str) -> None:
        """Take over what a node printed, each line behind ``where``."""
        if not text:
            return
        lines = text.removesuffix("\n").split("\n")
        self._lines += "".join(f"{where}{line}\n" for line in lines)
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
