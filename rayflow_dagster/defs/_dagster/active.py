"""Dagster's bookkeeping of a plan, with what flows need beyond it."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.plan.step import ExecutionStep
from dagster._core.storage.tags import PRIORITY_TAG


def _priority(step: ExecutionStep) -> int:
    return int(step.tags.get(PRIORITY_TAG, 0))


class FlowActiveExecution(ActiveExecution):
    """Dagster's bookkeeping of a plan, with a rule and less work.

    What depends on a failed node stays pending: Dagster would record it as skipped if another of
    its sources was skipped, and a step recorded as skipped never runs in a re-execution.

    What Dagster calls in flight may still wait for its worker; ``begin`` says that it does not.

    Of the steps that are ready, the one with the highest priority starts first, and of those with
    the same the one that is drawn first. RETURNs have their turns one after the other, so that no
    other overtakes the first, and none runs after one has succeeded.

    Args:
        drawn: the keys of all steps, in the order of the drawing.
        returns: those of RETURNs.
    """

    def __init__(
        self,
        execution_plan: ExecutionPlan,
        *,
        drawn: Sequence[str],
        returns: frozenset[str],
        **options: Any,
    ) -> None:
        self._returns = returns
        self._for_turn: deque[str] = deque()
        """RETURNs that are ready and whose turn has not come."""
        self._turn: str | None = None
        """The RETURN whose turn it is; it stays that unless it fails for good."""
        self._begun: set[str] = set()
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
        self._begun.discard(step_key)
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
        for step in sorted(map(self.get_step_by_key, self._executable), key=self._sort_key_fn):
            if step.key in self._returns and step.key != self._turn:
                self._executable.remove(step.key)
                self._for_turn.append(step.key)
        if self._for_turn and (self._turn is None or self._has_failed(self._turn)):
            self._turn = self._for_turn.popleft()
            self._executable.append(self._turn)
        return super().get_steps_to_execute(limit)

    def _has_failed(self, key: str) -> bool:
        return key in self._failed or key in self._abandoned

    @property
    def is_complete(self) -> bool:
        return not (self._for_turn and not self._has_returned) and super().is_complete

    @property
    def _has_returned(self) -> bool:
        return self._turn in self._success

    def begin(self, step_key: str) -> None:
        """A step in flight starts now."""
        self._begun.add(step_key)

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
        waiting = self._in_flight - self._begun
        if self._instance_concurrency_context is not None:
            for key in waiting:
                self._instance_concurrency_context.free_step(key)
            # Gives up what is waited for in pools; with such a claim no plan is complete.
            self._instance_concurrency_context.__exit__(None, None, None)
        keys = [*self._pending, *self._executable, *self._for_turn, *self._waiting_to_retry]
        keys += sorted(waiting)
        self._pending.clear()
        self._executable.clear()
        self._waiting_to_retry.clear()
        self._for_turn.clear()
        return keys
