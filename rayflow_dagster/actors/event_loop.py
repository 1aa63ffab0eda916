"""The actor whose event loop all ``async`` nodes of a run share, so that they wait together.

It takes no CPU slot. A node that blocks it holds up other async nodes, and nothing else.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import ray
from ray.actor import ActorHandle

from rayflow_dagster.engine.timers import after
from rayflow_dagster.errors import NodeCrashedError, NodeExecutionError, RunEndedError

from .answers import Running, fail
from .calls import ActorCall
from .pool import end
from .serial_thread import SerialThread
from .worker import AsyncNodeWorker

CANCEL_SECONDS = 1.0
"""How long an async node has to end when it is cancelled; after that, it blocks the event loop."""
MAX_TOGETHER = 1000
"""How many async nodes of a run are in flight at once; Ray keeps the others waiting."""
OPTIONS: dict[str, Any] = {"num_cpus": 0, "max_concurrency": MAX_TOGETHER}


class SharedLoopWorker(AsyncNodeWorker):
    """``AsyncNodeWorker`` in its actor."""

    def __init__(self, *arguments: Any) -> None:
        # A node's short call of the variable store blocks the loop, which is known and said.
        os.environ["RAY_WARN_BLOCKING_GET_INSIDE_ASYNC"] = "0"
        super().__init__(*arguments)


class EventLoop:
    """The actor of one run's async nodes. It starts when first needed, and anew if it died.

    Args:
        thread: the thread that starts and ends actors.
    """

    def __init__(
        self, new_actor: "Callable[[], ActorHandle[Any]]", thread: SerialThread, running: Running
    ) -> None:
        self._new_actor = new_actor
        self._thread = thread
        self._running = running
        self._lock = threading.Lock()
        self._handle: ActorHandle[Any] | None = None
        self._calls: dict[ActorHandle[Any], set[ActorCall]] = {}
        """What runs on each actor that lives."""
        self._closed = False

    def start(self) -> "ActorHandle[Any] | None":
        """The actor, started if there is none; None once closed."""
        with self._lock:
            if self._handle is None and not self._closed:
                self._handle = self._new_actor()
                self._calls[self._handle] = set()
            return self._handle

    def start_early(self) -> "Future[Any]":
        """Start the actor before anything is asked of it. The future is done when it is up, or
        could not be started.
        """
        handle = self.start()
        if handle is None:
            up: Future[Any] = Future()
            up.set_result(None)
            return up
        return handle.ready.remote().future()

    def run(self, call: ActorCall) -> None:
        """Run it, beside all others."""
        handle = self.start()
        if handle is None:
            fail(call.future, RunEndedError())
            return
        calls = self._calls.get(handle, set[ActorCall]())
        calls.add(call)

        def then(error: BaseException | None) -> None:
            calls.discard(call)
            if isinstance(error, ray.exceptions.RayActorError):
                self._forget(handle)
                self._calls.pop(handle, None)

        self._running.send(handle.run, call, end=partial(self._cancel, handle, call), then=then)

    def close(self) -> None:
        """End the actor."""
        with self._lock:
            self._closed, self._handle = True, None
            handles, self._calls = list(self._calls), {}
        for handle in handles:
            end(handle)

    def _cancel(self, handle: "ActorHandle[Any]", call: ActorCall, answer: Any) -> None:
        """Cancel a call. While it is not known whether that blocks the event loop, other calls go
        to another actor; if it does, the actor is ended.
        """
        self._forget(handle)
        answered = answer.future()
        answered.add_done_callback(partial(self._take_back, handle))

        def look(_: object) -> None:
            if not answered.done():
                self._thread.do(lambda: self._end_blocked(handle, call))

        self._thread.do(lambda: ray.cancel(answer))
        after(CANCEL_SECONDS).add_done_callback(look)

    def _end_blocked(self, handle: "ActorHandle[Any]", blocking: ActorCall) -> None:
        why = (
            f"node '{blocking.node_id}' blocked the event loop that all async nodes share, and "
            "had to be ended with it"
        )
        for call in list(self._calls.pop(handle, ())):
            if self._running.take(call.future):
                fail(call.future, NodeExecutionError(call.node_id, NodeCrashedError(why)))
        end(handle)

    def _take_back(self, handle: "ActorHandle[Any]", answered: "Future[Any]") -> None:
        """A cancelled call has ended: the actor can have others, if it lives."""
        if isinstance(answered.exception(), ray.exceptions.RayActorError):
            return
        with self._lock:
            if self._handle is None and not self._closed:
                self._handle = handle

    def _forget(self, handle: "ActorHandle[Any]") -> None:
        with self._lock:
            if self._handle is handle:
                self._handle = None
