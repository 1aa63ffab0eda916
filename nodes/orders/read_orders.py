import csv
from pathlib import Path
from typing import Any

from rayflow_dagster import RayflowNode

COLUMNS = ("order_id", "date", "customer", "country", "product", "quantity", "unit_price")


class ReadOrdersNode(RayflowNode):
    """Read a CSV file of orders, one dict per row. Every value is text, nothing is checked yet."""

    icon = "fa-file-csv"
    category = "orders"
    inputs = {"path": str}
    outputs = {"rows": list[dict[str, str]]}

    def process(self, path: str) -> dict[str, Any]:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="")
            missing = set(COLUMNS).difference(reader.fieldnames or ())
            if missing:
                raise ValueError(f"{path} has no column {', '.join(sorted(missing))}")
            rows = [{column: row[column] for column in COLUMNS} for row in reader]
        self.log.info("read %d rows from %s", len(rows), path)
        return {"rows": rows}
