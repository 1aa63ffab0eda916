import csv
from pathlib import Path
from typing import Any

ORDERS = Path("data/orders.csv")


class NewOrders:
    """Looks for orders that the shop has taken since the last look; the flow ``new_orders`` asks
    it. Orders are only ever added at the end, so the cursor is how many there were.
    """

    def check(self, cursor: int | None) -> tuple[list[dict[str, Any]], int]:
        with ORDERS.open(newline="", encoding="utf-8") as file:
            orders = list(csv.DictReader(file))
        new = orders[cursor or 0 :]
        return [self._inputs(order) for order in new if order["quantity"].isdigit()], len(orders)

    def _inputs(self, order: dict[str, str]) -> dict[str, Any]:
        return {
            "order_id": order["order_id"],
            "quantity": int(order["quantity"]),
            "unit_price": float(order["unit_price"] or 0),
        }
