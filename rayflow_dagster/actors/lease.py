"""Which request gets which worker, and when workers start and end: decided here, done by the pool.

Pure bookkeeping, no Ray. One worker is one CPU slot; what is live never exceeds the slots. The
queue is served in order. Idle workers end where a node that needs an actor of its own waits for
their slots, even where this run has slots left: another run may hold those and wait for ours.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from .requests import Request


@dataclass(slots=True, eq=False)
class Worker:
    """A live actor. ``request`` is set for one that was made for one execution of one node."""

    handle: Any = None
    cpus: float = 1.0
    is_up: bool = False
    request: Request | None = None

    @property
    def is_own(self) -> bool:
        return self.request is not None


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next: run ``request`` on ``worker``, start a new ``worker``, or end it."""

    do: str
    worker: Worker
    request: Request | None = None


@dataclass(slots=True)
class Lease:
    """The workers and the queue of one run. ``early``: workers wanted before the queue asks."""

    slots: int
    workers: list[Worker] = field(default_factory=list)
    idle: list[Worker] = field(default_factory=list)
    queue: deque[Request] = field(default_factory=deque)
    early: int = 0
    _given: float = 0.0
    """Slots of idle workers that were given up for the node at the head of the queue."""
    _spare: list[Worker] = field(default_factory=list)
    """Workers that came free while an actor of a node's own was starting."""

    @property
    def starts_at_once(self) -> int:
        """How many workers may be starting: on few cores they only delay the first of them."""
        return max(2, self.slots // 4)

    def take(self, request: Request) -> Worker | None:
        """An idle worker for ``request``, or None: then it stands in the queue."""
        if self.idle and not self.queue and request.spec.place != "own":
            return self.idle.pop()
        self.queue.append(request)
        return None

    def release(self, worker: Worker) -> Request | None:
        """A worker has nothing to do any more: the request that it takes up, if one waits."""
        if worker not in self.workers or worker.is_own:
            return None
        head = self.queue[0] if self.queue else None
        if head is not None and head.spec.place != "own" and not head.future.cancelled():
            return self.queue.popleft()
        if not self.queue and self._own_is_starting:
            self._spare.append(worker)  # that actor may wait for this very slot
        else:
            self.idle.append(worker)
        return None

    @property
    def has_more_to_do(self) -> bool:
        """Whether ``next_step`` may have something."""
        return bool(self.queue or self._spare)

    def forget(self, worker: Worker) -> None:
        """A worker is gone."""
        for books in (self.idle, self._spare, self.workers):
            if worker in books:
                books.remove(worker)

    def next_step(self) -> Step | None:
        """What to do now; the books say already that it was done."""
        self._drop_cancelled()
        if self._spare:
            return self._ending(self._spare.pop())
        head = self.queue[0] if self.queue else None
        if head is not None and head.spec.place == "own":
            return self._step_for_own(head)
        if head is not None and self.idle:
            return Step("run", self.idle.pop(), self.queue.popleft())
        return self._step_for_workers()

    def _drop_cancelled(self) -> None:
        while self.queue and self.queue[0].future.cancelled():
            self.queue.popleft().future.set_running_or_notify_cancel()

    def _step_for_own(self, head: Request) -> Step | None:
        if self.idle and self._given < head.spec.cpus:
            self._given += 1
            return self._ending(self.idle[-1])
        if not self._has_room(head.spec.cpus):
            return None
        self.queue.popleft()
        self._given = 0.0
        return self._starting(Worker(None, head.spec.cpus, request=head))

    def _step_for_workers(self) -> Step | None:
        starting = sum(not (worker.is_up or worker.is_own) for worker in self.workers)
        wanted = max(len(self.queue), starting + self.early)
        if starting >= min(self.starts_at_once, wanted) or not self._has_room(1):
            return None
        self.early = max(0, self.early - 1)
        return self._starting(Worker())

    def _has_room(self, cpus: float) -> bool:
        used = sum(worker.cpus for worker in self.workers)
        return used == 0 or used + cpus <= self.slots

    @property
    def _own_is_starting(self) -> bool:
        return any(worker.is_own and not worker.is_up for worker in self.workers)

    def _starting(self, worker: Worker) -> Step:
        self.workers.append(worker)
        return Step("start", worker, worker.request)

    def _ending(self, worker: Worker) -> Step:
        self.forget(worker)
        return Step("end", worker)
