from typing import Any

from rayflow_dagster.node import RayflowNode


class ListLengthNode(RayflowNode):
    """How many items a list has."""

    icon = "fa-ruler"
    category = "data"
    inputs = {"items": list}
    outputs = {"length": int}

    def process(self, items: list[Any]) -> dict[str, Any]:
        return {"length": len(items)}
