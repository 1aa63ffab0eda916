"""One coroutine, two drivers.

``NodeExecutor.execute_node`` is a coroutine that waits for a future of the actor. Under asyncio it
is awaited as any other. A Dagster step must not run an event loop of its own, nor block while its
node runs, and the loop of a direct run cannot afford a task per node: there the coroutine is
stepped by hand with ``steps``, which hands out the future that it waits for, and whoever drives it
resumes it when that future is done. ``stepped`` does that for the whole of a direct run.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_by_hand: ContextVar[bool] = ContextVar("rayflow_stepped_by_hand", default=False)


class Done(Generic[T]):
    """Awaits a ``concurrent.futures.Future`` under either driver."""

    def __init__(self, future: "Future[T]") -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, T]:
        if self._future.done():
            return self._future.result()
        if not _by_hand.get():
            return (yield from asyncio.wrap_future(self._future).__await__())
        yield self._future
        return self._future.result()


class _Pause:
    """Awaits a moment: where coroutines are stepped by hand, a future that is done already."""

    def __await__(self) -> Generator[Any, None, None]:
        if _by_hand.get():
            now: Future[None] = Future()
            now.set_result(None)
            yield now
        else:
            yield from asyncio.sleep(0).__await__()


def pause() -> _Pause:
    """Let whoever drives this do what else is due."""
    return _Pause()


def steps(coroutine: Coroutine[Any, Any, T]) -> Generator["Future[Any]", None, T]:
    """Run ``coroutine`` without an event loop, yielding each future that it waits for.

    Resume the generator when the future is done. Closing it closes the coroutine; throwing into
    it throws into the coroutine.
    """
    resume: Callable[[], Any] = partial(coroutine.send, None)
    try:
        while True:
            token = _by_hand.set(True)
            try:
                future = resume()
            except StopIteration as finished:
                result: T = finished.value
                return result
            finally:
                _by_hand.reset(token)
            try:
                yield future
                resume = partial(coroutine.send, None)
            except Exception as error:  # thrown in by whoever drives the step
                resume = partial(coroutine.throw, error)
    finally:
        coroutine.close()


async def stepped(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await ``coroutine``, stepped by hand on the running event loop.

    A future that is done then costs one round of the loop and not two: the first would wake the
    task that waits for it.
    """
    loop = asyncio.get_running_loop()
    came: asyncio.Future[T] = loop.create_future()
    stepping = steps(coroutine)
    context = copy_context()  # threads that complete futures have others

    def resume(_: "Future[Any]") -> None:
        with suppress(RuntimeError):  # the future may outlive the event loop
            loop.call_soon_threadsafe(step, context=context)

    def step() -> None:
        if came.done():
            return
        try:
            future = next(stepping)
        except StopIteration as finished:
            came.set_result(finished.value)
        except (Exception, asyncio.CancelledError) as error:
            came.set_exception(error)
        else:
            future.add_done_callback(resume)

    try:
        context.run(step)
        return await came
    finally:
        stepping.close()
