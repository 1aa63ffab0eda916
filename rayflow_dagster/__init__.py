"""Drawn flows as Dagster jobs whose steps run on Ray actors.

Everything here is imported when first used: loading a code location must not import ray.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .actors.manager import ActorManager
    from .actors.variables import GlobalVariableStore, VariableStoreManager
    from .compiler.graph import GraphBuilder
    from .compiler.loader import NodeLoader
    from .compiler.validator import FlowValidator
    from .defs.build import build_definitions, build_job
    from .engine.error_handler import ErrorHandler
    from .engine.executor import NodeExecutor
    from .engine.gatherer import DataGatherer
    from .engine.planner import ExecutionPlanner
    from .engine.tracker import StateTracker
    from .errors import (
        ClusterError,
        DataNotAvailableError,
        FlowChangedError,
        FlowFailedError,
        FlowFormatError,
        GraphBuildError,
        InvalidInputsError,
        NodeExecutionError,
        NodeLoadError,
        RayflowError,
        ValidationError,
        VariableError,
    )
    from .node import RayflowNode
    from .orchestrator import FlowOrchestrator

__version__ = "0.3.0"

_HOMES = {
    "actors.manager": ("ActorManager",),
    "actors.variables": ("GlobalVariableStore", "VariableStoreManager"),
    "compiler.graph": ("GraphBuilder",),
    "compiler.loader": ("NodeLoader",),
    "compiler.validator": ("FlowValidator",),
    "defs.build": ("build_definitions", "build_job"),
    "engine.error_handler": ("ErrorHandler",),
    "engine.executor": ("NodeExecutor",),
    "engine.gatherer": ("DataGatherer",),
    "engine.planner": ("ExecutionPlanner",),
    "engine.tracker": ("StateTracker",),
    "errors": (
        "ClusterError", "DataNotAvailableError", "FlowChangedError", "FlowFailedError",
        "FlowFormatError", "GraphBuildError", "InvalidInputsError", "NodeExecutionError",
        "NodeLoadError", "RayflowError", "ValidationError", "VariableError",
    ),
    "node": ("RayflowNode",),
    "orchestrator": ("FlowOrchestrator",),
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ActorManager",
    "ClusterError",
    "DataGatherer",
    "DataNotAvailableError",
    "ErrorHandler",
    "ExecutionPlanner",
    "FlowChangedError",
    "FlowFailedError",
    "FlowFormatError",
    "FlowOrchestrator",
    "FlowValidator",
    "GlobalVariableStore",
    "GraphBuildError",
    "GraphBuilder",
    "InvalidInputsError",
    "NodeExecutionError",
    "NodeExecutor",
    "NodeLoadError",
    "NodeLoader",
    "RayflowError",
    "RayflowNode",
    "StateTracker",
    "ValidationError",
    "VariableError",
    "VariableStoreManager",
    "__version__",
    "build_definitions",
    "build_job",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'rayflow_dagster' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
