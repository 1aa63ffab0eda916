import asyncio
from typing import Any

from rayflow_dagster import RayflowNode


class AsyncIdentityNode(RayflowNode):
    """Pass a value on, after giving way once."""

    inputs = {"value": "any"}
    outputs = {"value": "any"}

    async def process(self, value: Any) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"value": value}
