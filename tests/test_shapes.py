"""The fixtures and what ``shapes.py`` says of them hang together."""

import pytest
from shapes import SHAPES, fixture_names, load_fixture

from rayflow_dagster.compiler.validator import FlowValidator


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_shape_says_what_becomes_of_every_node(shape, loader):
    assert set(shape.statuses) == set(FlowValidator(loader).resolve(shape.flow).nodes)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_shape_succeeds_exactly_when_no_node_failed_and_a_return_completed(shape, loader):
    flow = FlowValidator(loader).resolve(shape.flow)
    returned = [node.id for node in flow.returns if shape.statuses[node.id] == "completed"]
    assert shape.success == (bool(returned) and "failed" not in shape.statuses.values())
    assert bool(shape.error) is not shape.success
    assert not shape.result or len(returned) == 1


def test_every_fixture_has_a_shape():
    assert {shape.name for shape in SHAPES} == set(fixture_names())


@pytest.mark.parametrize("name", fixture_names())
def test_every_fixture_is_valid(name, loader):
    assert FlowValidator(loader).validate(load_fixture(name)) == (True, [])
