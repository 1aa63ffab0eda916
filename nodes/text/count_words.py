import re
from collections import Counter
from pathlib import Path
from typing import Any

from rayflow_dagster import RayflowNode


class CountWordsNode(RayflowNode):
    """How often each word occurs in some text files. Shorter words are left out."""

    icon = "fa-calculator"
    category = "text"
    inputs = {
        "paths": list[str],
        "minimum": {"type": int, "default": 1, "description": "letters that a word must have"},
    }
    outputs = {"counts": dict[str, int]}

    LOWERCASE = True

    def process(self, paths: list[str], minimum: int) -> dict[str, Any]:
        counts: Counter[str] = Counter()
        for path in paths:
            text = Path(path).read_text(encoding="utf-8")
            words = re.findall(r"[^\W\d_]+", text.lower() if self.LOWERCASE else text)
            counts.update(word for word in words if len(word) >= minimum)
            self.log.info("%s: %d words", path, len(words))
        return {"counts": dict(counts)}
