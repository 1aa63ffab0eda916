import json
import math
from typing import Any, NoReturn

from rayflow_dagster.node import RayflowNode


class JsonParseNode(RayflowNode):
    """Read a JSON text into the value that it describes. NaN and Infinity are not JSON."""

    icon = "fa-file-import"
    category = "data"
    inputs = {"text": str}
    outputs = {"value": "any"}

    def process(self, text: str) -> dict[str, Any]:
        try:
            return {"value": json.loads(text, parse_constant=_refused, parse_float=_finite)}
        except ValueError as error:
            start = f"it begins {text[:40]!r}" if text else "it is empty"
            raise ValueError(f"the text cannot be read as JSON ({error}); {start}") from error


def _refused(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON value")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits:.40} is too large for a float")
    return number
