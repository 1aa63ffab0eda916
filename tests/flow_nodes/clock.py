import time

from rayflow_dagster import RayflowNode


class ClockNode(RayflowNode):
    """The seconds of a clock that never goes back."""

    outputs = {"seconds": float}

    def process(self) -> dict[str, float]:
        return {"seconds": time.monotonic()}
