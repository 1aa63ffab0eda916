"""The actor of a resident node: one object of its class, used by run after run.

It is detached and looks after itself: it ends when nobody has used it for its time-to-live, or
when a run finds that its code, constants or options are not those that the run wants. Runs use it
one after the other: each takes a lease first, in which nothing of the node runs, so that a run
whose lease fails may safely look for a new actor.
"""

import asyncio
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from ray.actor import ActorHandle

from rayflow_dagster.compiler.registry import BUILTIN_ROOT
from rayflow_dagster.errors import RayflowError
from rayflow_dagster.node import RayflowNode

from .worker import CallData, KnownJob, NodeHost, WorkerSettings

LeaseAnswer = Literal["granted", "stale", "wait"]

WAIT_SECONDS = 5.0
"""How long one call for a lease waits; then it must be repeated, or the place in the queue goes."""
_SILENT_SECONDS = 3 * WAIT_SECONDS
_UNUSED_SECONDS = 600.0  # a lease whose run never came: its process died; inputs may travel long
_POLL_SECONDS = 0.01


class LeaseLostError(RayflowError):
    """A run came for which the resident no longer waited."""


class ResidentActor(NodeHost):
    """Keeps one node object. ``digest`` stands for what the node was configured with."""

    def __init__(self, settings: WorkerSettings, digest: str, ttl: float) -> None:
        os.environ["RAY_WARN_BLOCKING_GET_INSIDE_ASYNC"] = "0"
        super().__init__(settings)
        roots = [root.path for root in self._loader.registry.roots if root != BUILTIN_ROOT]
        self._sources = LoadedSources([*roots, *([Path(self._folder)] if self._folder else [])])
        self._digest = digest
        self._node: RayflowNode | None = None
        self._thread = ThreadPoolExecutor(1, "rayflow-node")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue = LeaseQueue(ttl)
        threading.Thread(target=self._reap, name="rayflow-reaper", daemon=True).start()

    async def lease(self, ticket: str, digest: str, ttl: float) -> LeaseAnswer:
        """Wait for the turn of ``ticket``, for a while.

        "granted": ``run`` may come. "stale": this actor is not what the caller wants, and ends.
        "wait": ask again, the place in the queue is kept.
        """
        self._queue.ask(ticket)
        until = time.monotonic() + WAIT_SECONDS
        answer: LeaseAnswer = "wait"
        while answer == "wait" and time.monotonic() < until:
            answer = self._queue.answer(ticket, lambda: self._is_stale(digest), ttl)
            if answer == "wait":
                await asyncio.sleep(_POLL_SECONDS)
        return answer

    async def withdraw(self, ticket: str) -> None:
        """Whoever has this ticket does not need a turn any more."""
        self._queue.give_back(ticket)

    async def run(
        self,
        ticket: str,
        store: "ActorHandle[Any] | None",
        settings: WorkerSettings,
        packed: bytes,
        data: CallData | bytes,
        *refs: Any,
    ) -> Any:
        """As ``NodeWorker.run``, in the turn that ``ticket`` was granted.

        ``store`` is the variable store of the run, ``settings`` are the run's: its secrets may
        have other values than those of the run that started this actor.
        """
        if not self._queue.begin(ticket):
            raise LeaseLostError("its inputs came too late, another run has the resident now")
        self._has_variables = settings.has_variables
        self._environment = settings.environment if settings.is_here else None
        self._store = self._variables(store)
        try:
            return await self._in_its_place(packed, CallData.unpacked(data), refs)
        finally:
            self._sources.note()
            self._queue.give_back(ticket)

    async def _in_its_place(self, packed: bytes, data: CallData, refs: tuple[Any, ...]) -> Any:
        """Run on the node's one thread, or on its one event loop: never on Ray's own."""
        here = asyncio.get_running_loop()
        if not await here.run_in_executor(self._thread, self._is_async, packed):
            return await here.run_in_executor(self._thread, self._run_node, packed, data, refs)
        running = self._await_node(packed, data, refs)
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(running, self._own_loop())
        )

    def _is_async(self, packed: bytes) -> bool:
        try:
            return asyncio.iscoroutinefunction(self._job(packed).node_class.process)
        except ImportError:
            return False  # said by the run itself
        finally:
            self._sources.note()

    def _maker(self, job: KnownJob) -> Callable[[], RayflowNode]:
        """What gives the one object, made when it is first used."""

        def make() -> RayflowNode:
            if self._node is None:
                self._node = job.node_class()
            return self._node

        return make

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            run = self._loop.run_forever
            threading.Thread(target=run, name="rayflow-loop", daemon=True).start()
        return self._loop

    def _is_stale(self, digest: str) -> bool:
        return digest != self._digest or self._sources.have_changed()

    def _reap(self) -> None:
        self._queue.wait_until_over()
        os._exit(0)  # what the node started may still run, and nobody waits for it


class LeaseQueue:
    """Whose turn it is, in the order of asking: the first has it. Safe to use from any thread.

    It is over when nobody has asked for ``ttl`` seconds, or once it is stale; then for ever.
    """

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._guard = threading.Lock()
        self._until: dict[str, float] = {}
        """When each is forgotten who does not ask again or, with the turn, come to work."""
        self._used = time.monotonic()
        self._over = threading.Event()

    def ask(self, ticket: str) -> None:
        """Stand in the queue, or stay there."""
        with self._guard:
            self._until[ticket] = time.monotonic() + _SILENT_SECONDS

    def answer(self, ticket: str, is_stale: Callable[[], bool], ttl: float) -> LeaseAnswer:
        """Whether the turn of ``ticket`` has come. Ends all turns if ``is_stale`` then."""
        with self._guard:
            now = time.monotonic()
            self._forget_silent(now)
            if self._over.is_set():
                return "stale"
            if next(iter(self._until), None) != ticket:
                return "wait"
            if is_stale():
                self._over.set()
                return "stale"
            self._until[ticket], self._ttl = now + _UNUSED_SECONDS, ttl
            return "granted"

    def begin(self, ticket: str) -> bool:
        """Whether ``ticket`` still has its turn; it then keeps it until it is given back."""
        with self._guard:
            has_turn = ticket in self._until
            if has_turn:
                self._until[ticket] = math.inf
            return has_turn

    def give_back(self, ticket: str) -> None:
        with self._guard:
            self._until.pop(ticket, None)
            self._used = time.monotonic()

    def wait_until_over(self) -> None:
        """Returns when nobody uses or wants it any more."""
        while not self._over.wait(min(1.0, self._ttl / 4)):
            with self._guard:
                now = time.monotonic()
                self._forget_silent(now)
                if not self._until and now - self._used >= self._ttl:
                    self._over.set()

    def _forget_silent(self, now: float) -> None:
        for ticket, until in list(self._until.items()):
            if now > until:
                del self._until[ticket]
                self._used = now


class LoadedSources:
    """The project's source files that this process has imported, as they were then."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = [folder.resolve() for folder in folders]
        self._seen: dict[str, tuple[int, int] | None] = {}

    def note(self) -> None:
        """Remember what was imported since."""
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if file and file not in self._seen and self._is_ours(file):
                self._seen[file] = _state(file)

    def have_changed(self) -> bool:
        """Whether a file is another one now, or gone."""
        return any(_state(file) != seen for file, seen in self._seen.items())

    def _is_ours(self, file: str) -> bool:
        path = Path(file)
        ours = any(path.is_relative_to(folder) for folder in self._folders)
        return ours and "site-packages" not in path.parts


def _state(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
