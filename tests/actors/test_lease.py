"""Which call gets which worker: decided without Ray."""

from dataclasses import replace

import pytest

from rayflow_dagster.actors.calls import ActorCall, NodeSpec
from rayflow_dagster.actors.lease import Lease, Step, Worker


def call(**ray_options: float) -> ActorCall:
    metadata = {"outputs": {}}
    node = {"class_path": "n", "constants": {}, "metadata": metadata, "ray_options": ray_options}
    return ActorCall(NodeSpec.of("n", node), {}, None)  # type: ignore[arg-type]


def steps(lease: Lease, now: float = 0.0) -> list[Step]:
    found = []
    while (step := lease.next_step(now)) is not None:
        found.append(step)
    return found


def done(lease: Lease, now: float = 0.0) -> list[str]:
    return [step.do for step in steps(lease, now)]


def with_idle(count: int) -> Lease:
    workers = [Worker(is_up=True, machine=f"machine {n}") for n in range(count)]
    return Lease(workers=list(workers), idle=list(workers))


def test_an_idle_worker_is_taken_at_once_and_otherwise_the_request_waits():
    lease, [one, two] = with_idle(1), [call(), call()]
    assert lease.worker_for(one) is lease.workers[0]
    assert lease.worker_for(two) is None
    assert lease.release(lease.workers[0], 0.0) is two
    assert lease.release(lease.workers[0], 0.0) is None
    assert lease.idle == lease.workers


def test_a_request_of_a_higher_priority_goes_before_those_that_wait():
    lease = Lease(workers=[Worker(is_up=True)])
    waiting = [replace(call().spec, priority=each) for each in (0, 5, 0, 7, 5, -1)]
    for spec in waiting:
        lease.worker_for(ActorCall(spec, {}, None))
    served = [lease.release(lease.workers[0], 0.0) for _ in waiting]
    assert [each and each.spec for each in served] == [waiting[at] for at in (3, 1, 4, 0, 2, 5)]


def test_nobody_overtakes_the_queue():
    lease = Lease()
    lease.worker_for(call())
    lease.idle = lease.workers = [Worker(is_up=True)]
    assert lease.worker_for(call()) is None


@pytest.mark.parametrize(("slots", "at_once"), [(1, 2), (2, 2), (8, 2), (64, 16)])
def test_workers_start_few_at_a_time_and_one_for_each_request_at_most(slots, at_once):
    lease = Lease(slots)
    for _ in range(100):
        lease.worker_for(call())
    assert done(lease) == ["start"] * at_once
    while waiting := [worker for worker in lease.workers if not worker.is_up]:
        lease.came_up(waiting[0], "here", 0.0)
        lease.release(waiting[0], 0.0)
        steps(lease)
    assert len(lease.workers) == 100


def test_an_autoscaler_is_shown_all_that_is_wanted():
    lease = Lease(slots=2, autoscales=True)
    for _ in range(40):
        lease.worker_for(call())
    assert done(lease) == ["start"] * 40


def test_workers_start_before_anything_is_asked_as_many_as_wanted():
    lease = Lease(8, early=3)
    assert done(lease) == ["start", "start"]
    lease.came_up(lease.workers[0], "here", 0.0)
    lease.release(lease.workers[0], 0.0)
    assert done(lease) == ["start"]
    for worker in lease.workers:
        worker.is_up = True
    assert steps(lease) == []


def test_a_node_of_its_own_ends_no_more_idle_workers_than_it_needs():
    lease, own = with_idle(3), call(num_cpus=1)
    lease.worker_for(own)
    assert done(lease) == ["start", "end"]
    assert lease.workers[-1].call is own
    assert len(lease.workers) == 3


def test_idle_workers_end_where_the_own_actor_may_stand():
    lease = with_idle(3)
    lease.fits = lambda _request, machine: machine == "machine 1"
    lease.worker_for(call(num_cpus=2))
    assert [step.worker.machine for step in steps(lease)] == ["", "machine 1"]
    assert [worker.machine for worker in lease.idle] == ["machine 0", "machine 2"]
    lease.came_up(lease.workers[-1], "machine 1", 0.0)
    lease.idle.append(Worker(is_up=True, machine="machine 1"))
    assert steps(lease) == []


def test_a_worker_that_comes_free_ends_for_an_own_actor_though_others_wait_in_the_queue():
    lease = Lease(2, [Worker(is_up=True)])
    lease.worker_for(call(num_cpus=1))
    assert done(lease) == ["start"]
    lease.worker_for(call())
    lease.pending = 1
    assert lease.release(lease.workers[0], 0.0) is None
    assert lease.has_more_to_do
    assert done(lease) == ["end", "start"]


def test_an_own_actor_does_not_hold_up_plain_nodes():
    lease, plain = with_idle(1), call()
    lease.worker_for(call(num_cpus=0, num_gpus=1))
    assert lease.worker_for(plain) is lease.workers[0]


def test_an_idle_worker_ends_after_a_second_and_one_that_nobody_needs_any_more_after_ten():
    lease = with_idle(1)
    lease.early = 1
    assert done(lease) == ["start"]
    assert done(lease, 0.9) == []
    assert done(lease, 1.0) == ["end"]
    assert done(lease, 9.9) == []
    assert done(lease, 10.0) == ["end"]


def test_a_worker_ends_after_its_turn_where_another_run_waits():
    lease = with_idle(0)
    lease.worker_for(call())
    steps(lease)
    [worker] = lease.workers
    lease.came_up(worker, "here", 0.0)
    assert lease.release(worker, 0.0) is not None
    [one, two] = call(), call()
    lease.worker_for(one)
    lease.worker_for(two)
    assert lease.release(worker, 5.0) is one
    lease.pending = 1
    worker.up_since = 4.0
    lease.queue.append(one)
    assert lease.release(worker, 6.9) is two
    assert lease.release(worker, 7.0) is None
    assert done(lease, 7.0) == ["end", "start"]


def test_what_was_cancelled_takes_no_worker():
    lease, [gone, next_one] = Lease(workers=[Worker(is_up=True)]), [call(), call()]
    lease.worker_for(gone)
    lease.worker_for(next_one)
    gone.future.cancel()
    assert lease.release(lease.workers[0], 0.0) is next_one
    assert steps(lease) == []


def test_what_failed_or_was_cancelled_while_it_waited_does_not_begin():
    failed, cancelled, waiting = call(), call(), call()
    failed.future.set_exception(OSError())
    cancelled.future.cancel()
    assert [each.begin() for each in (failed, cancelled, waiting)] == [False, False, True]


def test_what_is_withdrawn_waits_no_more_and_its_own_actor_is_given_out_to_be_ended():
    lease, plain, [own, more] = Lease(2), call(), [call(num_cpus=1), call(num_cpus=1)]
    lease.worker_for(own)
    assert done(lease) == ["start"]
    lease.worker_for(plain)
    lease.worker_for(more)
    assert lease.unserved == [plain, more, own]
    coming_up = lease.workers[0]
    assert [lease.withdraw(each) for each in (plain, own, more)] == [None, coming_up, None]
    assert (lease.unserved, lease.workers) == ([], [])
