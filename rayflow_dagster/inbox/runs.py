"""What the endpoint asks about runs; who asks Dagster stands outside of this package."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .store import RequestStore

Status = Literal["waiting", "started", "success", "failure", "canceled"]


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """A run. ``result`` is what RETURN gave, as JSON has it; ``error`` says why there is none."""

    run_id: str
    status: Status
    result: Any = None
    error: str | None = None


class Runs(Protocol):
    """The runs that were started for requests."""

    def settle(self, store: RequestStore) -> None:
        """Note in the store the runs that are recorded by now."""

    def latest(self, request_id: str) -> RunOutcome | None:
        """The newest run for a request, which is a re-execution if there is one; None if none."""
