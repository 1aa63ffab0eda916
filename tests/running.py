"""Running flows in tests."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from shapes import TESTS

from rayflow_dagster.compiler.callees import FlowFolder
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project
from rayflow_dagster.types import NodeResult

PROJECT = Project.at(TESTS, ["flow_nodes", "odd_nodes"])
ODD = "odd_nodes.misbehaving."


def project_of(flows: Mapping[str, Any]) -> Project:
    """The project, with these flows to call."""
    contents = {name: json.dumps(flow).encode() for name, flow in flows.items()}
    return replace(PROJECT, called=FlowFolder(Path("flows"), contents))


def with_ray(flow: dict[str, Any], ray: dict[str, Any] | None) -> dict[str, Any]:
    """With an actor for each node, its bodies are not fused."""
    return {**flow, "settings": {**flow.get("settings", {}), "ray": ray}}


def execute(orchestrator: FlowOrchestrator, flow: Any, **inputs: Any) -> dict[str, Any]:
    return asyncio.run(orchestrator.execute_flow(flow, inputs))


def result_of(orchestrator: FlowOrchestrator, node_id: str) -> NodeResult:
    """What became of a node that has settled."""
    assert orchestrator.state_tracker is not None
    result = orchestrator.state_tracker.get_state()["node_states"][node_id]["result"]
    assert result is not None
    return result


def outcomes(orchestrator: FlowOrchestrator) -> dict[str, str]:
    """Node id -> completed, skipped, failed or pending, as ``shapes`` says it."""
    assert orchestrator.state_tracker is not None
    states = orchestrator.state_tracker.get_state()["node_states"]
    found: dict[str, str] = {}
    for node_id, node in states.items():
        result = node["result"]
        skipped = result is not None and result["status"] == "skipped"
        found[node_id] = "skipped" if skipped else node["status"]
    return found
