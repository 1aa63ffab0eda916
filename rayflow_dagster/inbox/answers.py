"""An answer to a caller: status, JSON and headers; and the response over HTTP that says it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse

from rayflow_dagster.encodable import encodable


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


class _Written(JSONResponse):
    """As JSON; half a character of a result as JSON's escape of it."""

    def render(self, content: Any) -> bytes:
        return encodable(json.dumps(content, ensure_ascii=False, allow_nan=False)).encode()


def response_of(answer: Answer) -> JSONResponse:
    """The response that says an answer."""
    return _Written(dict(answer.body), answer.status, dict(answer.headers))


def too_often(text: str, wait: float) -> JSONResponse:
    """429: to come again in ``wait`` seconds."""
    return response_of(refusal(429, text, retry=max(1, math.ceil(wait))))
