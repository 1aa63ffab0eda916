import json
from typing import Any

from rayflow_dagster.node import RayflowNode


class JsonParseNode(RayflowNode):
    """Read a JSON text into the value that it describes."""

    icon = "fa-file-import"
    category = "data"
    inputs = {"text": str}
    outputs = {"value": "any"}

    def process(self, text: str) -> dict[str, Any]:
        try:
            return {"value": json.loads(text)}
        except json.JSONDecodeError as error:
            start = f"it begins {text[:40]!r}" if text else "it is empty"
            raise ValueError(f"the text is not JSON ({error}); {start}") from error
