from collections import Counter
from typing import Any

from rayflow_dagster import RayflowNode


class MergeCountsNode(RayflowNode):
    """Add up three word counts."""

    icon = "fa-code-merge"
    category = "text"
    inputs = {"first": dict[str, int], "second": dict[str, int], "third": dict[str, int]}
    outputs = {"counts": dict[str, int]}

    def process(
        self, first: dict[str, int], second: dict[str, int], third: dict[str, int]
    ) -> dict[str, Any]:
        return {"counts": dict(Counter(first) + Counter(second) + Counter(third))}
