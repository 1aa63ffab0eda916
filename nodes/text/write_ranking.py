from typing import Any

from rayflow_dagster import RayflowNode


class WriteRankingNode(RayflowNode):
    """Put a ranking of words into a Markdown table."""

    icon = "fa-table"
    category = "text"
    inputs = {"ranking": list[dict[str, Any]]}
    outputs = {"report": str}

    TITLE = "Most frequent words"

    def process(self, ranking: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [f"| {entry['word']} | {entry['count']} |" for entry in ranking]
        lines = [f"# {self.TITLE}", "", "| word | count |", "| --- | ---: |", *rows]
        return {"report": "\n".join(lines) + "\n"}
