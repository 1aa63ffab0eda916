"""What authors test their nodes with."""

import asyncio
from typing import Any

import pytest
from flow_nodes.append import AppendNode
from flow_nodes.async_identity import AsyncIdentityNode
from flow_nodes.boom import BoomNode
from flow_nodes.choose import ChooseNode
from flow_nodes.count_up import CountUpNode
from odd_nodes.misbehaving import FailNode, GiveNode
from running import PROJECT
from shapes import load_fixture

from rayflow_dagster.errors import OutputError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process, run_node_locally
from rayflow_dagster.values import StoredValue
from rayflow_dagster.variables import GlobalVariableStore


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
    assert large.outputs == {"result": 2**20_000 + 1}
    assert actors.fetch({"a": stored, "b": 4}).result() == {"a": 2**20_000 + 1, "b": 4}
    actors.cleanup_actors()
