from collections import Counter
from typing import Any

from rayflow_dagster import RayflowNode


class CountReasonsNode(RayflowNode):
    """How many rows are bad for which reason, the most frequent reason first."""

    icon = "fa-chart-bar"
    category = "orders"
    inputs = {"problems": list[dict[str, Any]]}
    outputs = {"reasons": dict[str, int]}

    def process(self, problems: list[dict[str, Any]]) -> dict[str, Any]:
        counts = Counter(problem["reason"] for problem in problems)
        return {"reasons": dict(counts.most_common())}
