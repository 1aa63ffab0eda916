"""A loop node and its inputs in, what the iterations of its body came to out."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from rayflow_dagster.errors import InvalidInputsError, LimitReachedError, NodeExecutionError
from rayflow_dagster.types import ItemError
from rayflow_dagster.values.preview import preview

from .coroutines import Coroutines
from .executor import error_value
from .iteration import AGAIN, Ended, Iteration, asks_again
from .region import Region, is_of_limit
from .stepping import Done
from .timers import after

MOST_AT_ONCE = 1000
"""The most iterations that one call of a fused body is given."""


class WhileRegion(Region):
    """Runs its body until that does not ask for another iteration."""

    async def _run_body(self) -> tuple[dict[str, Any], list[str]]:
        progress, wait = self._progress, 0.0
        while not progress.over:
            if why := self._limit_reached():
                if not self._spec["exhausted"]:
                    raise NodeExecutionError(self._id, LimitReachedError(why))
                return self._outputs(), ["exhausted"]
            if wait > 0:
                await Done(after(self._wait_at_most(wait)))
            self._check_time()
            began = time.monotonic()
            for number, iteration in enumerate(await self._iterations(self._count), self._count):
                if iteration.error is not None:
                    raise iteration.error
                asked = {AGAIN: asks_again(self._spec, iteration)}
                again = await Done(self._actors.fetch(asked))
                progress.end(number, iteration, is_last=not again[AGAIN])
            self._come(None, "iterations have ended")
            wait = began + self._spec["interval"] - time.monotonic()
        return self._outputs(), ["done"]

    def _limit_reached(self) -> str:
        most = self._spec["max_iterations"]
        if most is not None and self._count >= most:
            return f"stopped after {most} iterations"
        return f"stopped after {self._spec['time_limit']} s" if self._is_out_of_time() else ""

    def _outputs(self) -> dict[str, Any]:
        return {"count": self._count, **self._progress.carried}


class ForEachRegion(Region):
    """Runs its body for each item, several side by side where none hands anything on."""

    async def _run_body(self) -> tuple[dict[str, Any], list[str]]:
        self._items = self._batches()
        self._open = self._progress.missing(len(self._items))
        """The numbers of the items that are still to begin, the first ones last."""
        self._at_once = 1
        """How many items a call of a fused body is given."""
        self._next_start = 0.0
        self._is_over, self._is_late = self._progress.over, False
        """Whether no iteration starts any more, and whether that is for want of time."""
        self._first_failed: tuple[int, NodeExecutionError] | None = None
        self._failed_count = 0
        side_by_side = 1 if self._spec["carry"] else self._actors.width
        self._width = self._spec["parallel"] or side_by_side
        self._running: Coroutines[range, list[Iteration]] = Coroutines(self._ended, _raised)
        try:
            self._fill()
            await self._running.finish()
        finally:
            self._running.close()
        if self._first_failed is not None:
            raise self._first_failed[1]
        if self._is_late:
            limit = f"{self._spec['time_limit']} s, {self._count} of {len(self._items)} items done"
            raise NodeExecutionError(self._id, LimitReachedError(f"stopped after {limit}"))
        return self._outputs(), ["done"]

    def _batches(self) -> Sequence[Any]:
        items, size = self._inputs["items"], self._spec["batch"]
        if not isinstance(items, (list, tuple)):
            raise InvalidInputsError([f"input 'items' takes a list, not {preview(items, 80)}"])
        if size is None:
            return items
        return [items[at : at + size] for at in range(0, len(items), size)]

    def _fill(self) -> None:
        """Begin as many iterations as may be under way."""
        while not self._is_over and len(self._running) < self._width:
            numbers = self._next_numbers()
            if not numbers:
                return
            now = time.monotonic()
            wait = self._next_start - now
            self._next_start = max(self._next_start, now) + self._spec["interval"]
            if wait > 0:
                wait = self._wait_at_most(wait)
                self._running.start_later(numbers, wait, partial(self._start, numbers))
            else:
                self._start(numbers)

    def _next_numbers(self) -> range:
        """The items that are to begin next: one, or what one call of a fused body is given."""
        while self._open and not self._open[-1]:
            self._open.pop()
        if not self._open:
            return range(0)
        count = 1
        if self._spec["fused"] and not self._spec["interval"]:
            share = sum(map(len, self._open)) // (2 * self._width)
            count = max(1, min(self._at_once, share, MOST_AT_ONCE))
        numbers = self._open.pop()
        self._open.append(numbers[count:])
        return numbers[:count]

    def _start(self, numbers: range) -> None:
        self._check_time()
        self._is_late = self._is_late or self._is_out_of_time()
        self._is_over = self._is_over or self._is_late
        if not self._is_over:
            items = [self._items[number] for number in numbers]
            self._running.start(numbers, self._iterations(numbers[0], items))

    def _ended(self, numbers: range, iterations: list[Iteration]) -> None:
        for number, iteration in zip(numbers, iterations, strict=False):
            self._note(number, iteration)
        left = numbers[len(iterations) :]
        if left:
            self._open.append(left)
        self._at_once = max(1, len(iterations) * (1 if left else 2))
        self._come(len(self._items), self._how_fast())
        if self._is_over:
            self._running.drop_waiting()
        self._fill()

    def _note(self, number: int, iteration: Iteration) -> None:
        error, kind = iteration.error, self._spec["on_item_error"]
        self._failed_count += error is not None
        if error is None:
            self._progress.end(number, iteration)
        elif kind != "fail" and not is_of_limit(error):
            value: ItemError = {"index": number, **error_value(self._id, error)}
            self._progress.end(number, iteration, value if kind == "collect" else None)
            self._keep_handled(error, "the loop goes on")
        elif self._first_failed is None or number < self._first_failed[0]:
            self._first_failed = number, error
        self._is_over = self._progress.over or self._first_failed is not None

    def _how_fast(self) -> str:
        seconds = time.monotonic() - self._began
        now = self._count - self._before
        left = seconds / now * (len(self._items) - self._count) if now else 0.0
        failed = f"{self._failed_count} failed, " if self._failed_count else ""
        return f"{failed}{now / seconds:.3g} items/s, about {left:.0f} s left"

    def _outputs(self) -> dict[str, Any]:
        ended = [self._progress.ended[number] for number in sorted(self._progress.ended)]
        errors = [each.error for each in ended if each.error is not None]
        own = {"count": self._count, "errors": errors, **self._progress.carried}
        return own | {name: self._list(name, ended) for name in self._spec["leaves"]}

    def _list(self, name: str, ended: list[Ended]) -> list[Any]:
        """What leaves the body by one output: what came, in the order of the items."""
        if self._spec["aligned"]:
            return [each.brought.get(name) for each in ended]
        return [each.brought[name] for each in ended if name in each.brought]


def _raised(_: range, error: BaseException) -> list[Iteration]:
    raise error
