import pytest

from rayflow_dagster.nodes.math.add import AddNode
from rayflow_dagster.nodes.math.divide import DivideNode
from rayflow_dagster.nodes.math.multiply import MultiplyNode
from rayflow_dagster.nodes.math.subtract import SubtractNode
from rayflow_dagster.testing import run_node_locally


@pytest.mark.parametrize(
    ("node_class", "result"), [(AddNode, 8), (SubtractNode, 4), (MultiplyNode, 12)]
)
def test_whole_numbers_stay_whole(node_class, result):
    value = run_node_locally(node_class, x=6, y=2)["result"]
    assert (value, type(value)) == (result, int)


@pytest.mark.parametrize(
    ("node_class", "result"),
    [(AddNode, 2.0), (SubtractNode, 1.0), (MultiplyNode, 0.75), (DivideNode, 3.0)],
)
def test_decimal_numbers_are_taken_too(node_class, result):
    assert run_node_locally(node_class, x=1.5, y=0.5) == {"result": result}


def test_a_division_always_gives_a_float():
    value = run_node_locally(DivideNode, x=6, y=2)["result"]
    assert (value, type(value)) == (3.0, float)


def test_division_by_zero_fails():
    with pytest.raises(ZeroDivisionError):
        run_node_locally(DivideNode, x=1, y=0)
