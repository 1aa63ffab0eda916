"""Which call gets which worker, and when workers start and end: decided here, done by the pool.

Pure bookkeeping, no Ray and no clock: whoever asks says what time it is. How many workers live at
once is Ray's to say: a few more than there are may be asked for, and come up when a slot is free
somewhere. Plain nodes share workers and are served by priority, then in order; a node with options
of its own gets an actor for one execution, and idle workers end where that may stand. Workers that
nobody needs end soon, and one that has served for a while ends where others wait, so that runs
share the slots.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from .calls import ActorCall

IDLE_SECONDS = 1.0
"""How long a worker lives with nothing to do: its slot may be another run's."""
PENDING_SECONDS = 10.0
"""How long a worker that is not up is waited for once nobody needs it."""
SERVING_SECONDS = 3.0
"""How long a worker serves its run while others wait for a slot; a new one takes about half a
second, a tenth of that where a spare process is there."""
MOST_SHOWN = 100
"""How many workers are asked for at once where an autoscaler may add machines for them."""


@dataclass(slots=True, eq=False)
class Worker:
    """A live actor. ``call`` is set for one that was made for one execution of one node.

    ``machine`` is the id of its machine once it is up. ``since``: when it was asked for, came up,
    or last came free.
    """

    handle: Any = None
    coming_up: "Future[Any] | None" = None
    """A future that is done when it is up or can never be; None before it was asked for."""
    is_up: bool = False
    machine: str = ""
    call: ActorCall | None = None
    since: float = 0.0
    up_since: float = 0.0
    owed: float = 0.0
    """CPU slots that idle workers still have to give up for it."""

    @property
    def is_own(self) -> bool:
        return self.call is not None


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next: run ``call`` on ``worker``, start a new ``worker``, or end it."""

    do: str
    worker: Worker
    call: ActorCall | None = None


@dataclass(slots=True)
class Lease:
    """The workers and the queues of one run.

    ``slots``: the cluster's CPUs as last seen. ``early``: workers wanted before the queue asks.
    ``fits``: whether an actor for a call may stand on a machine, by the machine's id.
    """

    slots: float = 0.0
    workers: list[Worker] = field(default_factory=list)
    idle: list[Worker] = field(default_factory=list)
    queue: deque[ActorCall] = field(default_factory=deque)
    own_queue: deque[ActorCall] = field(default_factory=deque)
    early: int = 0
    pending: int = 0
    """How many demands for slots, of all runs, wait in Ray as last seen."""
    autoscales: bool = False
    fits: Callable[[ActorCall, str], bool] = lambda _call, _machine: True
    _spare: list[Worker] = field(default_factory=list)
    """Workers that are to end."""

    @property
    def starts_at_once(self) -> int:
        """How many workers may be starting: on few cores they only delay the first of them."""
        return max(2, int(self.slots) // 4, MOST_SHOWN if self.autoscales else 0)

    def worker_for(self, call: ActorCall) -> Worker | None:
        """An idle worker for ``call``, or None: then it stands in a queue."""
        if call.spec.runs_on == "own":
            self._stand_in(self.own_queue, call)
        elif self.idle and not self.queue:
            return self.idle.pop()
        else:
            self._stand_in(self.queue, call)
        return None

    @staticmethod
    def _stand_in(queue: "deque[ActorCall]", call: ActorCall) -> None:
        """Behind those of the same priority, before those of a lower one."""
        at = len(queue)
        while at and queue[at - 1].spec.priority < call.spec.priority:
            at -= 1
        queue.insert(at, call)

    def came_up(self, worker: Worker, machine: str, now: float) -> None:
        """A worker is up, on the machine with this id."""
        worker.is_up, worker.machine, worker.owed = True, machine, 0.0
        worker.since = worker.up_since = now

    def release(self, worker: Worker, now: float) -> ActorCall | None:
        """A worker has nothing to do any more: the call that it takes up, if one waits."""
        if worker not in self.workers or worker.is_own:
            return None
        worker.since = now
        if self._gives_way(worker, now):
            self._spare.append(worker)
            return None
        self._drop_cancelled(self.queue)
        if self.queue:
            return self.queue.popleft()
        self.idle.append(worker)
        return None

    def _gives_way(self, worker: Worker, now: float) -> bool:
        """Whether a worker that comes free ends, for an own actor or for another run."""
        owner = self._owner_of(worker) if self.pending or not self.queue else None
        if owner is not None:
            owner.owed -= 1
        return owner is not None or (self.others_wait and now - worker.up_since >= SERVING_SECONDS)

    @property
    def others_wait(self) -> bool:
        """Whether another run waits for a slot."""
        return self.pending > sum(not worker.is_up for worker in self.workers)

    def _owner_of(self, worker: Worker) -> Worker | None:
        """The own actor that is still to come up and that the worker's slot is owed to."""
        for own in self.workers:
            if own.owed > 0 and own.call and self.fits(own.call, worker.machine):
                return own
        return None

    @property
    def unserved(self) -> list[ActorCall]:
        """What waits for a worker: in a queue, or for an actor of its own to come up."""
        starting = [own.call for own in self.workers if own.call and not own.is_up]
        return [*self.queue, *self.own_queue, *starting]

    def withdraw(self, call: ActorCall) -> Worker | None:
        """A call waits no more; returns the actor of its own that was coming up, to be ended."""
        for queue in (self.queue, self.own_queue):
            if call in queue:
                queue.remove(call)
        own = next((worker for worker in self.workers if worker.call is call), None)
        if own is not None:
            self.forget(own)
        return own

    @property
    def has_more_to_do(self) -> bool:
        """Whether ``next_step`` may have something, whatever the time."""
        return bool(self.queue or self.own_queue or self._spare)

    def forget(self, worker: Worker) -> None:
        """A worker is gone."""
        for books in (self.idle, self._spare, self.workers):
            if worker in books:
                books.remove(worker)

    def next_step(self, now: float) -> Step | None:
        """What to do now; the books say already that it was done."""
        self._drop_cancelled(self.queue)
        self._drop_cancelled(self.own_queue)
        return (
            self._step_for_own(now)
            or self._ending_step(now)
            or self._running_step()
            or self._starting_step(now)
        )

    @staticmethod
    def _drop_cancelled(queue: "deque[ActorCall]") -> None:
        while queue and queue[0].future.cancelled():
            queue.popleft().future.set_running_or_notify_cancel()

    def _step_for_own(self, now: float) -> Step | None:
        starting = sum(worker.is_own and not worker.is_up for worker in self.workers)
        if not self.own_queue or starting >= self.starts_at_once:
            return None
        call = self.own_queue.popleft()
        return self._start_step(Worker(call=call, since=now, owed=call.spec.cpus))

    def _ending_step(self, now: float) -> Step | None:
        for worker in self._spare:
            return self._end_step(worker)
        for worker in self.idle:
            if self._gives_way(worker, now):
                return self._end_step(worker)
        if self.queue:
            return None
        for worker in self.workers:
            if self._is_unneeded(worker, now):
                return self._end_step(worker)
        return None

    def _is_unneeded(self, worker: Worker, now: float) -> bool:
        if worker in self.idle:
            return now - worker.since >= IDLE_SECONDS
        pending = not worker.is_up and not worker.is_own
        return pending and now - worker.since >= PENDING_SECONDS

    def _running_step(self) -> Step | None:
        if not (self.queue and self.idle):
            return None
        return Step("run", self.idle.pop(), self.queue.popleft())

    def _starting_step(self, now: float) -> Step | None:
        starting = sum(not (worker.is_up or worker.is_own) for worker in self.workers)
        wanted = max(len(self.queue), starting + self.early)
        if starting >= min(self.starts_at_once, wanted):
            return None
        self.early = max(0, self.early - 1)
        return self._start_step(Worker(since=now))

    def _start_step(self, worker: Worker) -> Step:
        self.workers.append(worker)
        return Step("start", worker, worker.call)

    def _end_step(self, worker: Worker) -> Step:
        self.forget(worker)
        return Step("end", worker)
