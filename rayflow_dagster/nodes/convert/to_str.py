import sys
from typing import Any

from rayflow_dagster.node import RayflowNode


class ToStrNode(RayflowNode):
    """The text of a number or a truth value: 3 gives "3", 2.50 gives "2.5", true gives "true".

    A text stays as it is. For a list or a dict take data.json_dump, for a number in a form of
    yours ("2.50") text.format.
    """

    icon = "fa-font"
    category = "convert"
    inputs = {"value": int | float | bool | str}
    outputs = {"text": str}

    def process(self, value: Any) -> dict[str, Any]:
        if isinstance(value, str):
            return {"text": value}
        try:
            text = str(value)
        except ValueError:
            limit = sys.get_int_max_str_digits()
            message = f"a number of more than {limit:,} digits is too long for a text"
            raise ValueError(message) from None
        # Flows are JSON, and write truth values as JSON does.
        return {"text": text.lower() if text in ("True", "False") else text}
