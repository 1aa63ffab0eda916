import math
import re
from typing import Any

from rayflow_dagster.node import RayflowNode
from rayflow_dagster.values.preview import preview

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_OTHERS = frozenset({"nan", "inf", "+inf", "-inf"})


class ToFloatNode(RayflowNode):
    """A number with a fraction: of 3, "2.5", "1e-3" or true, not of "2,5" or "1_000".

    true gives 1.0, false gives 0.0. A text has digits, a point, maybe an exponent, or is nan, inf
    or -inf; spaces around are left out. An int of more than 15 digits may be rounded; a number
    that is too large for a float is refused.
    """

    icon = "fa-percent"
    category = "convert"
    inputs = {"value": int | float | bool | str}
    outputs = {"value": float}

    def process(self, value: Any) -> dict[str, Any]:
        text = value.strip().lower() if isinstance(value, str) else ""
        if isinstance(value, str) and text not in _OTHERS and not _NUMBER.fullmatch(text):
            raise ValueError(f"{preview(value, 80)} is no number: write it as in '-2.5' or '1e-3'")
        try:
            number = float(value)
        except OverflowError:
            raise ValueError("the number is too large for a float") from None
        if _NUMBER.fullmatch(text) and math.isinf(number):
            raise ValueError(f"{preview(value, 80)} is too large for a float")
        return {"value": number}
