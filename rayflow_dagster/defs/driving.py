"""Driving a run: does what the machine says; out come the events of its steps.

Each step in flight is Dagster's own generator of that step's events. It runs until its op waits
for an actor, yields a sentinel, and is parked; when the actor answers, it is resumed. One thread
drives them all, so little of Dagster's has to be thread-safe: what hooks use, which run apart when
their step has ended.
"""

import contextlib
import math
import queue
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

from dagster import DagsterEvent

from rayflow_dagster.engine.deadline import Deadline
from rayflow_dagster.engine.executor import error_result
from rayflow_dagster.engine.machine import (
    Begun,
    Drop,
    Dropped,
    Due,
    End,
    Event,
    Interrupted,
    Outcome,
    Settled,
    Skip,
    Start,
)
from rayflow_dagster.optional import optional
from rayflow_dagster.orchestrator import ACTOR_SECONDS
from rayflow_dagster.types import WAIT_CLASS, NodeResult

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
from .before import handled_before, results_before
from .hooks import run_hooks
from .session import HANDLED_TAG, RunSession
from .step import StepInFlight

POLL_SECONDS = 0.2
"""How often an idle executor looks for a termination signal."""
TELL_SECONDS = 1.5
"""After how long it is told for what steps wait."""
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
        self._steps, self._nodes = session.flow.steps, session.flow.nodes
        self._in_flight: dict[str, StepInFlight] = {}
        self._reserved: dict[str, Future[Any]] = {}
        """Steps that wait for their worker."""
        self._short_since = time.monotonic()
        """When every step had a worker that was to have one; infinity once it is told who waits."""
        self._hooks = Apart("rayflow-hooks", HOOKS_AT_ONCE)
        self._hooked: dict[Future[Any], StepInFlight] = {}
        """Steps that have ended and whose hooks run."""
        self._resumable: queue.SimpleQueue[str | Future[Any] | Deadline] = queue.SimpleQueue()
        """Steps whose actor or worker is there, hooks that have ended, and the run's limit once it
        is over.
        """
        self._unwanted: list[str] = []
        """Steps that the machine wants dropped."""
        self._outcome: Outcome | None = None
        """How the run has ended, once it has."""

    def events(self) -> Iterator[DagsterEvent]:
        """Every event of the run's steps."""
        session = self._session
        with optional("making Dagster faster and its console quieter"):
            cache_resources(self._job)
            quiet_console(self._job)
        yield from self._connect()
        for result in results_before(session.flow, session.instance, session.run):
            session.machine.recall(result)
        with optional("naming the steps whose failures a run before has handled"):
            names = ", ".join(handled_before(session.flow, session.instance, session.run))
            if names:
                session.instance.add_run_tags(session.run.run_id, {HANDLED_TAG: names})
        deadline = session.orchestrator.deadline
        if deadline is not None:
            deadline.watch(lambda: self._resumable.put(deadline))
        try:
            yield from self._tell(Begun())
            while not self._is_done():
                if self._active.check_for_interrupts():
                    yield from self._interrupt()
                yield from self._start_ready()
                yield from self._tell_who_waits()
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
        return self._outcome is not None and not self._hooked

    def _tell(self, event: Event) -> Iterator[DagsterEvent]:
        """Tell the machine of an event, and do what follows."""
        for instruction in self._session.machine.handle(event):
            match instruction:
                case Start(node_id):
                    self._active.make_ready(self._steps[node_id])
                case Skip(result):
                    yield self._skip(result)
                case Drop(node_id):
                    self._unwanted.append(self._steps[node_id])
                case End(outcome):
                    self._outcome = outcome
                # Of a wait, Dagster's books know already: by the event that the step ended with.

    def _skip(self, result: NodeResult) -> DagsterEvent:
        key = self._steps[result["node_id"]]
        context = self._job.for_step(self._active.get_step_by_key(key))
        context.log.info(f"Skipping step {key}: {result['error']}.")
        self._active.skip(key)
        self._session.finished(result["node_id"])
        return DagsterEvent.step_skipped_event(context)

    def _start_ready(self) -> Iterator[DagsterEvent]:
        while True:
            yield from self._drop_unwanted()
            for key in self._active.due():
                yield from self._tell(Due(self._nodes[key]))
            ready = self._active.get_steps_to_execute()
            yield from self._active.concurrency_event_iterator(self._job)
            if not ready:
                return
            for step in ready:
                needs_worker = self._session.needs_worker(step.key)
                start = self._start_with_worker if needs_worker else self._start
                yield from start(step.key)

    def _drop_unwanted(self) -> Iterator[DagsterEvent]:
        """Give up what has not begun of what the machine wants no longer."""
        unwanted, self._unwanted = self._unwanted, []
        for key in unwanted:
            if self._reserved.pop(key, None) is not None:
                self._session.give_back(key)
            node = self._session.flow.flat["nodes"][self._nodes[key]]
            if node["class_path"] == WAIT_CLASS and key in self._in_flight:
                self._give_up(self._in_flight.pop(key))
            if self._active.drop(key):
                yield from self._tell(Dropped(self._nodes[key]))

    def _give_up(self, step: StepInFlight) -> None:
        """End a step at work without an event."""
        step.give_up()
        self._active.take_back(step.key)

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
        wake = partial(self._resumable.put, key)
        self._in_flight[key] = StepInFlight(key, context, step_events(context), logs, closing, wake)
        yield from self._drive(self._in_flight[key])

    def _tell_who_waits(self) -> Iterator[DagsterEvent]:
        """Say for what the steps wait that have no worker, once they have waited for a while."""
        now = time.monotonic()
        if not self._reserved:
            self._short_since = now
        elif now - self._short_since >= TELL_SECONDS:
            self._short_since = math.inf
            keys = list(self._reserved)
            first = keys[0]
            steps = f"Step {first} waits" if len(keys) == 1 else f"{len(keys)} steps wait"
            which = "" if len(keys) == 1 else f", {first} first,"
            text = f"{steps}{which} for a worker: it asks for {self._session.asks_for(first)}"
            yield engine_event(self._job, text, keys)

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
        elif isinstance(key, Deadline):
            yield from self._tell(Interrupted())
        elif key in self._in_flight:
            yield from self._drive(self._in_flight[key])
        elif self._reserved.pop(key, None) is not None:
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
                yield from step.logs.announce()
                if future is not step.waits_for:
                    step.waits_for = future
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
        yield from self._tell(Settled(self._result_of(step), again=step.is_retried))

    def _result_of(self, step: StepInFlight) -> NodeResult:
        """What the node came to: what its op was told, or why the step failed beside that."""
        node_id = self._nodes[step.key]
        result = self._session.results.pop(node_id, None)
        if result is not None and (result["status"] == "error" or step.has_succeeded):
            return result
        return error_result(node_id, RuntimeError(step.told_error()))

    def _close(self, step: StepInFlight, hooks: Iterable[DagsterEvent]) -> Iterator[DagsterEvent]:
        """The last events of a step: of its hooks, and of what was printed."""
        yield from hooks
        step.closing.close()
        yield from step.logs.announce()

    def _interrupt(self) -> Iterator[DagsterEvent]:
        """Terminate: end the actors, fail the steps in flight, start nothing more.

        Raises:
            DagsterExecutionInterruptedError: always, so that Dagster records the run as canceled.
        """
        yield interrupted_event(self._job, list(self._in_flight))
        self._active.mark_interrupted()
        yield from self._tell(Interrupted())
        yield from self._drop_unwanted()
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
        """Fail a run that reached no RETURN, and keep the variables of one that has succeeded."""
        too_long = self._outcome and self._session.orchestrator.too_long(self._outcome)
        if too_long:
            self._active.abandon_unstarted()
            raise too_long
        if self._outcome == "failed":
            self._active.abandon_unstarted()
            return
        if self._outcome == "nowhere" and self._must_return():
            raise self._session.machine.no_return_error()
        kept = self._session.variables.keep()
        if kept:
            yield engine_event(self._job, f"Kept for the next run: {', '.join(kept)}", [])

    def _must_return(self) -> bool:
        """A run of selected steps need not reach a RETURN; a run of all must."""
        graph = self._session.flow.graph
        keys = self._session.run.step_keys_to_execute
        steps = self._session.flow.steps
        return keys is None or any(steps[node_id] in keys for node_id in graph["return_nodes"])
