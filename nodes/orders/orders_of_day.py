from typing import Any

from rayflow_dagster import RayflowNode


class OrdersOfDayNode(RayflowNode):
    """Count the orders of one day and add up what they are worth; rows without numbers are left
    out.
    """

    icon = "fa-calendar-day"
    category = "orders"
    inputs = {"rows": list[dict[str, str]], "day": str}
    outputs = {"count": int, "revenue": float}

    def process(self, rows: list[dict[str, str]], day: str) -> dict[str, Any]:
        worth = [_worth(row) for row in rows if row["date"] == day]
        sold = [each for each in worth if each is not None]
        return {"count": len(sold), "revenue": round(sum(sold), 2)}


def _worth(row: dict[str, str]) -> float | None:
    try:
        return int(row["quantity"]) * float(row["unit_price"])
    except ValueError:
        return None
