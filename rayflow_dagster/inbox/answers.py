"""An answer to a caller, apart from HTTP: status, JSON and headers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, JSON body and headers."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(
    status: int, error: str, problems: list[str] | None = None, retry: int | None = None
) -> Answer:
    """An answer that says what is wrong. ``retry``: seconds after which it may be right."""
    headers = {} if retry is None else {"Retry-After": str(retry)}
    return Answer(status, {"error": error, **({"problems": problems} if problems else {})}, headers)
