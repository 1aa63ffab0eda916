"""A node that runs only beside another one."""

import time
from pathlib import Path
from typing import Any

from rayflow_dagster import RayflowNode


class MeetNode(RayflowNode):
    """Leave the file MINE, then wait until the file THEIRS is there."""

    inputs = {"value": {"type": "any", "default": None}}
    outputs = {"value": "any"}
    MINE = ""
    THEIRS = ""
    PATIENCE = 60.0

    def process(self, value: Any) -> dict[str, Any]:
        Path(self.MINE).touch()
        give_up = time.monotonic() + self.PATIENCE
        while not Path(self.THEIRS).exists():
            if time.monotonic() > give_up:
                raise TimeoutError(f"{self.THEIRS} never came")
            time.sleep(0.01)
        return {"value": value}
