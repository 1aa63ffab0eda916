"""Which request gets which worker: decided without Ray."""

import pytest

from rayflow_dagster.actors.lease import Lease, Step, Worker
from rayflow_dagster.actors.requests import NodeSpec, Request


def request(**ray_options: float) -> Request:
    metadata = {"outputs": {}}
    node = {"class_path": "n", "constants": {}, "metadata": metadata, "ray_options": ray_options}
    return Request(NodeSpec.of("n", node), {}, None)  # type: ignore[arg-type]


def steps(lease: Lease) -> list[Step]:
    found = []
    while (step := lease.next_step()) is not None:
        found.append(step)
    return found


def with_idle(slots: int, idle: int) -> Lease:
    workers = [Worker(is_up=True) for _ in range(idle)]
    return Lease(slots, list(workers), list(workers))


def test_an_idle_worker_is_taken_at_once_and_otherwise_the_request_waits():
    lease, [one, two] = with_idle(2, 1), [request(), request()]
    assert lease.take(one) is lease.workers[0]
    assert lease.take(two) is None
    assert lease.release(lease.workers[0]) is two
    assert lease.release(lease.workers[0]) is None
    assert lease.idle == lease.workers


def test_nobody_overtakes_the_queue():
    lease, own = with_idle(1, 0), request(num_cpus=1)
    lease.workers = [Worker(is_up=True)]
    lease.take(own)
    lease.idle = list(lease.workers)
    assert lease.take(request()) is None


@pytest.mark.parametrize(("slots", "at_once"), [(1, 1), (2, 2), (8, 2), (64, 16)])
def test_workers_start_few_at_a_time_and_never_more_than_the_slots(slots, at_once):
    lease = Lease(slots)
    for _ in range(100):
        lease.take(request())
    assert len(steps(lease)) == at_once
    while waiting := [worker for worker in lease.workers if not worker.is_up]:
        waiting[0].is_up = True
        steps(lease)
    assert len(lease.workers) == slots


def test_workers_start_before_anything_is_asked_as_many_as_wanted():
    lease = Lease(8, early=3)
    assert [step.do for step in steps(lease)] == ["start", "start"]
    lease.workers[0].is_up = True
    lease.idle.append(lease.workers[0])
    assert [step.do for step in steps(lease)] == ["start"]
    for worker in lease.workers:
        worker.is_up = True
    assert steps(lease) == []


def test_a_node_of_its_own_ends_no_more_idle_workers_than_it_needs():
    lease, own = with_idle(4, 3), request(num_cpus=1)
    lease.take(own)
    assert [step.do for step in steps(lease)] == ["end", "start"]
    assert lease.workers[-1].request is own
    assert len(lease.workers) == 3


def test_a_worker_that_comes_free_while_an_own_actor_starts_is_ended_for_it():
    lease = Lease(2, [Worker(is_up=True)])
    lease.take(request(num_cpus=1))
    assert [step.do for step in steps(lease)] == ["start"]
    lease.release(lease.workers[0])
    assert lease.has_more_to_do
    assert [step.do for step in steps(lease)] == ["end"]


def test_what_was_cancelled_takes_no_worker():
    lease, [gone, next_one] = Lease(1, [Worker(is_up=True)]), [request(), request()]
    lease.take(gone)
    lease.take(next_one)
    gone.future.cancel()
    assert lease.release(lease.workers[0]) is None
    assert [step.request for step in steps(lease)] == [next_one]
