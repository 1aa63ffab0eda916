from datetime import date
from typing import Any

from rayflow_dagster import RayflowNode


class ValidateOrdersNode(RayflowNode):
    """Tell good orders from bad rows. Every bad row is listed with the reason."""

    icon = "fa-list-check"
    category = "orders"
    inputs = {"rows": list[dict[str, str]]}
    outputs = {"orders": list[dict[str, Any]], "problems": list[dict[str, Any]]}

    MAX_QUANTITY = 1000

    def process(self, rows: list[dict[str, str]]) -> dict[str, Any]:
        orders: list[dict[str, Any]] = []
        problems: list[dict[str, Any]] = []
        seen: set[str] = set()
        for number, row in enumerate(rows, start=1):
            try:
                if row["order_id"] in seen:
                    raise ValueError("repeated order")
                orders.append(self.order(row))
                seen.add(row["order_id"])
            except ValueError as error:
                problems.append({"row": number, "order_id": row["order_id"], "reason": str(error)})
        return {"orders": orders, "problems": problems}

    def order(self, row: dict[str, str]) -> dict[str, Any]:
        if not row["customer"]:
            raise ValueError("no customer")
        return {
            **row,
            "date": self.day(row["date"]),
            "quantity": self.quantity(row["quantity"]),
            "unit_price": self.price(row["unit_price"]),
        }

    def day(self, text: str) -> str:
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            raise ValueError("impossible date") from None

    def quantity(self, text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= self.MAX_QUANTITY:
            raise ValueError("impossible quantity")
        return int(text)

    def price(self, text: str) -> float:
        try:
            price = float(text)
        except ValueError:
            raise ValueError("price is not a number") from None
        if not 0 < price < float("inf"):
            raise ValueError("price is not positive")
        return price
