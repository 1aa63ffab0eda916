"""``Coroutines``: the nodes that run, stepped by hand on an event loop."""

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import pytest

from rayflow_dagster.engine.coroutines import BATCH, Coroutines
from rayflow_dagster.engine.executor import error_result, success_result
from rayflow_dagster.engine.stepping import Done
from rayflow_dagster.types import NodeResult


def result(node_id: str, value: Any = None) -> NodeResult:
    return success_result(node_id, {"value": value}, [])


async def give(node_id: str, *futures: "Future[Any]") -> NodeResult:
    """Run a node that waits for some futures, one after the other."""
    return result(node_id, [await Done(future) for future in futures])


def done(value: Any = None) -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_result(value)
    return future


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often it was woken."""

    woken = 0

    def call_soon_threadsafe(self, *arguments: Any, **keywords: Any) -> asyncio.Handle:
        self.woken += 1
        return super().call_soon_threadsafe(*arguments, **keywords)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> CountingLoop:
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        runner.run(work())
        loop = runner.get_loop()
        assert isinstance(loop, CountingLoop)
        return loop


def test_a_chain_of_thousands_that_never_wait_neither_recurses_nor_keeps_others_waiting():
    count, others = 5000, 0

    async def work() -> None:
        nonlocal others

        def ended(node_id: str, _: NodeResult) -> None:
            number = int(node_id) + 1
            if number < count:
                nodes.start(str(number), give(str(number), done()))

        async def tick() -> None:
            nonlocal others
            while True:
                others += 1
                await asyncio.sleep(0)

        nodes = Coroutines(ended, error_result)
        ticking = asyncio.create_task(tick())
        nodes.start("0", give("0", done()))
        await nodes.finish()
        ticking.cancel()

    run(work)
    assert others >= count // BATCH


def test_what_is_completed_while_the_loop_is_busy_wakes_it_once():
    async def work() -> None:
        nodes = Coroutines(lambda *_: None, error_result)
        futures: list[Future[Any]] = [Future() for _ in range(100)]
        for number, future in enumerate(futures):
            nodes.start(str(number), give(str(number), future))
        finishing = asyncio.ensure_future(nodes.finish())
        while not all(step.future for step in nodes._running.values()):
            await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        loop.woken = 0
        thread = threading.Thread(target=lambda: [future.set_result(1) for future in futures])
        thread.start()
        thread.join()  # blocks the loop on purpose
        await finishing
        assert loop.woken == 1

    run(work)


def test_results_come_from_any_thread_and_none_is_lost():
    seen: list[str] = []

    async def work() -> None:
        nodes = Coroutines(lambda node_id, _: seen.append(node_id), error_result)
        with ThreadPoolExecutor(8) as threads:
            for number in range(2000):
                both = (threads.submit(int), threads.submit(int))
                nodes.start(str(number), give(str(number), *both))
            await nodes.finish()

    run(work)
    assert sorted(seen, key=int) == [str(number) for number in range(2000)]


@pytest.mark.parametrize("problem", [ValueError("no"), asyncio.CancelledError(), GeneratorExit()])
def test_whatever_a_coroutine_raises_is_its_nodes_failure(problem):
    seen: list[NodeResult] = []

    async def fail() -> NodeResult:
        raise problem

    async def work() -> None:
        nodes = Coroutines(lambda _, found: seen.append(found), error_result)
        nodes.start("it", fail())
        await nodes.finish()

    run(work)
    assert [(found["status"], found.get("exception")) for found in seen] == [("error", problem)]


@pytest.mark.parametrize("problem", [ValueError("no"), asyncio.CancelledError()])
def test_what_ended_raises_is_raised_to_whoever_waits(problem):
    def ended(*_: Any) -> None:
        raise problem

    async def work() -> None:
        nodes = Coroutines(ended, error_result)
        nodes.start("it", give("it"))
        with pytest.raises(type(problem)):
            await nodes.finish()
        nodes.close()

    run(work)


def test_the_caller_lends_its_context():
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")
    seen: list[str] = []

    async def work() -> None:
        name.set("caller's")
        nodes = Coroutines(lambda *_: seen.append(name.get()), error_result)
        future: Future[int] = Future()
        nodes.start("now", give("now", future))
        nodes.start_later("later", 0.01, lambda: nodes.start("later", give("later")))
        thread = threading.Thread(target=future.set_result, args=(1,))
        thread.start()
        await nodes.finish()
        thread.join()

    run(work)
    assert seen == ["caller's", "caller's"]


def test_closing_gives_up_what_runs_what_waits_and_what_has_not_begun():
    seen: list[str] = []
    future: Future[int] = Future()

    async def work() -> None:
        nodes = Coroutines(lambda node_id, _: seen.append(node_id), error_result)
        nodes.start("runs", give("runs", future))
        nodes.start_later("waits", 3600, lambda: seen.append("waits"))
        finishing = asyncio.ensure_future(nodes.finish())
        while nodes._running["runs"].future is None:
            await asyncio.sleep(0)
        nodes.start("has not begun", give("has not begun"))
        nodes.close()
        finishing.cancel()

    run(work)
    assert future.cancelled()
    assert seen == []


def test_a_future_that_nobody_waits_for_any_more_is_cancelled():
    async def work() -> None:
        nodes = Coroutines(lambda *_: None, error_result)
        nodes.start("it", give("it", future))
        finishing = asyncio.ensure_future(nodes.finish())
        while nodes._running["it"].future is None:
            await asyncio.sleep(0)
        finishing.cancel()
        nodes.close()

    future: Future[int] = Future()
    run(work)
    assert future.cancelled()


def test_dropping_what_waits_ends_the_wait():
    async def work() -> None:
        dropped: list[bool] = []
        nodes = Coroutines(
            lambda *_: dropped.extend((nodes.drop_later("waits"), nodes.drop_later("it"))),
            error_result,
        )
        nodes.start_later("waits", 3600, lambda: pytest.fail("it was dropped"))
        nodes.start("it", give("it"))
        await nodes.finish()
        assert dropped == [True, False]

    run(work)


def test_nothing_to_run_is_finished_at_once():
    async def work() -> None:
        await Coroutines(lambda *_: None, error_result).finish()

    run(work)


def test_a_cancelled_future_is_its_nodes_failure():
    seen: list[NodeResult] = []

    async def work() -> None:
        future: Future[int] = Future()
        nodes = Coroutines(lambda _, found: seen.append(found), error_result)
        nodes.start("it", give("it", future))
        finishing = asyncio.ensure_future(nodes.finish())
        while nodes._running["it"].future is None:
            await asyncio.sleep(0)
        future.cancel()
        await finishing

    run(work)
    assert isinstance(seen[0].get("exception"), CancelledError)


def test_what_a_node_gave_is_freed_without_waiting_for_the_garbage_collector():
    class Value:
        pass

    freed: list[bool] = []

    async def work() -> None:
        def ended(node_id: str, found: NodeResult) -> None:
            if node_id == "makes":
                values.append(weakref.ref(found["outputs"]["value"][0]))
                nodes.start("next", give("next"))
            else:
                freed.append(values[0]() is None)

        values: list[weakref.ref[Value]] = []
        nodes = Coroutines(ended, error_result)
        future: Future[Value] = Future()
        nodes.start("makes", give("makes", future))
        finishing = asyncio.ensure_future(nodes.finish())
        while nodes._running["makes"].future is None:
            await asyncio.sleep(0)
        future.set_result(Value())
        del future
        await finishing

    gc.disable()
    try:
        run(work)
    finally:
        gc.enable()
    assert freed == [True]
