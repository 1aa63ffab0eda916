"""From an answer to a response over HTTP."""

import json
import math
from typing import Any

from starlette.responses import JSONResponse

from rayflow_dagster.encodable import encodable

from .answers import Answer, refusal


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
