from typing import Any

from rayflow_dagster.node import RayflowNode


class ListAppendNode(RayflowNode):
    """A new list: the items, then one more."""

    icon = "fa-square-plus"
    category = "data"
    inputs = {"items": list, "item": "any"}
    outputs = {"items": list}

    def process(self, items: list[Any], item: Any) -> dict[str, Any]:
        return {"items": [*items, item]}
