from typing import Any

from rayflow_dagster import RayflowNode


class AppendNode(RayflowNode):
    """A text with SUFFIX behind it."""

    inputs = {"text": {"type": str, "default": "", "description": "what comes first"}}
    outputs = {"text": str}

    SUFFIX = "!"

    def process(self, text: str) -> dict[str, Any]:
        return {"text": text + self.SUFFIX}
