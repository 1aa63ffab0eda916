"""What authors test their nodes with."""

import asyncio
import copy
from typing import Any

import pytest
from drawing import draw, node
from flow_nodes.append import AppendNode
from flow_nodes.async_identity import AsyncIdentityNode
from flow_nodes.boom import BoomNode
from flow_nodes.choose import ChooseNode
from flow_nodes.count_up import CountUpNode
from odd_nodes.crossing import ChangeNode, MakeNode
from odd_nodes.misbehaving import FailNode, GiveNode
from running import PROJECT, execute
from shapes import load_fixture

from rayflow_dagster import RayflowNode
from rayflow_dagster.errors import OutputError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process, run_node_locally
from rayflow_dagster.values.stored import StoredValue
from rayflow_dagster.variables.store import GlobalVariableStore

CHANGE = "odd_nodes.crossing.ChangeNode"


def test_a_node_runs_with_its_defaults_and_constants():
    assert run_node_locally(AppendNode) == {"text": "!"}
    assert run_node_locally(AppendNode, constants={"SUFFIX": "?"}, text="a") == {"text": "a?"}


def test_exec_next_comes_back_where_a_node_names_its_exec_outputs():
    assert run_node_locally(ChooseNode, which="a") == {"exec_next": "a"}
    assert run_node_locally(ChooseNode, which=["a", "b"]) == {"exec_next": ["a", "b"]}


@pytest.mark.parametrize("inputs", [{}, {"valeu": 1}, {"value": 1, "more": 2}])
def test_unknown_and_missing_inputs_are_refused(inputs):
    with pytest.raises(TypeError, match="unknown or missing inputs"):
        run_node_locally(AsyncIdentityNode, **inputs)


def test_the_nodes_own_exception_is_raised():
    with pytest.raises(ValueError, match="boom: bang"):
        run_node_locally(BoomNode)
    with pytest.raises(SystemExit):
        run_node_locally(FailNode, constants={"HOW": "exit"})


def test_what_does_not_fit_the_declaration_is_refused():
    with pytest.raises(OutputError, match="declared output 'value'"):
        run_node_locally(GiveNode, constants={"WHAT": "missing"})


def test_an_async_node_runs_inside_an_async_test_too():
    async def inside() -> dict[str, Any]:
        return run_node_locally(AsyncIdentityNode, value=1)

    assert asyncio.run(inside()) == run_node_locally(AsyncIdentityNode, value=1) == {"value": 1}


def test_variables_are_plain_values_or_a_shared_store():
    assert run_node_locally(CountUpNode, variables={"counter": 4}) == {"value": 5}
    store = GlobalVariableStore({"counter": 1})
    run_node_locally(CountUpNode, variables=store)
    assert store.get("counter") == 2


def test_a_node_run_locally_shares_nothing_with_its_caller_or_the_next():
    for _ in range(2):
        rows, kept = [1], [1]
        outputs = run_node_locally(ChangeNode, constants={"KEPT": kept}, value=rows)
        assert outputs == {"value": [1, 2], "constant": [1, 1]}
        assert (rows, kept) == ([1], [1])
        assert run_node_locally(ChangeNode, value=None)["constant"] == [1]


def test_a_variable_is_no_way_to_share_a_value():
    class Sharing(RayflowNode):
        def process(self) -> None:
            self.variables.get("rows").append(1)
            self.variables.increment("rows", by=[2]).append(1)
            self.variables.update("rows", lambda rows: rows).append(1)
            rows = [3]
            self.variables.set("rows", rows)
            rows.append(1)

    given = {"rows": [1]}
    store = GlobalVariableStore(given)
    run_node_locally(Sharing, variables=store)
    assert (given, store.get("rows")) == ({"rows": [1]}, [3])


def test_a_node_run_locally_gives_only_what_can_be_sent():
    with pytest.raises(RuntimeError, match=r"an output \(value\) could not be sent"):
        run_node_locally(MakeNode, constants={"WHAT": "lock"})


def test_a_flow_in_this_process_leaves_the_callers_flow_and_inputs_alone():
    flow = draw(
        {
            "start": node("start", inputs={"rows": {"type": "list", "default": [0]}}),
            "given": node(CHANGE),
            "drawn": node(CHANGE, values={"value": [1], "KEPT": [5]}),
            "get": node("variables.get_variable", values={"VARIABLE": "rows"}),
            "return": node("return"),
        },
        "start > given, given > drawn, drawn > get, get > return, start.rows - given.value,"
        "drawn.value - return.drawn, drawn.constant - return.constant, get.value - return.rows,"
        "start.rows - return.given",
    )
    flow["variables"] = {"rows": {"type": "list", "default": [9]}}
    before = copy.deepcopy(flow)
    for _ in range(2):
        outcome = execute(FlowOrchestrator(PROJECT, connect=in_process), flow)
        assert outcome["result"] == {
            "drawn": [1, 2], "constant": [5, 1], "rows": [9], "given": [0]
        }, outcome["error"]  # fmt: skip
        for value in outcome["result"].values():
            value.append("the caller's")
        assert flow == before


def test_the_fake_needs_a_loaded_flow():
    with pytest.raises(ValueError, match="load a flow"):
        in_process(FlowOrchestrator(PROJECT))


def test_the_fake_stores_outputs_and_opens_stored_ones(tmp_path):
    orchestrator = FlowOrchestrator(PROJECT, connect=in_process)
    orchestrator.load(load_fixture("linear"))
    actors = in_process(orchestrator)
    small = actors.dispatch("add", {"x": 1, "y": 2}, str(tmp_path)).result()
    assert (small.outputs, "stored" in small.details) == ({"result": 3}, False)
    large = actors.dispatch("add", {"x": 2**20_000, "y": 1}, str(tmp_path)).result()
    stored = StoredValue(large.details["stored"]["result"])
    assert actors.fetch({**large.outputs, "a": stored, "b": 4}).result() == {
        "result": 2**20_000 + 1, "a": 2**20_000 + 1, "b": 4
    }  # fmt: skip
    actors.cleanup_actors()
