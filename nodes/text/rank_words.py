from typing import Any

from rayflow_dagster import RayflowNode


class RankWordsNode(RayflowNode):
    """The most frequent words first; of equally frequent ones, in alphabetical order."""

    icon = "fa-ranking-star"
    category = "text"
    inputs = {"counts": dict[str, int], "top": {"type": int, "default": 10}}
    outputs = {"ranking": list[dict[str, Any]], "top_count": int}

    def process(self, counts: dict[str, int], top: int) -> dict[str, Any]:
        ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        ranking = [{"word": word, "count": count} for word, count in ranked[:top]]
        return {"ranking": ranking, "top_count": ranking[0]["count"] if ranking else 0}
