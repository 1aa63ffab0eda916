"""Fixtures that every test may use. What the flows do stands in ``shapes.py``."""

import pytest
from shapes import test_loader as make_loader

from rayflow_dagster.compiler.loader import NodeLoader


@pytest.fixture
def loader() -> NodeLoader:
    """Knows the built-in nodes and those of ``flow_nodes``."""
    return make_loader()
