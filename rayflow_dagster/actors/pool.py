"""``WorkerPool``: does what ``Lease`` decides.

An execution for which an idle worker is there is sent to it by whoever asks, and the next by
Ray's thread that brings the answer: no other thread takes part. Workers are started and ended on
the pool's thread, since ``ray.kill`` never returns on Ray's own; and never under the lock, which
Ray's threads take.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import ray
from ray.actor import ActorHandle

from rayflow_dagster.errors import ClusterError, NodeExecutionError, describe
from rayflow_dagster.runner import NodeReply

from .answers import call, fail, not_started, settle
from .cluster import cluster_resources
from .hand import Hand
from .lease import Lease, Step, Worker
from .requests import Request

Handle = ActorHandle[Any]
NewActor = Callable[[Mapping[str, Any]], Handle]
"""Starts an actor with Ray's options."""


class WorkerPool:
    """The workers of one run, and the executions that wait for one.

    Args:
        new_actor: starts a worker.
        hand: the thread that starts and ends actors.
        running: the futures of all executions that are on an actor.
        slots: how many workers may live at once; by default the cluster's CPUs.
    """

    def __init__(
        self,
        new_actor: NewActor,
        hand: Hand,
        running: "set[Future[NodeReply]]",
        slots: int | None = None,
    ) -> None:
        self._new_actor = new_actor
        self._hand = hand
        self._running = running
        self._lock = threading.Lock()
        self._lease = Lease(slots or 0)
        self._closed: BaseException | None = None
        self._first: Future[None] = Future()

    @property
    def slots(self) -> int:
        """How many workers may live at once."""
        self._learn_slots()
        return self._lease.slots

    def _learn_slots(self) -> None:
        if not self._lease.slots:
            self._lease.slots = max(1, int(cluster_resources().get("CPU", 1)))

    def run(self, request: Request) -> None:
        """Run it on a worker, now or when one is free."""
        with self._lock:
            closed = self._closed
            worker = self._lease.take(request) if closed is None else None
        if closed is not None:
            fail(request.future, closed)
        elif worker is not None:
            self._submit(worker, request)
        else:
            self._hand.do(self._pump)

    def start_early(self, count: int) -> "Future[None]":
        """Start so many workers, as far as there are slots, before anything is asked of them.

        The future is done when the first of them is up, or could not be started.
        """
        with self._lock:
            self._lease.early = count
        self._hand.do(self._pump)
        return self._first

    def fail_all(self, error: BaseException) -> None:
        """Whatever waits for a worker fails with ``error``, and so does what comes later."""
        with self._lock:
            self._closed = self._closed or error
            self._settle_first()
            waiting = [request.future for request in self._lease.queue]
            self._lease.queue.clear()
        for future in waiting:
            fail(future, error)

    def close(self, error: BaseException) -> None:
        """End all workers; what waits fails with ``error``. On the pool's thread."""
        self.fail_all(error)
        with self._lock:
            handles = [worker.handle for worker in self._lease.workers]
            self._lease.workers.clear()
            self._lease.idle.clear()
        for handle in handles:
            end(handle)

    @property
    def size(self) -> int:
        """How many workers are live or starting."""
        return len(self._lease.workers)

    # On the pool's thread.

    def _pump(self) -> None:
        """Do what is to be done; if Ray itself fails us, so does all that waits."""
        try:
            self._learn_slots()
            for step in self._steps():
                self._do(step)
        except Exception as error:
            problem = ClusterError(f"Ray could not be asked for an actor: {describe(error)}")
            with self._lock:
                self._settle_first()
                waiting = list(self._lease.queue)
                self._lease.queue.clear()
            for request in waiting:
                fail(request.future, problem)

    def _steps(self) -> Iterator[Step]:
        while True:
            with self._lock:
                step = None if self._closed else self._lease.next_step()
            if step is None:
                return
            yield step

    def _do(self, step: Step) -> None:
        if step.do == "end":
            end(step.worker.handle)
        elif step.do == "start":
            self._start(step.worker)
        elif step.request is not None:
            self._submit(step.worker, step.request)

    def _start(self, worker: Worker) -> None:
        request = worker.request
        try:
            options = request.spec.ray_options if request is not None else {}
            worker.handle = self._new_actor({"num_cpus": 1, **options})
        except Exception as error:
            with self._lock:
                self._lease.forget(worker)
            if request is None:
                raise
            fail(request.future, NodeExecutionError(request.node_id, error))  # a wrong option
            return
        ready: Future[Any] = worker.handle.ready.remote().future()
        ready.add_done_callback(
            lambda done: self._hand.do(lambda: self._started(worker, done.exception()))
        )
        if request is not None:
            self._submit(worker, request)

    def _started(self, worker: Worker, error: BaseException | None) -> None:
        with self._lock:
            self._settle_first()
        if worker not in self._lease.workers:
            return
        if error is None:
            worker.is_up = True
            if not worker.is_own:
                self._release(worker)
            self._pump()
        elif not worker.is_own:  # the answer of an own actor's one execution tells of it
            self._drop(worker)
            # With others at work the queue goes on; to start another at once might fail for ever.
            if not any(other.is_up for other in self._lease.workers):
                self._fail_first(error)
                self._pump()

    def _settle_first(self) -> None:
        if not self._first.done():
            self._first.set_result(None)

    def _fail_first(self, error: BaseException) -> None:
        with self._lock:
            self._lease.early = 0
            request = self._lease.queue.popleft() if self._lease.queue else None
        if request is not None:
            fail(request.future, not_started(request.node_id, error))

    def _drop(self, worker: Worker) -> None:
        with self._lock:
            self._lease.forget(worker)
        end(worker.handle)

    def _drop_and_pump(self, worker: Worker) -> None:
        self._drop(worker)
        self._pump()

    # On any thread.

    def _submit(self, worker: Worker, request: Request) -> None:
        """Send one execution to a worker; when it answers, the worker takes up the next."""

        def answered(error: BaseException | None, answer: Any) -> None:
            self._running.discard(request.future)
            if isinstance(error, ray.exceptions.RayActorError) or worker.is_own:
                self._hand.do(lambda: self._drop_and_pump(worker))
            else:
                self._release(worker)
            settle(request, self._hand, error, answer)

        give_up = self._drop_and_pump if worker.is_own else self._release
        if not request.begin():
            self._hand.do(lambda: give_up(worker))
            return
        self._running.add(request.future)
        try:
            call(worker.handle.run, request, on_answer=answered)
        except Exception as error:  # an input that cannot be pickled
            self._running.discard(request.future)
            fail(request.future, NodeExecutionError(request.node_id, error))
            self._hand.do(lambda: give_up(worker))

    def _release(self, worker: Worker) -> None:
        with self._lock:
            request = self._lease.release(worker)
            more = self._lease.has_more_to_do
        if request is None:
            if more or worker.is_own:
                self._hand.do(self._pump)
        elif request.is_light:
            self._submit(worker, request)
        else:  # a large value may wait for room in the object store
            self._hand.do(lambda: self._submit(worker, request))


def end(handle: Handle | None) -> None:
    """End an actor. Not on Ray's own threads."""
    if handle is not None:
        with suppress(Exception):  # the cluster may be gone, and the actor with it
            ray.kill(handle)
