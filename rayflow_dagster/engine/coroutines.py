"""Coroutines in, what each comes to out: they run side by side, stepped by hand on one thread.

An asyncio task per node would cost more than everything else that the loop does for a node, and a
Dagster step has no event loop. Whoever completes a future, on whatever thread, puts what waits for
it into one queue and wakes whoever waits for the whole, once for all that came meanwhile.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Hashable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Generic, TypeVar

from .stepping import Done, pause, steps
from .timers import after

BATCH = 64
"""Steps between which nothing else on an event loop is done."""

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class _Step(Generic[Key, Result]):
    """One coroutine. A callable: what to do when the future that it waits for is done."""

    __slots__ = ("coroutine", "future", "key", "running", "stepping")

    def __init__(
        self, running: "Coroutines[Key, Result]", key: Key, coroutine: Coroutine[Any, Any, Result]
    ) -> None:
        self.running = running
        self.key = key
        self.coroutine = coroutine
        self.stepping: Generator[Future[Any], None, Result] = steps(coroutine)
        self.future: Future[Any] | None = None

    def __call__(self, _: "Future[Any]") -> None:
        self.running.soon(self)

    def close(self) -> None:
        self.stepping.close()
        self.coroutine.close()  # the steps close it only if they have begun


class Coroutines(Generic[Key, Result]):
    """Runs coroutines, each under a key, until none runs and none waits to run again.

    Args:
        ended: called with every key and what its coroutine came to; it may start others.
        failed: what a coroutine comes to that has raised; it may raise, which ends ``finish``.
    """

    def __init__(
        self,
        ended: Callable[[Key, Result], None],
        failed: Callable[[Key, BaseException], Result],
    ) -> None:
        self._ended = ended
        self._failed = failed
        self._running: dict[Key, _Step[Key, Result]] = {}
        self._timers: dict[Key, Future[None]] = {}
        self._due: deque[_Step[Key, Result] | Callable[[], None]] = deque()
        self._later: deque[Callable[[], None]] = deque()
        """What is done when nothing is due."""
        self._wake: Future[None] | None = None
        """Set while ``finish`` waits."""

    def __len__(self) -> int:
        return len(self._running) + len(self._timers)

    def start(self, key: Key, coroutine: Coroutine[Any, Any, Result]) -> None:
        """Run a coroutine; its first step comes after those that are due already."""
        step = self._running[key] = _Step(self, key, coroutine)
        self._due.append(step)

    def start_later(self, key: Key, seconds: float, start: Callable[[], None]) -> None:
        """Call ``start`` after ``seconds``, unless the key is dropped before."""

        def begin() -> None:
            if self._timers.get(key) is timer:
                del self._timers[key]
                start()

        timer = self._timers[key] = after(seconds)
        timer.add_done_callback(lambda _: self.soon(begin))

    def drop_later(self, key: Key) -> bool:
        """Give up what ``start_later`` has not started yet; False if there is none."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def drop_waiting(self) -> None:
        """Give up all that ``start_later`` has not started yet."""
        for key in list(self._timers):
            self.drop_later(key)

    def after_due(self, work: Callable[[], None]) -> None:
        """Do ``work`` when what was to be stepped has been."""
        self._later.append(work)

    def drop(self, key: Key) -> bool:
        """Give up a coroutine whose future nothing works on yet; False if something does, or it has
        ended.
        """
        step = self._running.get(key)
        if step is None or (step.future is not None and not step.future.cancel()):
            return False
        del self._running[key]
        step.close()
        return True

    async def finish(self) -> None:
        """Run until nothing runs or waits. Raises what ``ended`` raised."""
        while self._running or self._timers or self._later:
            self._work()
            if self._due or self._later:
                await pause()
                continue
            if not (self._running or self._timers):
                return
            self._wake = wake = Future[None]()
            if not self._due:  # what came before that line saw nobody waiting
                await Done(wake)
            self._wake = None

    def close(self) -> None:
        """Give up all that runs or waits."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        running = list(self._running.values())
        self._running.clear()
        self._due.clear()
        self._later.clear()
        for step in running:
            step.close()
            if step.future is not None:
                step.future.cancel()

    def soon(self, work: "_Step[Key, Result] | Callable[[], None]") -> None:
        """Have it stepped, or called, soon, if ``finish`` still waits. Called on any thread."""
        self._due.append(work)
        wake = self._wake
        if wake is not None and not wake.done():
            with suppress(InvalidStateError):  # another thread was faster
                wake.set_result(None)

    def _work(self) -> None:
        """Do what is due, a batch of it at most."""
        for _ in range(BATCH):
            if not self._due:
                while self._later and not self._due:
                    self._later.popleft()()
                return
            work = self._due.popleft()
            if isinstance(work, _Step):
                self._step(work)
            else:
                work()

    def _step(self, step: "_Step[Key, Result]") -> None:
        if self._running.get(step.key) is not step:
            return
        # The future holds the step: a cycle would keep its objects until Python collects it.
        step.future = None
        try:
            step.future = next(step.stepping)
        except StopIteration as ended:
            result: Result = ended.value
        except (Exception, asyncio.CancelledError, GeneratorExit) as error:
            result = self._failed(step.key, error)
        else:
            step.future.add_done_callback(step)
            return
        del self._running[step.key]
        self._ended(step.key, result)
