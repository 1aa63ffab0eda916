from typing import Any

from rayflow_dagster import RayflowNode


class FlakyNode(RayflowNode):
    """Fail FAILURES times, then pass a value on. The variable COUNTER counts the attempts."""

    inputs = {"value": "any"}
    outputs = {"value": "any", "attempts": int}

    COUNTER = "attempts"
    FAILURES = 1

    def process(self, value: Any) -> dict[str, Any]:
        attempts = self.variables.increment(self.COUNTER)
        if attempts <= self.FAILURES:
            raise ConnectionError(f"attempt {attempts} fails")
        return {"value": value, "attempts": attempts}
