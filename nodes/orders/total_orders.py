from collections import defaultdict
from typing import Any

from rayflow_dagster import RayflowNode


class TotalOrdersNode(RayflowNode):
    """Add up what the orders are worth: all together, and by country."""

    icon = "fa-coins"
    category = "orders"
    inputs = {"orders": list[dict[str, Any]]}
    outputs = {"revenue": float, "by_country": dict[str, float]}

    def process(self, orders: list[dict[str, Any]]) -> dict[str, Any]:
        by_country: dict[str, float] = defaultdict(float)
        for order in orders:
            by_country[order["country"]] += order["quantity"] * order["unit_price"]
        return {
            "revenue": round(sum(by_country.values()), 2),
            "by_country": {
                country: round(by_country[country], 2) for country in sorted(by_country)
            },
        }
