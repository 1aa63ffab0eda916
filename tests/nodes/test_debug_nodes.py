import logging

import pytest

from rayflow_dagster.nodes.debug.log import LogNode
from rayflow_dagster.testing import run_node_locally


@pytest.fixture
def node():
    node = LogNode()
    node.log = logging.getLogger("tests.debug")
    return node


def test_log_writes_the_value_and_passes_it_on(node, caplog):
    node.LEVEL, node.MESSAGE = "warning", "total"
    assert node.process({"a": 100}) == {"value": {"a": 100}}
    assert caplog.record_tuples == [("tests.debug", logging.WARNING, "total: {'a': 100}")]


def test_log_does_not_read_a_value_as_a_template(node, caplog):
    node.LEVEL = "ERROR"
    node.process("100%s")
    assert caplog.messages == ["100%s"]


def test_log_refuses_an_unknown_level():
    with pytest.raises(ValueError, match="LEVEL is 'LOUD'; set it to DEBUG, INFO"):
        run_node_locally(LogNode, value=1, constants={"LEVEL": "LOUD"})
