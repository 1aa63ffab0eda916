"""Flows for tests of the command line."""

import json
from pathlib import Path
from typing import Any

# Not all fixtures: a command that names one flow looks at all flows of its folder.
FIXTURE_FLOWS = (
    "branch_join", "failing_node", "handled_error", "linear", "no_return_reached", "parallel_join",
    "printer", "retry_then_success",
)  # fmt: skip


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


def write_waiting(project: Path) -> Path:
    """The flow ``waiting``, whose one node never ends; returns a file that is there once the
    node is at work."""
    at_work = project / "at_work"
    files = {"MINE": str(at_work), "THEIRS": str(project / "never"), "PATIENCE": 600.0}
    flow = {
        "nodes": [
            {"id": "start", "type": "start", "data": {}},
            {
                "id": "wait",
                "type": "flow_nodes.meet.MeetNode",
                "data": {"constantValues": {**files, "value": 1}},
            },
            {"id": "return", "type": "return", "data": {}},
        ],
        "edges": [
            {"source": "start", "target": "wait", "type": "exec"},
            {"source": "wait", "target": "return", "type": "exec"},
        ],
    }
    write_flow(project / "flows" / "waiting.json", flow)
    return at_work
