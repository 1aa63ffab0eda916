import pytest

from rayflow_dagster.errors import VariableError
from rayflow_dagster.nodes.variables.get_variable import GetVariableNode
from rayflow_dagster.nodes.variables.increment_variable import IncrementVariableNode
from rayflow_dagster.nodes.variables.set_variable import SetVariableNode
from rayflow_dagster.testing import run_node_locally

COUNTER = {"VARIABLE": "counter"}


def test_get_reads_the_variable():
    outputs = run_node_locally(GetVariableNode, constants=COUNTER, variables={"counter": 4})
    assert outputs == {"value": 4}


def test_set_passes_the_value_on():
    outputs = run_node_locally(
        SetVariableNode, value=7, constants=COUNTER, variables={"counter": 4}
    )
    assert outputs == {"value": 7}


def test_increment_gives_the_new_value():
    outputs = run_node_locally(
        IncrementVariableNode, constants={**COUNTER, "BY": 3}, variables={"counter": 4}
    )
    assert outputs == {"value": 7}


@pytest.mark.parametrize("node_class", [GetVariableNode, IncrementVariableNode])
def test_a_variable_that_is_not_declared_is_refused(node_class):
    with pytest.raises(VariableError, match="'missing'"):
        run_node_locally(node_class, constants={"VARIABLE": "missing"}, variables={"counter": 4})
