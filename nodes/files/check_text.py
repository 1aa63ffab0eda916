from typing import Any

from rayflow_dagster import RayflowNode


class CheckTextNode(RayflowNode):
    """Fail where a text has fewer than MIN_WORDS words; else tell how many."""

    icon = "fa-file-circle-check"
    category = "files"
    inputs = {"text": str}
    outputs = {"words": int}

    MIN_WORDS = 50

    def process(self, text: str) -> dict[str, Any]:
        words = len(text.split())
        if words < self.MIN_WORDS:
            raise ValueError(f"only {words} of at least {self.MIN_WORDS} words")
        return {"words": words}
