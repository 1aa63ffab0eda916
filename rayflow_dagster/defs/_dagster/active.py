"""Dagster's books of a run that a ``FlowMachine`` decides."""

import time
from collections.abc import Mapping
from typing import Any

from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState


class FlowActiveExecution(ActiveExecution):
    """Dagster's books of a run: what is in flight, and what a pool, a tag's limit or the time of a
    retry holds back. What is ready, skipped and given up it is told.

    What Dagster calls in flight may still wait for its worker; ``begin`` says that it does not.

    Args:
        rank: by step key, what comes first of the steps that are ready.
    """

    def __init__(
        self, execution_plan: ExecutionPlan, *, rank: Mapping[str, Any], **options: Any
    ) -> None:
        self._begun: set[str] = set()
        # The plan works these out for all steps each time it is asked.
        self._sources = execution_plan.get_executable_step_deps()
        self._known_state: KnownExecutionState | None = None
        super().__init__(execution_plan, sort_key_fn=lambda step: rank[step.key], **options)

    def _update(self) -> None:
        """Dagster's works out from its plan what is ready; here the machine says it."""

    def make_ready(self, step_key: str) -> None:
        """A step may start, as soon as its pool and its tags' limits let it."""
        self._pending.pop(step_key, None)
        self._executable.append(step_key)

    def begin(self, step_key: str) -> None:
        """A step in flight starts now."""
        self._begun.add(step_key)

    def take_back(self, step_key: str) -> None:
        """A step in flight has not begun after all."""
        self._begun.discard(step_key)

    def skip(self, step_key: str) -> None:
        """Settle a step that has not started as skipped; the caller logs the event."""
        del self._pending[step_key]
        self._in_flight.add(step_key)
        self.mark_skipped(step_key)

    def drop(self, step_key: str) -> bool:
        """Take back that a step is ready, or is to be tried again; False if it is not, because it
        has begun.
        """
        if step_key in self._executable:
            self._executable.remove(step_key)
        elif step_key in self._in_flight - self._begun:
            self._in_flight.remove(step_key)
        elif self._waiting_to_retry.pop(step_key, None) is None:
            return False
        self._pending[step_key] = self._sources[step_key]
        if self._instance_concurrency_context is not None:
            self._instance_concurrency_context.free_step(step_key)
            # Gives up what is waited for in pools; with such a claim no plan is complete.
            self._instance_concurrency_context.__exit__(None, None, None)
        return True

    def abandon_unstarted(self) -> None:
        """Give up every step that was not settled, without an event, so that a re-execution from
        failure runs it: Dagster never runs again what is recorded as skipped.
        """
        keys = [*self._pending]
        self._pending.clear()
        self._in_flight.update(keys)
        for key in keys:
            self.mark_abandoned(key)

    def due(self) -> list[str]:
        """The steps whose time to be tried again has come, each once."""
        now = time.time()
        keys = [key for key, at_time in self._waiting_to_retry.items() if at_time <= now]
        for key in keys:
            del self._waiting_to_retry[key]
        return keys

    def mark_up_for_retry(self, step_key: str, at_time: float | None = None) -> None:
        super().mark_up_for_retry(step_key, at_time or time.time())
        self._known_state = None

    def _mark_complete(self, step_key: str) -> None:
        super()._mark_complete(step_key)
        self._begun.discard(step_key)

    def get_known_state(self) -> KnownExecutionState:
        """Dagster's, made anew only after a retry: it has the live set of outputs that are there,
        and to make it checks every one of them.
        """
        if self._known_state is None:
            self._known_state = super().get_known_state()
        return self._known_state
