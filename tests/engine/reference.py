"""Section 5 of the design once more, as briefly as can be: what a race-free flow must come to.

No events and no planning: nodes are looked at once each, sources first.
"""

from graphlib import TopologicalSorter
from typing import Any

CONSTANT, COLLECT = "ConstantNode", "CollectNode"
DEFAULTS = {"CollectNode": {"a": None, "b": None, "c": None}, "BoomNode": {"value": None},
            "SleepNode": {"value": None}, "FragileNode": {"fail": False}}  # fmt: skip


def run(kind: str, given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Outputs and fired exec outputs; raises where the node fails."""
    match kind:
        case "AddNode":
            return {"result": given["x"] + given["y"]}, ["exec_out"]
        case "ConstantNode":
            return {"value": given["VALUE"]}, ["exec_out"]
        case "CollectNode":
            values = [given[port] for port in "abc" if given[port] is not None]
            return {"values": values}, ["exec_out"]
        case "BranchNode":
            return {}, ["true" if given["condition"] else "false"]
        case "SwitchNode":
            return {"value": given["value"]}, ["low" if given["value"] < 10 else "high"]
        case "ChooseNode":
            which = given["which"]
            return {}, [which] if isinstance(which, str) else which
        case "BoomNode":
            raise ValueError("boom: bang")
        case "FragileNode" if given["fail"]:
            raise ValueError("told to fail")
        case "ReturnNode":
            return {"result": given}, []
    return {"value": given["value"]}, ["exec_out"]


def expected(flow: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """``{"success", "result", "statuses"}`` of a run of a race-free random flow."""
    nodes = {node["id"]: node for node in flow["nodes"]}
    into: dict[str, list[dict[str, Any]]] = {node_id: [] for node_id in nodes}
    for edge in flow["edges"]:
        into[edge["target"]].append(edge)
    handled = {edge["source"] for edge in flow["edges"] if edge["sourceHandle"] == "error"}
    order = TopologicalSorter({n: [edge["source"] for edge in into[n]] for n in nodes})
    status: dict[str, str] = {}
    outputs: dict[str, dict[str, Any]] = {}
    fired: dict[str, list[str]] = {}
    result: dict[str, Any] | None = None
    for node_id in order.static_order():
        kind = nodes[node_id]["type"].rpartition(".")[2]
        data = nodes[node_id]["data"]
        outputs[node_id], fired[node_id] = {}, []
        if any(status[edge["source"]] in ("failed", "pending") for edge in into[node_id]):
            status[node_id] = "pending"
            continue
        if kind == "StartNode":
            specs = {name: spec for name, spec in data["inputs"].items() if isinstance(spec, dict)}
            defaults = {name: spec["default"] for name, spec in specs.items()}
            status[node_id], fired[node_id] = "completed", ["exec_out"]
            outputs[node_id] = {**defaults, **inputs}
            continue
        given = {**DEFAULTS.get(kind, {}), **data.get("constantValues", {})}
        given |= {name: spec["default"] for name, spec in data.get("inputs", {}).items()}
        execs = [edge for edge in into[node_id] if edge["type"] == "exec"]
        wired = [edge for edge in into[node_id] if edge["type"] != "exec"]
        for edge in wired:
            if edge["sourceHandle"] in outputs[edge["source"]]:
                given[edge["targetHandle"]] = outputs[edge["source"]][edge["sourceHandle"]]
        alive = any(edge["sourceHandle"] in fired[edge["source"]] for edge in execs)
        complete = all(edge["targetHandle"] in given for edge in wired)
        if not (alive if execs else complete):
            status[node_id] = "skipped"
            continue
        try:
            outputs[node_id], fired[node_id] = run(kind, given)
            status[node_id] = "completed"
        except ValueError as error:
            status[node_id] = "completed" if node_id in handled else "failed"
            if node_id in handled:
                told = {"type": "ValueError", "message": str(error), "node_id": node_id}
                outputs[node_id], fired[node_id] = {"error": told}, ["error"]
        if kind == "ReturnNode":
            result = outputs[node_id]["result"]
    success = result is not None and "failed" not in status.values()
    return {"success": success, "result": result or {}, "statuses": status}
