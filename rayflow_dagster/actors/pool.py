"""``WorkerPool``: does what ``Lease`` decides.

An execution for which an idle worker is there is sent to it by whoever asks, and the next by
Ray's thread that brings the answer: no other thread takes part. Workers are started and ended on
the pool's thread, since ``ray.kill`` never returns on Ray's own; and never under the lock, which
Ray's threads take.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

import ray
from ray.actor import ActorHandle

from rayflow_dagster.cluster.feasible import Machines, Stranded, look_around, stranded
from rayflow_dagster.errors import ClusterError, NodeExecutionError, describe

from .answers import Running, fail, lost, not_started, succeed
from .calls import ActorCall, NodeSpec
from .lease import Lease, Step, Worker
from .serial_thread import SerialThread

Handle = ActorHandle[Any]
NewActor = Callable[[Mapping[str, Any]], Handle]
"""Starts an actor with Ray's options."""

COMING_UP_SECONDS = 5.0
"""How long a worker that is not needed any more may take to come up before it is ended."""
LOOK_SECONDS = 0.5
"""How often the pool looks at what the cluster has, and who else waits for it."""


class WorkerPool:
    """The workers of one run, and the executions that wait for one.

    Args:
        new_actor: starts a worker.
        thread: the thread that starts and ends actors.
        running: all executions that are on an actor.
    """

    def __init__(
        self,
        new_actor: NewActor,
        thread: SerialThread,
        running: Running,
    ) -> None:
        self._new_actor = new_actor
        self._thread = thread
        self._running = running
        self._lock = threading.Lock()
        thread.meanwhile = self.pump
        self._machines = Machines()
        self._stranded = Stranded()
        self._looked = float("-inf")
        self._lease = Lease(fits=self._fits)
        self._reserved: dict[str, ActorCall] = {}
        self._closed: BaseException | None = None
        self._first: Future[None] = Future()

    def reserve(self, spec: NodeSpec) -> "Future[Any]":
        """Get a worker for the node, which the next call of it then runs on.

        The future is done when the worker is there, or when there can be none: the call will
        then tell why.
        """
        call = self._reserved[spec.call.node_id] = ActorCall(spec, {}, None, only_reserves=True)
        self._queue(call)
        return call.future

    def give_back(self, node_id: str) -> None:
        """A worker that was reserved for a node is not needed after all."""
        reserved = self._reserved.pop(node_id, None)
        if reserved is None or reserved.future.cancel() or reserved.future.exception():
            return
        self._give_up(reserved.future.result())

    def run(self, call: ActorCall) -> None:
        """Run it on the worker that was reserved for its node, else on any, now or later."""
        reserved = self._reserved.pop(call.node_id, None)
        if reserved is None or reserved.future.cancel():
            self._queue(call)
        elif error := self._closed or reserved.future.exception():
            fail(call.future, error)
        else:
            self._serve(reserved.future.result(), call)

    def _queue(self, call: ActorCall) -> None:
        with self._lock:
            closed = self._closed
            worker = self._lease.worker_for(call) if closed is None else None
        if closed is not None:
            fail(call.future, closed)
        elif worker is not None:
            self._serve(worker, call)
        else:
            self._thread.do(self.pump)

    def start_early(self, count: int) -> "Future[None]":
        """Start so many workers, as far as there are slots, before anything is asked of them.

        The future is done when the first of them is up, or could not be started.
        """
        with self._lock:
            self._lease.early = count
        self._thread.do(self.pump)
        return self._first

    def fail_all(self, error: BaseException) -> None:
        """Whatever waits for a worker fails with ``error``, and so does what comes later."""
        with self._lock:
            self._closed = self._closed or error
        self._fail_unserved(error)

    def _fail_unserved(self, error: BaseException) -> None:
        with self._lock:
            self._settle_first()
            waiting = self._lease.unserved
            self._lease.queue.clear()
            self._lease.own_queue.clear()
        for call in waiting:
            fail(call.future, error)

    def close(self, error: BaseException) -> None:
        """End all workers; what waits fails with ``error``. On the pool's thread."""
        self.fail_all(error)
        with self._lock:
            workers = list(self._lease.workers)
            self._lease.workers.clear()
            self._lease.idle.clear()
        for worker in workers:
            end_worker(worker)

    @property
    def slots(self) -> float:
        """The cluster's CPU slots; looks at the cluster where nobody has yet."""
        if not self._lease.slots:
            machines = look_around()
            if machines is not None:
                with self._lock:
                    self._lease.slots = machines.cpus
        return self._lease.slots

    @property
    def size(self) -> int:
        """How many workers are live or starting."""
        return len(self._lease.workers)

    # On the pool's thread.

    def pump(self) -> None:
        """Do what is to be done; if Ray itself fails us, so does all that waits."""
        try:
            self._look()
            for step in self._steps():
                self._do(step)
        except Exception as error:
            self._fail_unserved(
                ClusterError(f"Ray could not be asked for an actor: {describe(error)}")
            )

    def _look(self) -> None:
        """See what the cluster has now."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS or not (
            self._lease.workers or self._lease.has_more_to_do or self._lease.early
        ):
            return
        self._looked = now
        machines = look_around()
        if machines is None:
            return
        self._machines = machines
        with self._lock:
            self._lease.slots = machines.cpus
            self._lease.autoscales = machines.autoscales
            self._lease.pending = machines.pending
        self._fail_stranded(now)

    def _fail_stranded(self, now: float) -> None:
        """Fail what waits for a machine that has left for good; Ray would wait for ever."""
        with self._lock:
            asked = {call: call.spec.resources for call in self._lease.unserved}
            failed = self._stranded.look(asked, self._machines, now)
            workers = [self._lease.withdraw(call) for call in failed]
        for call, worker in zip(failed, workers, strict=True):
            fail(call.future, stranded(call.node_id, asked[call], self._machines))
            if worker is not None:
                end_worker(worker)

    def _fits(self, call: ActorCall, machine: str) -> bool:
        return self._machines.may_stand(call.spec.resources, machine)

    def _steps(self) -> Iterator[Step]:
        while True:
            with self._lock:
                step = None if self._closed else self._lease.next_step(time.monotonic())
            if step is None:
                return
            yield step

    def _do(self, step: Step) -> None:
        if step.do == "end":
            end_worker(step.worker)
        elif step.do == "start":
            self._start(step.worker)
        elif step.call is not None:
            self._serve(step.worker, step.call)

    def _start(self, worker: Worker) -> None:
        call = worker.call
        try:
            options = call.spec.ray_options if call is not None else {}
            worker.handle = self._new_actor({"num_cpus": 1, **options})
        except Exception as error:
            with self._lock:
                self._lease.forget(worker)
            if call is None:
                raise
            fail(call.future, NodeExecutionError(call.node_id, error))  # a wrong option
            return
        ready: Future[Any] = worker.handle.ready.remote().future()
        worker.coming_up = ready
        ready.add_done_callback(lambda done: self._thread.do(lambda: self._started(worker, done)))

    def _started(self, worker: Worker, done: "Future[Any]") -> None:
        error = done.exception()
        with self._lock:
            self._settle_first()
        if worker not in self._lease.workers:
            return
        if error is None:
            with self._lock:
                self._lease.came_up(worker, done.result(), time.monotonic())
            if worker.call is None:
                self._release(worker)
            else:
                self._serve(worker, worker.call)
            self.pump()
        elif worker.call is not None:
            fail(worker.call.future, lost(worker.call, error))
            self._drop_and_pump(worker)
        else:
            self._drop(worker)
            # With others at work the queue goes on; to start another at once might fail for ever.
            if not any(other.is_up for other in self._lease.workers):
                self._fail_first(error)
                self.pump()

    def _settle_first(self) -> None:
        if not self._first.done():
            self._first.set_result(None)

    def _fail_first(self, error: BaseException) -> None:
        with self._lock:
            self._lease.early = 0
            queue = self._lease.queue
            call = queue.popleft() if queue else None
        if call is not None:
            fail(call.future, not_started(call.node_id, error))

    def _drop(self, worker: Worker) -> None:
        with self._lock:
            self._lease.forget(worker)
        end_worker(worker)

    def _drop_and_pump(self, worker: Worker) -> None:
        self._drop(worker)
        self.pump()

    # On any thread.

    def _serve(self, worker: Worker, call: ActorCall) -> None:
        """Give a worker to whoever reserved it, or send it the execution that waits for it."""
        if not call.begin():
            self._give_up(worker)
        elif call.only_reserves:
            succeed(call.future, worker)
        else:
            self._submit(worker, call)

    def _give_up(self, worker: Worker) -> None:
        """A worker is not needed for what it was got for, or not any more."""
        if worker.is_own:
            self._thread.do(lambda: self._drop_and_pump(worker))
        else:
            self._release(worker)

    def _submit(self, worker: Worker, call: ActorCall) -> None:
        """Send one execution to a worker; when it answers, the worker takes up the next."""

        def then(error: BaseException | None) -> None:
            if isinstance(error, ray.exceptions.RayActorError):
                self._thread.do(lambda: self._drop_and_pump(worker))
            else:
                self._give_up(worker)

        def end_it() -> None:
            self._thread.do(lambda: self._drop_and_pump(worker))

        self._running.send(worker.handle.run, call, end=end_it, then=then)

    def _release(self, worker: Worker) -> None:
        with self._lock:
            call = self._lease.release(worker, time.monotonic())
            more = self._lease.has_more_to_do
        if call is None:
            if more:
                self._thread.do(self.pump)
        elif call.is_light:
            self._serve(worker, call)
        else:  # a large value may wait for room in the object store
            self._thread.do(lambda: self._serve(worker, call))


def end_worker(worker: Worker) -> None:
    """End a worker; one that is still starting as soon as it is up, without waiting for that.

    Ray 2.60 now and then never gives a CPU slot back when its actor was ended while it started.
    """
    coming_up = worker.coming_up
    if coming_up is None or coming_up.done():
        end(worker.handle)
        return

    def end_started() -> None:
        wait([coming_up], COMING_UP_SECONDS)  # one that takes longer most likely waits for a slot
        end(worker.handle)

    threading.Thread(target=end_started, name="rayflow-ending", daemon=True).start()


def end(handle: Handle | None) -> None:
    """End an actor. Not on Ray's own threads.

    Without a connection there is none to end, and ``ray.kill`` would start a Ray of its own.
    """
    if handle is not None and ray.is_initialized():
        with suppress(Exception):  # the cluster may be gone, and the actor with it
            ray.kill(handle)
