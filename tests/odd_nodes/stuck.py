"""Nodes that come to no end, in every way that code can."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

from rayflow_dagster import RayflowNode

LONG = 3600.0


class _Counting(RayflowNode):
    inputs = {"value": {"type": "any", "default": None}}
    outputs = {"value": "any"}

    HOW = "sleep"
    TIMES = 1000
    FILE = ""

    def is_stuck(self) -> bool:
        """Note the execution in FILE; whether it is one of the first TIMES."""
        if not self.FILE:
            return True
        file = Path(self.FILE)
        noted = file.read_text() if file.exists() else ""
        file.write_text(noted + f"{self.node_id}\n")
        return len(noted.splitlines()) < self.TIMES


class StuckNode(_Counting):
    """Pass a value on, but not in the first TIMES executions."""

    def process(self, value: Any) -> dict[str, Any]:
        if self.is_stuck():
            getattr(self, f"stuck_in_{self.HOW}")()
        return {"value": value}

    def stuck_in_sleep(self) -> None:
        time.sleep(LONG)

    def stuck_in_loop(self) -> None:
        while True:
            pass

    def stuck_in_native_code(self) -> None:
        re.match(r"(a+)+$", "a" * 60 + "b")  # which does not let go of the interpreter


class StuckAsyncNode(_Counting):
    """As StuckNode, on the event loop that all async nodes share."""

    async def process(self, value: Any) -> dict[str, Any]:
        if self.is_stuck():
            await getattr(self, f"stuck_in_{self.HOW}")()
        return {"value": value}

    async def stuck_in_sleep(self) -> None:
        await asyncio.sleep(LONG)

    async def stuck_in_loop(self) -> None:
        while True:
            pass

    async def stuck_in_refusal(self) -> None:
        while True:
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                continue


class SlowAsyncNode(RayflowNode):
    """Pass a value on after a second."""

    inputs = {"value": {"type": "any", "default": 1}}
    outputs = {"value": "any"}

    async def process(self, value: Any) -> dict[str, Any]:
        await asyncio.sleep(1.0)
        return {"value": value}
