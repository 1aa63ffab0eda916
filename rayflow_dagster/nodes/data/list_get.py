from typing import Any

from rayflow_dagster.node import RayflowNode


class ListGetNode(RayflowNode):
    """Take one item out of a list. The first has index 0, the last -1."""

    icon = "fa-list-ol"
    category = "data"
    inputs = {"items": list, "index": int}
    outputs = {"item": "any"}

    def process(self, items: list[Any], index: int) -> dict[str, Any]:
        try:
            return {"item": items[index]}
        except IndexError:
            raise IndexError(f"the list of {len(items)} items has no index {index}") from None
