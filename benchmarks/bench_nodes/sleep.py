import time

from rayflow_dagster import RayflowNode


class SleepNode(RayflowNode):
    """Block for SECONDS, as a node does that computes or waits for a file."""

    outputs = {"done": bool}
    SECONDS = 0.25

    def process(self) -> dict[str, bool]:
        time.sleep(self.SECONDS)
        return {"done": True}
