"""The nodes of a direct run that run right now, as asyncio tasks."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from rayflow_dagster.types import NodeResult

from .executor import error_result


class Tasks:
    """The nodes that run: a task each, and their results as they come."""

    def __init__(self, run: Callable[[str], Coroutine[Any, Any, NodeResult | None]]) -> None:
        self.running: dict[str, asyncio.Task[NodeResult | None]] = {}
        self._run = run
        self._done: asyncio.Queue[tuple[str, asyncio.Task[NodeResult | None]]] = asyncio.Queue()

    def start(self, node_id: str) -> None:
        task = self.running[node_id] = asyncio.create_task(self._run(node_id))
        task.add_done_callback(lambda done: self._done.put_nowait((node_id, done)))

    async def next_result(self) -> NodeResult | None:
        """What the next task gives; whatever ends a task settles its node."""
        node_id, task = await self._done.get()
        if self.running.pop(node_id, None) is None:
            return None  # dropped meanwhile
        if task.cancelled():
            return error_result(node_id, RuntimeError("its execution was cancelled"))
        error = task.exception()
        return task.result() if error is None else error_result(node_id, error)

    def drop(self, node_id: str) -> None:
        """Give a node up."""
        self.running.pop(node_id).cancel()

    def cancel(self) -> None:
        """Give up all that runs."""
        for task in self.running.values():
            task.cancel()
