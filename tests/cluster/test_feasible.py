"""What can run nowhere since machines have left: decided without Ray."""

from rayflow_dagster.cluster.feasible import GRACE_SECONDS, Machines, Stranded

ONE = {"num_cpus": 1}
SPECIAL = {"num_cpus": 0, "resources": {"special": 1}}
BOTH = Machines({"a": {"CPU": 2.0}, "b": {"CPU": 2.0, "special": 1.0}})
LEFT = Machines({"a": {"CPU": 2.0}})


def test_what_no_machine_can_run_any_more_is_given_up_after_a_while_and_nothing_else():
    stranded, waiting = Stranded(), {"plain": ONE, "special": SPECIAL}
    assert stranded.look(waiting, BOTH, 0.0) == []
    assert stranded.look(waiting, LEFT, 100.0) == []
    assert stranded.look(waiting, LEFT, 99.0 + GRACE_SECONDS) == []
    assert stranded.look(waiting, LEFT, 100.0 + GRACE_SECONDS) == ["special"]


def test_a_machine_that_comes_back_begins_the_wait_anew():
    stranded = Stranded()
    stranded.look({"special": SPECIAL}, LEFT, 0.0)
    stranded.look({"special": SPECIAL}, BOTH, 1.0)
    assert stranded.look({"special": SPECIAL}, LEFT, 1.0 + GRACE_SECONDS) == []


def test_where_an_autoscaler_may_bring_the_machine_nothing_is_given_up():
    stranded, grows = Stranded(), Machines(LEFT.by_id, autoscales=True)
    for now in (0.0, 10 * GRACE_SECONDS):
        assert stranded.look({"special": SPECIAL}, grows, now) == []
