import asyncio

from rayflow_dagster import RayflowNode


class WaitNode(RayflowNode):
    """Wait for SECONDS without blocking, as a node does that asks a server."""

    outputs = {"done": bool}
    SECONDS = 0.5

    async def process(self) -> dict[str, bool]:
        await asyncio.sleep(self.SECONDS)
        return {"done": True}
