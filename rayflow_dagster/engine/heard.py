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
        self._printed = {"stdout": "", "stderr": ""}

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
            for stream, text in (
                ("stdout", details.get("stdout", "")),
                ("stderr", details.get("stderr", "")),
            ):
                self._printed[stream] = (self._printed[stream] + text)[-MAX_PRINTED:]

    @property
    def details(self) -> RunDetails:
        """All of it, and how much is left out."""
        found = RunDetails()
        if self._logs:
            found["logs"] = [*self._logs]
        if self._left_out:
            found["logs_left_out"] = self._left_out
        if self._printed["stdout"]:
            found["stdout"] = self._printed["stdout"]
        if self._printed["stderr"]:
            found["stderr"] = self._printed["stderr"]
        return found
