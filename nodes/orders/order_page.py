import csv
from itertools import islice
from pathlib import Path
from typing import Any

from rayflow_dagster import RayflowNode


class OrderPageNode(RayflowNode):
    """One page of a shop's orders, PER_PAGE of them; the first page is 1. A file plays the shop, as
    its address would have to be reachable: put a request in its place. Behind the last order, pages
    are empty.
    """

    icon = "fa-cloud-arrow-down"
    category = "orders"
    inputs = {"path": str, "page": int}
    outputs = {"rows": list[dict[str, str]], "has_rows": bool}

    PER_PAGE = 25

    def process(self, path: str, page: int) -> dict[str, Any]:
        first = (page - 1) * self.PER_PAGE
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(islice(csv.DictReader(file), first, first + self.PER_PAGE))
        return {"rows": rows, "has_rows": bool(rows)}
