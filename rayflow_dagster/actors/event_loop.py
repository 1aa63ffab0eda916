"""The actor whose event loop all ``async`` nodes of a run share, so that they wait together.

It takes no CPU slot. A node that blocks it holds up other async nodes, and nothing else. The actor
itself keeps the limits of its nodes: where one of them blocks it beyond its own, it ends.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import ray
from ray.actor import ActorHandle

from rayflow_dagster.errors import RunEndedError

from .answers import Running, fail
from .calls import ActorCall
from .pool import end
from .worker import AsyncNodeWorker

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
    """The actor of one run's async nodes. It starts when first needed, and anew if it died."""

    def __init__(self, new_actor: "Callable[[], ActorHandle[Any]]", running: Running) -> None:
        self._new_actor = new_actor
        self._running = running
        self._lock = threading.Lock()
        self._handle: ActorHandle[Any] | None = None
        self._closed = False

    def start(self) -> "ActorHandle[Any] | None":
        """The actor, started if there is none; None once closed."""
        with self._lock:
            if self._handle is None and not self._closed:
                self._handle = self._new_actor()
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

        def then(error: BaseException | None) -> None:
            if isinstance(error, ray.exceptions.RayActorError):
                self._forget(handle)

        self._running.send(handle.run, call, then=then)

    def close(self) -> None:
        """End the actor."""
        with self._lock:
            self._closed, handle = True, self._handle
            self._handle = None
        end(handle)

    def _forget(self, handle: "ActorHandle[Any]") -> None:
        with self._lock:
            if self._handle is handle:
                self._handle = None
