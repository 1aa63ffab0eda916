"""``FlowOrchestrator`` in this process, without Ray."""

import pytest
from shapes import SHAPES, TESTS

from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process

PROJECT = Project.at(TESTS, ["flow_nodes"])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
async def x(shape): ...
