"""Driving a run: from its session and its plan come the events of its steps.

Each step in flight is Dagster's own generator of that step's events. It runs until its op waits
for an actor, yields a sentinel, and is parked; when the actor answers, it is resumed. One thread
drives them all, so little of Dagster's has to be thread-safe: what hooks use, which run apart when
their step has ended.
"""

import contextlib
import queue
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

from dagster import DagsterEvent

from rayflow_dagster.engine.ending import AFTER_RETURN, no_return_error
from rayflow_dagster.engine.planner import ExecutionPlanner, ends_at_return
from rayflow_dagster.errors import FlowFailedError
from rayflow_dagster.optional import optional
from rayflow_dagster.orchestrator import ACTOR_SECONDS

from ._dagster import (
    DagsterExecutionInterruptedError,
    FlowActiveExecution,
    PlanExecutionContext,
    cache_resources,
    capture_step_logs,
    engine_event,
    has_hooks,
    interrupted_event,
    quiet_console,
    step_events,
)
from .apart import Apart
from .hooks import run_hooks
from .session import RunSession
from .step import StepInFlight

POLL_SECONDS = 0.2
"""How often an idle executor looks for a termination signal."""
HOOKS_AT_ONCE = 16
"""Steps whose hooks run at the same time."""


class Drive:
    """One run: starts ready steps, resumes parked ones, and ends the flow where it ends."""

    def __init__(
        self, job_context: PlanExecutionContext, active: FlowActiveExecution, session: RunSession
    ) -> None:
        self._job = job_context
        self._active = active
        self._session = session
        self._in_flight: dict[str, StepInFlight] = {}
        self._reserved: dict[str, Future[Any]] = {}
        """Steps that wait for their worker."""
        self._hooks = Apart("rayflow-hooks", HOOKS_AT_ONCE)
        self._hooked: dict[Future[Any], StepInFlight] = {}
        """Steps that have ended and whose hooks run."""
        self._resumable: queue.SimpleQueue[str | Future[Any]] = queue.SimpleQueue()
        """Steps whose actor or worker is there, and hooks that have ended."""
        self._failed = False
        self._over = False

    def events(self) -> Iterator[DagsterEvent]:
        """Every event of the run's steps."""
        with optional("making Dagster faster and its console quieter"):
            cache_resources(self._job)
            quiet_console(self._job)
        yield from self._connect()
        try:
            while not self._is_done():
                if self._active.check_for_interrupts():
                    yield from self._interrupt()
                yield from self._start_ready()
                if not self._in_flight and not self._reserved and not self._over:
                    # Giving up a step may settle others, which nobody would come back to.
                    yield from self._settle_unrunnable()
                yield from self._resume_one()
        finally:
            for key in self._reserved:
                self._session.give_back(key)
            self._hooks.drop()
            for step in (*self._in_flight.values(), *self._hooked.values()):
                step.closing.close()
        yield from self._end()

    def _connect(self) -> Iterator[DagsterEvent]:
        """Connect to Ray before the first step, so that no step's duration has it in it."""
        yield engine_event(self._job, "Connecting to Ray", [])
        started = time.monotonic()
        self._session.variables.begin()
        self._session.connect(shares_variables=False)
        self._session.wait_until_up(ACTOR_SECONDS)
        seconds = time.monotonic() - started
        yield engine_event(self._job, f"Connected in {seconds:.1f} s", [])

    def _is_done(self) -> bool:
        busy = self._in_flight or self._hooked
        return not busy and (self._over or self._active.is_complete)

    def _start_ready(self) -> Iterator[DagsterEvent]:
        while not self._over:
            ready = self._active.get_steps_to_execute()
            yield from self._active.concurrency_event_iterator(self._job)
            if not ready:
                return
            for step in ready:
                needs_worker = self._session.needs_worker(step.key)
                start = self._start_with_worker if needs_worker else self._start
                yield from start(step.key)

    def _start_with_worker(self, key: str) -> Iterator[DagsterEvent]:
        """Start a step now if its worker is there, else when it is."""
        worker = self._session.reserve(key)
        if worker.done():
            yield from self._start(key)
        else:
            self._reserved[key] = worker
            self._resume_when_done(key, worker)

    def _start(self, key: str) -> Iterator[DagsterEvent]:
        self._active.begin(key)
        step = self._active.get_step_by_key(key)
        context = self._job.for_step(step, self._active.get_known_state())
        closing = contextlib.ExitStack()
        logs = closing.enter_context(capture_step_logs(self._job, key))
        self._in_flight[key] = StepInFlight(key, context, step_events(context), logs, closing)
        yield from self._drive(self._in_flight[key])

    def _resume_one(self) -> Iterator[DagsterEvent]:
        """Resume a step whose actor answered, or close one whose hooks ended, or wait a moment for
        one.
        """
        if self._is_done():
            return
        try:
            key = self._resumable.get(timeout=self._patience())
        except queue.Empty:
            return
        if isinstance(key, Future):
            events = key.result()
            yield from self._close(self._hooked.pop(key), events)
        elif key in self._in_flight:
            yield from self._drive(self._in_flight[key])
        elif self._reserved.pop(key, None) is not None and not self._over:
            yield from self._start(key)

    def _patience(self) -> float:
        """Seconds until something may be due: a retry, a pool's slot, a signal."""
        due: float = self._active.sleep_interval()  # type: ignore[no-untyped-call]
        return min(due, POLL_SECONDS) if due > 0 else POLL_SECONDS

    def _drive(self, step: StepInFlight) -> Iterator[DagsterEvent]:
        """Run a step until it parks or ends."""
        while True:
            try:
                event = step.advance()
            except DagsterExecutionInterruptedError:  # the signal came while its op was at work
                yield from self._interrupt()
                return
            if event is None:
                yield from self._ended(step)
                return
            future, step.parking.future = step.parking.future, None
            if future is not None:
                self._resume_when_done(step.key, future)
                return
            yield from self._handle(step, event)

    def _resume_when_done(self, key: str, future: "Future[Any]") -> None:
        future.add_done_callback(lambda _: self._resumable.put(key))

    def _handle(self, step: StepInFlight, event: DagsterEvent) -> Iterator[DagsterEvent]:
        step.seen.append(event)
        yield event
        self._active.handle_event(event)
        if event.is_step_success:
            self._session.variables.recorded(step.key)
        step.failed = step.failed or event.event_type_value == "STEP_FAILURE"
        self._failed = self._failed or step.failed

    def _ended(self, step: StepInFlight) -> Iterator[DagsterEvent]:
        del self._in_flight[step.key]
        self._session.give_back(step.key)  # of a step that failed before its node ran
        self._active.verify_complete(self._job, step.key)
        if not has_hooks(step.context):
            yield from self._close(step, ())
        elif step.is_retried:  # the next attempt prints to the same place, and may start any time
            yield from self._close(step, run_hooks(step))
        else:
            hooks = self._hooks.do(partial(run_hooks, step))
            self._hooked[hooks] = step
            hooks.add_done_callback(self._resumable.put)
        self._over = self._over or self._ends_flow(step)
        if not self._over:
            yield from self._settle_unrunnable()

    def _close(self, step: StepInFlight, hooks: Iterable[DagsterEvent]) -> Iterator[DagsterEvent]:
        """The last events of a step: of its hooks, and of what was printed."""
        yield from hooks
        step.closing.close()
        yield from step.logs.announce()

    def _settle_unrunnable(self) -> Iterator[DagsterEvent]:
        """Settle as skipped, or give up, what can never run."""
        for event in self._active.plan_events_iterator(self._job):
            if event.is_step_skipped and event.step_key:
                self._session.finished(self._session.flow.nodes[event.step_key])
            yield event

    def _ends_flow(self, step: StepInFlight) -> bool:
        """Whether nothing new may start: a RETURN that ends it was reached, or a failure that stops
        it.
        """
        graph = self._session.flow.graph
        if self._session.returned is not None and ends_at_return(graph):
            return True
        return step.failed and graph.get("on_error", "stop") == "stop"

    def _interrupt(self) -> Iterator[DagsterEvent]:
        """Terminate: end the actors, fail the steps in flight, start nothing more.

        Raises:
            DagsterExecutionInterruptedError: always, so that Dagster records the run as canceled.
        """
        yield interrupted_event(self._job, list(self._in_flight))
        self._active.mark_interrupted()
        self._session.kill_actors()
        for step in list(self._in_flight.values()):
            event = step.interrupt()
            if event is not None:
                yield from self._handle(step, event)
            del self._in_flight[step.key]
            step.closing.close()
        self._active.abandon_unstarted()
        raise DagsterExecutionInterruptedError("the run was terminated")

    def _end(self) -> Iterator[DagsterEvent]:
        """Settle what has not started, fail a run that reached no RETURN, and keep the variables of
        one that has succeeded.
        """
        session = self._session
        if self._failed:
            self._active.abandon_unstarted()
            yield from self._settle_unrunnable()
            return
        if session.returned is not None:
            for step in self._active.skip_unstarted():
                context = self._job.for_step(step)
                context.log.info(f"Skipping step {step.key}: {AFTER_RETURN}.")
                yield DagsterEvent.step_skipped_event(context)
        elif self._must_return():
            raise self._no_return()
        kept = session.variables.keep()
        if kept:
            yield engine_event(self._job, f"Kept for the next run: {', '.join(kept)}", [])

    def _must_return(self) -> bool:
        """A run of selected steps need not reach a RETURN; a run of all must."""
        graph = self._session.flow.graph
        keys = self._session.run.step_keys_to_execute
        steps = self._session.flow.steps
        return keys is None or any(steps[node_id] in keys for node_id in graph["return_nodes"])

    def _no_return(self) -> FlowFailedError:
        session = self._session
        state = session.state({})
        for node_id, result in session.results.items():
            state["node_states"][node_id]["result"] = result
        graph = session.flow.graph
        return no_return_error(graph, ExecutionPlanner(graph), state)
