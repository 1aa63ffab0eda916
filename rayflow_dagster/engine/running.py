"""The nodes of a direct run that run right now: one coroutine each, stepped by hand.

An asyncio task per node would cost more than everything else that the loop does for a node.
Whoever completes a future, on whatever thread, puts its node into one queue and wakes the event
loop, once for all that came meanwhile.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from rayflow_dagster.types import NodeResult

from .executor import error_result
from .stepping import steps

BATCH = 64
"""Steps between which nothing else on the event loop is done."""

NodeCoroutine = Coroutine[Any, Any, NodeResult]


class _RunningNode:
    """One execution of one node. A callable: what to do when the future it waits for is done."""

    __slots__ = ("future", "node_id", "nodes", "run", "stepping")

    def __init__(self, nodes: "RunningNodes", node_id: str, run: NodeCoroutine) -> None:
        self.nodes = nodes
        self.node_id = node_id
        self.run = run
        self.stepping: Generator[Future[Any], None, NodeResult] = steps(run)
        self.future: Future[Any] | None = None

    def __call__(self, _: "Future[Any]") -> None:
        self.nodes._resume(self)


class RunningNodes:
    """Runs nodes until none runs and none waits to run again. Made inside an event loop.

    Args:
        ended: called on the event loop with every node and what its coroutine came to; it may
            start others.
    """

    def __init__(self, ended: Callable[[str, NodeResult], None]) -> None:
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        # Threads that complete futures have contexts of their own; nodes keep their caller's.
        self._context = contextvars.copy_context()
        self._running: dict[str, _RunningNode] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._due: deque[_RunningNode] = deque()
        self._awake = False
        """True while a call of ``_work`` is on its way, or at work."""
        self._closed = False

    def start(self, node_id: str, run: NodeCoroutine) -> None:
        """Run a node; its first step comes after those that are due already."""
        node = self._running[node_id] = _RunningNode(self, node_id, run)
        self._resume(node)

    def start_later(self, node_id: str, seconds: float, start: Callable[[], None]) -> None:
        """Call ``start`` after ``seconds``, unless the node is dropped before."""

        def begin() -> None:
            del self._timers[node_id]
            start()

        self._timers[node_id] = self._loop.call_later(
            seconds, self._guarded, begin, context=self._context
        )

    def drop_later(self, node_id: str) -> bool:
        """Give up a node that ``start_later`` has not started yet; False if there is none."""
        timer = self._timers.pop(node_id, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def after_due(self, work: Callable[[], None]) -> None:
        """Do ``work`` when the nodes that were to be stepped have been."""

        def when_none_is() -> None:
            if self._due:
                self.after_due(work)
            else:
                work()

        self._loop.call_soon(self._guarded, when_none_is, context=self._context)

    def drop(self, node_id: str) -> bool:
        """Give up a node that nothing works on yet; False if something does, or it has ended."""
        node = self._running.get(node_id)
        if node is None or (node.future is not None and not node.future.cancel()):
            return False
        del self._running[node_id]
        node.stepping.close()
        node.run.close()  # the steps close it only if they have begun
        return True

    async def finish(self) -> None:
        """Wait until nothing runs or waits. Raises what ``ended`` raised."""
        if self._running or self._timers:
            await self._finished

    def close(self) -> None:
        """Give up all that runs or waits."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        nodes = list(self._running.values())
        self._running.clear()
        self._due.clear()
        for node in nodes:
            node.stepping.close()
            node.run.close()  # the steps close it only if they have begun
            if node.future is not None:
                node.future.cancel()

    def _resume(self, node: _RunningNode) -> None:
        """Have a node stepped soon. Called on any thread."""
        self._due.append(node)
        if self._awake or self._closed:
            return
        self._awake = True
        with suppress(RuntimeError):  # a future may outlive the event loop that waited for it
            self._loop.call_soon_threadsafe(self._guarded, self._work, context=self._context)

    def _work(self) -> None:
        """Step what is due."""
        for _ in range(BATCH):
            if not self._due:
                self._awake = False
                # What came before this line saw us awake and left it to us.
                if not self._due:
                    return
                self._awake = True
            self._step(self._due.popleft())
        self._loop.call_soon(self._guarded, self._work, context=self._context)

    def _step(self, node: _RunningNode) -> None:
        if self._running.get(node.node_id) is not node:
            return
        # The future holds the node: a cycle would keep the node's objects until Python collects it.
        node.future = None
        try:
            node.future = next(node.stepping)
        except StopIteration as ended:
            result: NodeResult = ended.value
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # whatever else ends a node settles it
            result = error_result(node.node_id, error)
        else:
            node.future.add_done_callback(node)
            return
        del self._running[node.node_id]
        self._ended(node.node_id, result)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do a piece of work of the loop; what it raises ends the run."""
        if self._closed:
            return
        try:
            work()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._end(error)
        else:
            if not (self._running or self._timers):
                self._end(None)

    def _end(self, error: BaseException | None) -> None:
        if self._finished.done():
            return
        if error is None:
            self._finished.set_result(None)
        else:
            self._finished.set_exception(error)
