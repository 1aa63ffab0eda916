"""Dagster's bookkeeping of a plan, with what flows need beyond it."""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any

from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.plan.step import ExecutionStep
from dagster._core.storage.tags import PRIORITY_TAG


class _Waiting:
    """Ready steps that wait until there is room for them: by priority, then as they came."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, step: ExecutionStep) -> None:
        heappush(self._heap, (-_priority(step), next(self._order), step.key))

    @property
    def first(self) -> str:
        return self._heap[0][2]

    def pop(self) -> str:
        return heappop(self._heap)[2]

    def clear(self) -> list[str]:
        keys = [key for _, _, key in self._heap]
        self._heap.clear()
        return keys


def _priority(step: ExecutionStep) -> int:
    return int(step.tags.get(PRIORITY_TAG, 0))


class FlowActiveExecution(ActiveExecution):
    """Dagster's bookkeeping of a plan, with two rules and less work.

    What depends on a failed node stays pending: Dagster would record it as skipped if another of
    its sources was skipped, and a step recorded as skipped never runs in a re-execution.

    A step that needs a worker starts only when one is free for it, so that a step that has
    started really runs, and a failure or RETURN leaves the others unstarted.

    Of the steps that are ready, the one with the highest priority starts first, and of those with
    the same the one that is drawn first. RETURNs run one at a time, so that no other overtakes it,
    and none after one has succeeded.

    Args:
        drawn: the keys of all steps, in the order of the drawing.
        returns: those of RETURNs.
        slots: how many steps can run on workers at the same time; asked when steps may start.
        workers_for: how many of them a step takes; 0 for one that takes none.
    """

    def __init__(
        self,
        execution_plan: ExecutionPlan,
        *,
        drawn: Sequence[str],
        returns: frozenset[str],
        slots: Callable[[], int],
        workers_for: Callable[[str], int],
        **options: Any,
    ) -> None:
        self._slots = slots
        self._workers_for = workers_for
        self._returns = returns
        self._for_worker = _Waiting()
        self._for_return = _Waiting()
        self._on_workers: dict[str, int] = {}
        """Steps in flight that take workers, and how many each."""
        self._fresh: list[str] | None = None
        """Steps that settled since the last look at what they make ready; None before the first."""
        # The plan works these out for all steps each time it is asked.
        self._sources = execution_plan.get_executable_step_deps()
        self._dependents: dict[str, list[str]] = {}
        for key, sources in self._sources.items():
            for source in sources:
                self._dependents.setdefault(source, []).append(key)
        self._known_state: KnownExecutionState | None = None
        place = {key: number for number, key in enumerate(drawn)}

        def rank(step: ExecutionStep) -> Any:
            return -_priority(step), place[step.key]

        super().__init__(execution_plan, sort_key_fn=rank, **options)

    def _should_skip_step(self, step_key: str) -> bool:
        sources = self._sources[step_key]
        if not self._failed.isdisjoint(sources) or not self._abandoned.isdisjoint(sources):
            return False
        return super()._should_skip_step(step_key)

    def _mark_complete(self, step_key: str) -> None:
        super()._mark_complete(step_key)
        self._on_workers.pop(step_key, None)
        if self._fresh is not None:
            self._fresh.append(step_key)

    def mark_up_for_retry(self, step_key: str, at_time: float | None = None) -> None:
        super().mark_up_for_retry(step_key, at_time)
        self._known_state = None

    def _update(self) -> None:
        """Dagster's, but looking only at what a newly settled step may have made ready: it would
        look at every pending step, several times for each that settles.
        """
        if self._fresh is None:
            super()._update()
            self._fresh = []
            return
        if not self._fresh and not self._waiting_to_retry:
            return
        pending = self._pending
        affected = {
            key: pending[key]
            for settled in self._fresh
            for key in (settled, *self._dependents.get(settled, ()))
            if key in pending
        }
        self._fresh.clear()
        self._pending = dict(affected)
        super()._update()
        for key in affected:
            if key not in self._pending:
                del pending[key]
        self._pending = pending

    def get_steps_to_execute(self, limit: int | None = None) -> Sequence[ExecutionStep]:
        self._update()
        ready, self._executable = self._executable, []
        for step in sorted(map(self.get_step_by_key, ready), key=self._sort_key_fn):
            if step.key in self._returns:
                self._for_return.push(step)
            elif self._workers_for(step.key):
                self._for_worker.push(step)
            else:
                self._executable.append(step.key)
        chosen = list(super().get_steps_to_execute(limit))
        held_back = self._executable
        for waiting in (self._for_return, self._for_worker):
            while waiting and not self._is_full() and self._has_room(waiting.first):
                key = waiting.pop()
                self._executable = [key]
                started = super().get_steps_to_execute(limit)
                chosen += started
                if started:
                    self._on_workers[key] = self._workers_for(key)
                held_back += self._executable  # by a limit, which must not keep the others waiting
        self._executable = held_back
        return sorted(chosen, key=self._sort_key_fn)

    def _has_room(self, key: str) -> bool:
        """Of a RETURN, whether no other runs or has run; of another step, whether as many workers
        are free as it takes, or all of them.
        """
        if key in self._returns:
            return not self._has_returned and self._returns.isdisjoint(self._in_flight)
        used = sum(self._on_workers.values())
        return not used or used + self._workers_for(key) <= self._slots()

    def _is_full(self) -> bool:
        return self._max_concurrent is not None and len(self._in_flight) >= self._max_concurrent

    @property
    def is_complete(self) -> bool:
        waits = self._for_worker or (self._for_return and not self._has_returned)
        return not waits and super().is_complete

    @property
    def _has_returned(self) -> bool:
        return not self._returns.isdisjoint(self._success)

    def get_known_state(self) -> KnownExecutionState:
        """Dagster's, made anew only after a retry: it has the live set of outputs that are there,
        and to make it checks every one of them.
        """
        if self._known_state is None:
            self._known_state = super().get_known_state()
        return self._known_state

    def skip_unstarted(self) -> list[ExecutionStep]:
        """Settle every step that has not started as skipped; the caller logs the events."""
        keys = [*self._forget_unstarted(), *self._pending_skip, *self._pending_abandon]
        self._pending_skip.clear()
        self._pending_abandon.clear()
        self._in_flight.update(keys)
        for key in keys:
            self.mark_skipped(key)
        return [self.get_step_by_key(key) for key in keys]

    def abandon_unstarted(self) -> None:
        """Give up every step that has not started, without an event, so that a re-execution from
        failure runs it. Steps whose sources were skipped stay to be settled as skipped.
        """
        keys = self._forget_unstarted()
        self._in_flight.update(keys)
        for key in keys:
            self.mark_abandoned(key)

    def _forget_unstarted(self) -> list[str]:
        keys = [*self._pending, *self._executable, *self._waiting_to_retry]
        keys += [*self._for_worker.clear(), *self._for_return.clear()]
        self._pending.clear()
        self._executable.clear()
        self._waiting_to_retry.clear()
        return keys
