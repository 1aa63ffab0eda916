from typing import Any

from rayflow_dagster import RayflowNode


class AddRowsNode(RayflowNode):
    """The rows so far, and behind them those of one more page."""

    icon = "fa-layer-group"
    category = "orders"
    inputs = {"so_far": list[dict[str, str]], "rows": list[dict[str, str]]}
    outputs = {"rows": list[dict[str, str]]}

    def process(self, so_far: list[dict[str, str]], rows: list[dict[str, str]]) -> dict[str, Any]:
        return {"rows": [*so_far, *rows]}
