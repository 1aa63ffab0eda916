import re
import sys
from typing import Any

from rayflow_dagster.node import RayflowNode
from rayflow_dagster.values.preview import preview

_INTEGER = re.compile(r"[+-]?[0-9]+")


class ToIntNode(RayflowNode):
    """A whole number: of 3.0, "3" or true, not of 3.5 or "3.0".

    true gives 1, false gives 0. A text has digits and maybe a sign; spaces around are left out.
    A number with a fraction, NaN and infinity are refused.
    """

    icon = "fa-hashtag"
    category = "convert"
    inputs = {"value": int | float | bool | str}
    outputs = {"value": int}

    def process(self, value: Any) -> dict[str, Any]:
        if isinstance(value, str):
            return {"value": _from_text(value)}
        try:
            whole = int(value)
        except (ValueError, OverflowError):
            raise ValueError(f"{value} is no whole number") from None
        if whole != value:
            raise ValueError(f"{value} is no whole number; round it before")
        return {"value": whole}


def _from_text(text: str) -> int:
    if not _INTEGER.fullmatch(text.strip()):
        raise ValueError(f"{preview(text, 80)} is no whole number: write digits, as in '-12'")
    try:
        return int(text)
    except ValueError:
        limit = sys.get_int_max_str_digits()
        raise ValueError(f"a number of more than {limit:,} digits is too long to read") from None
