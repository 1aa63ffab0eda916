import logging
from typing import Any

from rayflow_dagster.node import RayflowNode


class LogNode(RayflowNode):
    """Write a value to the run's log, after MESSAGE if there is one, and pass the value on.

    LEVEL is DEBUG, INFO, WARNING, ERROR or CRITICAL.
    """

    icon = "fa-terminal"
    category = "debug"
    inputs = {"value": "any"}
    outputs = {"value": "any"}

    LEVEL = "INFO"
    MESSAGE = ""

    def process(self, value: Any) -> dict[str, Any]:
        level = logging.getLevelNamesMapping().get(self.LEVEL.upper())
        if level is None:
            raise ValueError(
                f"LEVEL is {self.LEVEL!r}; set it to DEBUG, INFO, WARNING, ERROR or CRITICAL"
            )
        self.log.log(level, "%s", f"{self.MESSAGE}: {value}" if self.MESSAGE else value)
        return {"value": value}
