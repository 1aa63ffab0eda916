import json
from typing import Any

from rayflow_dagster.node import RayflowNode


class JsonDumpNode(RayflowNode):
    """Write a value as JSON text. INDENT is the number of spaces per level; 0 is one line."""

    icon = "fa-file-export"
    category = "data"
    inputs = {"value": "any"}
    outputs = {"text": str}

    INDENT = 2

    def process(self, value: Any) -> dict[str, Any]:
        # By default Python writes NaN and Infinity, which are not JSON and which others refuse.
        text = json.dumps(value, indent=self.INDENT or None, ensure_ascii=False, allow_nan=False)
        return {"text": text}
