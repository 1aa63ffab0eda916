"""Which nodes can run, and which values can come, in one and the same run."""

import pytest
from drawing import draw, node
from shapes import SHAPES, fixture_names, load_fixture

from rayflow_dagster.compiler.rules.conditions import FALSE
from rayflow_dagster.compiler.rules.liveness import Liveness
from rayflow_dagster.compiler.validator import FlowValidator


class Runs:
    """Asks a flow's liveness by node id."""

    def __init__(self, flow, loader):
        self.flow = FlowValidator(loader).resolve(flow)
        self.live = Liveness.of(self.flow)

    def together(self, one: str, two: str) -> bool:
        return self.live.conditions.both(self.live.runs[one], self.live.runs[two]) != FALSE

    def whenever(self, one: str, two: str) -> bool:
        """Whether ``two`` runs in every run in which ``one`` does."""
        return self.live.conditions.without(self.live.runs[one], self.live.runs[two]) == FALSE

    def can_merge(self, target: str) -> bool:
        first, *others = [self.live.present(edge) for edge in self.flow.data_into(target)]
        return all(self.live.conditions.both(first, other) == FALSE for other in others)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_completed_together_can_run_together(shape, loader):
    runs = Runs(shape.flow, loader)
    done = [node_id for node_id, status in shape.statuses.items() if status == "completed"]
    together = 1
    for node_id in done:
        together = runs.live.conditions.both(together, runs.live.runs[node_id])
    assert together != 0


@pytest.mark.parametrize("name", fixture_names())
def test_every_node_of_a_fixture_can_run(name, loader):
    runs = Runs(load_fixture(name), loader)
    assert all(runs.together(node_id, node_id) for node_id in runs.flow.nodes)
    assert set(runs.flow.order) == set(runs.flow.nodes)


def test_the_sides_of_a_branch_exclude_each_other_and_the_join_always_runs(loader):
    runs = Runs(load_fixture("branch_join"), loader)
    assert not runs.together("yes", "no")
    assert runs.whenever("start", "join")
    assert not runs.whenever("start", "yes")


def test_nested_branches_merge(loader):
    runs = Runs(load_fixture("nested_branch"), loader)
    assert runs.can_merge("inner_join")
    assert runs.can_merge("outer_join")
    assert not runs.together("both", "not_outer")
    assert runs.whenever("inner_join", "outer")
    assert runs.whenever("outer", "outer_join")


def test_both_exec_outputs_of_a_node_that_may_name_several_can_fire(loader):
    runs = Runs(load_fixture("several_exec_outputs"), loader)
    assert runs.together("left", "right")
    assert not runs.whenever("choose", "join")  # neither may fire


def test_that_one_output_fires_is_read_from_the_source(loader):
    runs = Runs(load_fixture("two_returns"), loader)
    assert not runs.together("low", "return_high")


def test_a_handled_error_excludes_the_normal_way(loader):
    runs = Runs(load_fixture("handled_error_join"), loader)
    assert runs.can_merge("join")
    assert runs.whenever("start", "join")
    assert not runs.whenever("fragile", "instead")


def test_the_same_condition_at_two_branches_is_not_known_to_be_the_same(loader):
    flow = draw(
        {"s": node("start", inputs={"f": "bool"}), "b": "logic.branch", "c": "logic.branch",
         "x": "constant", "y": "constant", "r": "return"},
        "s > b, s > c, s.f - b.condition, s.f - c.condition, b.true > x, c.false > y, x > r, y > r,"
        "x.value - r.value, y.value - r.value",
    )  # fmt: skip
    assert not Runs(flow, loader).can_merge("r")


def test_a_data_driven_node_runs_when_its_values_come(loader):
    runs = Runs(load_fixture("data_driven_skip"), loader)
    assert runs.whenever("sum", "source")
    assert runs.whenever("source", "sum")
    assert runs.whenever("start", "collect")
    assert not runs.whenever("start", "sum")


def test_a_merge_through_data_driven_nodes_is_proven(loader):
    flow = draw(
        {"s": node("start", inputs={"f": "bool"}), "b": "logic.branch", "x": "constant",
         "y": "constant", "px": "identity", "py": "identity", "join": "identity", "r": "return"},
        "s > b, s.f - b.condition, b.true > x, b.false > y, x > r, y > r, x.value - px.value,"
        "y.value - py.value, px.value - join.value, py.value - join.value, join.value - r.value",
    )  # fmt: skip
    assert Runs(flow, loader).can_merge("join")
    assert FlowValidator(loader).validate(flow) == (True, [])


def test_a_data_output_that_the_class_itself_calls_error_comes_where_the_node_succeeds(loader):
    flow = draw(
        {"s": node("start", inputs={"f": "bool"}), "x": "own_error", "r": "return", "e": "return"},
        "s > x, s.f - x.fail, x > r, x.error > e, x.error - r.error, x.error - e.error",
    )
    runs = Runs(flow, loader)
    (good,), (failed,) = runs.flow.data_into("r"), runs.flow.data_into("e")
    assert runs.live.conditions.without(runs.live.runs["r"], runs.live.present(good)) == FALSE
    assert runs.live.conditions.without(runs.live.runs["e"], runs.live.present(failed)) != FALSE
    _, errors = FlowValidator(loader).validate(flow)
    assert "node 'e' input 'error'" in errors[0]


def test_liveness_of_a_flow_without_branches_is_certain(loader):
    live = Liveness.of(FlowValidator(loader).resolve(load_fixture("diamond")))
    assert set(live.runs.values()) == {1}
