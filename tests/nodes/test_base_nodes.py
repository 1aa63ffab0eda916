from rayflow_dagster.nodes.base.return_ import ReturnNode
from rayflow_dagster.nodes.base.start import StartNode


def test_start_gives_out_the_inputs_of_the_flow():
    assert StartNode().process(a=1, b="two") == {"a": 1, "b": "two"}


def test_return_gathers_what_is_wired_to_it():
    assert ReturnNode().process(total=3, names=["x"]) == {"result": {"total": 3, "names": ["x"]}}


def test_return_with_nothing_wired_gives_an_empty_result():
    assert ReturnNode().process() == {"result": {}}
