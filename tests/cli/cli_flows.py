"""Flows for tests of the command line."""

import json
from pathlib import Path
from typing import Any


def write_flow(file: Path, flow: dict[str, Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(flow), encoding="utf-8")
    return file


def flow_with_inputs(inputs: dict[str, Any]) -> dict[str, Any]:
    """START with these inputs, each of them wired to RETURN."""
    data = [
        {"source": "start", "target": "return", "sourceHandle": name, "targetHandle": name}
        for name in inputs
    ]
    return {
        "nodes": [
            {"id": "start", "type": "start", "data": {"label": "Start", "inputs": inputs}},
            {"id": "return", "type": "return", "data": {"label": "Return"}},
        ],
        "edges": [{"source": "start", "target": "return", "type": "exec"}, *data],
    }


def write_sleeper(project: Path, seconds: float) -> Path:
    """A flow whose one node sleeps."""
    flow = {
        "nodes": [
            {"id": "start", "type": "start", "data": {}},
            {
                "id": "sleep",
                "type": "flow_nodes.sleep.SleepNode",
                "data": {"constantValues": {"SECONDS": seconds, "value": 1}},
            },
            {"id": "return", "type": "return", "data": {}},
        ],
        "edges": [
            {"source": "start", "target": "sleep", "type": "exec"},
            {"source": "sleep", "target": "return", "type": "exec"},
        ],
    }
    return write_flow(project / "flows" / "sleeper.json", flow)
