"""What the package offers, and what importing it costs."""

import subprocess
import sys

import pytest

import rayflow_dagster

DOCUMENTED = {
    "ActorManager",
    "DataGatherer",
    "DataNotAvailableError",
    "ErrorHandler",
    "ExecutionPlanner",
    "FlowOrchestrator",
    "FlowValidator",
    "GraphBuildError",
    "GraphBuilder",
    "NodeExecutionError",
    "NodeExecutor",
    "NodeLoadError",
    "NodeLoader",
    "RayflowNode",
    "StateTracker",
    "ValidationError",
    "VariableStoreManager",
    "GlobalVariableStore",
    "build_definitions",
    "build_job",
}


def test_every_documented_name_is_offered():
    assert set(rayflow_dagster.__all__) >= DOCUMENTED
    assert len(set(rayflow_dagster.__all__)) == len(rayflow_dagster.__all__)
    assert dir(rayflow_dagster) == sorted(rayflow_dagster.__all__)


@pytest.mark.parametrize("name", rayflow_dagster.__all__)
def test_every_offered_name_can_be_imported(name):
    assert getattr(rayflow_dagster, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = rayflow_dagster.nonsense


@pytest.mark.parametrize(
    "modules",
    [
        "rayflow_dagster, rayflow_dagster.errors, rayflow_dagster.node, rayflow_dagster.types",
        "rayflow_dagster.compiler.validator, rayflow_dagster.compiler.graph",
        "rayflow_dagster.project",
    ],
)
def test_neither_ray_nor_dagster_is_imported_before_it_is_needed(modules):
    code = f"import sys, {modules}; print({{'ray', 'dagster'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
