from typing import Any

from rayflow_dagster import RayflowNode


class ErrorRateNode(RayflowNode):
    """What share of the rows is bad, from 0 (none) to 1 (all). Of no rows at all, none is."""

    icon = "fa-percent"
    category = "orders"
    inputs = {"rows": list[dict[str, Any]], "problems": list[dict[str, Any]]}
    outputs = {"rate": float}

    def process(self, rows: list[Any], problems: list[Any]) -> dict[str, Any]:
        return {"rate": len(problems) / len(rows) if rows else 0.0}
