import pytest

from rayflow_dagster.nodes.logic.and_ import AndNode
from rayflow_dagster.nodes.logic.branch import BranchNode
from rayflow_dagster.nodes.logic.compare import CompareNode
from rayflow_dagster.nodes.logic.not_ import NotNode
from rayflow_dagster.nodes.logic.or_ import OrNode
from rayflow_dagster.testing import run_node_locally


@pytest.mark.parametrize(("condition", "fired"), [(True, "true"), (False, "false")])
def test_branch_fires_the_side_of_its_condition(condition, fired):
    assert run_node_locally(BranchNode, condition=condition) == {"exec_next": fired}


@pytest.mark.parametrize(
    ("operator", "less", "equal", "greater"),
    [
        ("==", False, True, False),
        ("!=", True, False, True),
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
    ],
)
def test_compare_knows_every_operator(operator, less, equal, greater):
    constants = {"OPERATOR": operator}
    results = [
        run_node_locally(CompareNode, a=a, b=2, constants=constants)["result"] for a in (1, 2, 3)
    ]
    assert results == [less, equal, greater]


def test_compare_refuses_an_unknown_operator_and_names_the_known_ones():
    with pytest.raises(ValueError, match=r"OPERATOR is '=<'; set it to one of == != < <= > >="):
        run_node_locally(CompareNode, a=1, b=2, constants={"OPERATOR": "=<"})


def test_compare_refuses_to_order_text_and_numbers():
    with pytest.raises(TypeError, match="'<' not supported"):
        run_node_locally(CompareNode, a="1", b=2, constants={"OPERATOR": "<"})


@pytest.mark.parametrize("a", [True, False])
@pytest.mark.parametrize("b", [True, False])
def test_and_or_not_follow_python(a, b):
    assert run_node_locally(AndNode, a=a, b=b) == {"result": a and b}
    assert run_node_locally(OrNode, a=a, b=b) == {"result": a or b}
    assert run_node_locally(NotNode, value=a) == {"result": not a}
