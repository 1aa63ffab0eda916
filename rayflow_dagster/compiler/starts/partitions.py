"""The model of a flow's ``partitions``: what parts its data has, and which input names a run's."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_ILLEGAL = ("...", "\a", "\b", "\f", "\n", "\r", "\t", "\v", "\0")
"""What Dagster refuses in a partition's key."""
TIME_KINDS = ("hourly", "daily", "weekly", "monthly")


class Partitions(BaseModel):
    """The parts that the flow's data is made of; each run is for one of them."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    kind: Literal["hourly", "daily", "weekly", "monthly", "static", "dynamic"] = Field(
        description="One part for each hour, day, week or month since start; for each of values "
        "(static); or for each that is added in Dagster while the flow lives (dynamic)."
    )
    input: str = Field(
        min_length=1,
        description="The START input, a str, that a run's part is given to: 2026-01-05 for a day.",
    )
    start: str | None = Field(
        default=None, description="The first moment, for times: 2026-01-01, or with T and a time."
    )
    end: str | None = Field(
        default=None, description="The moment at which the parts end; without it they go on."
    )
    timezone: str = Field(default="UTC", description="As in the IANA database: Europe/Madrid.")
    values: list[str] | None = Field(default=None, description="The parts, for static.")

    @property
    def is_time(self) -> bool:
        """Whether the parts are windows of time."""
        return self.kind in TIME_KINDS


def part_problem(key: str) -> str | None:
    """Why a text cannot be the key of a part; None if it can."""
    if not key or any(text in key for text in _ILLEGAL):
        return f"{key[:80]!r} cannot be a part: no empty text, no '...', no tabs and no line breaks"
    return None


def moment(text: str) -> datetime:
    """A date or time as ``start`` and ``end`` have it.

    Raises:
        ValueError: it is none, or has an offset, which ``timezone`` is for.
    """
    found = datetime.fromisoformat(text)
    if found.tzinfo is not None:
        raise ValueError("the offset from UTC does not belong here; use the key timezone")
    return found
