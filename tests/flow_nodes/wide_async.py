from typing import Any

from rayflow_dagster import RayflowNode


class WideAsyncNode(RayflowNode):
    """Asks for what has no effect."""

    ray_options = {"max_concurrency": 4}

    async def process(self) -> dict[str, Any]:
        return {}
