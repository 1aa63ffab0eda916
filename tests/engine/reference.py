"""Section 5 of the design once more, as briefly as can be: what a race-free flow must come to.

No events and no planning: nodes are looked at once each, sources first.
"""

import builtins
from graphlib import TopologicalSorter
from typing import Any

from flow_nodes.raises import ERRORS

from rayflow_dagster.errors import NodeCrashedError, NodeExecutionError, message_of

DEFAULTS = {"CollectNode": {"a": None, "b": None, "c": None}, "BoomNode": {"value": None},
            "SleepNode": {"value": None}, "FragileNode": {"fail": False}}  # fmt: skip
ONCE = {
    "DataNotAvailableError", "SecretError", "VariableError", "ExpressionError",
    "FlowAssertionError", "FlowRaisedError", "NodeLoadError", "ValidationError",
    "FlowFormatError", "GraphBuildError", "InvalidInputsError", "FlowChangedError",
    "ProjectError", "NameCollisionError", "RunEndedError",
}  # fmt: skip
"""The errors that no attempt mends."""
UNHANDLED = {"RunEndedError"}
"""The errors that a wired ``error`` output does not take."""


def run(  # noqa: C901 - a table
    kind: str, given: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Outputs and fired exec outputs; raises where the node fails."""
    match kind:
        case "AddNode":
            return {"result": given["x"] + given["y"]}, ["exec_out"]
        case "ConstantNode":
            return {"value": given["VALUE"]}, ["exec_out"]
        case "CollectNode":
            return {"values": [given[p] for p in "abc" if given[p] is not None]}, ["exec_out"]
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
        case "StartNode":
            return given, ["exec_out"]
        case "ReturnNode":
            return {"result": given}, []
    return {"value": given["value"]}, ["exec_out"]


def expected(flow: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """``{"success", "result", "statuses"}`` of a run of a race-free random flow."""
    nodes = {node["id"]: node for node in flow["nodes"]}
    into = {n: [edge for edge in flow["edges"] if edge["target"] == n] for n in nodes}
    handled = {edge["source"] for edge in flow["edges"] if edge["sourceHandle"] == "error"}
    order = TopologicalSorter({n: [edge["source"] for edge in into[n]] for n in nodes})
    status: dict[str, str] = {}
    outputs: dict[str, dict[str, Any]] = {n: {} for n in nodes}
    fired: dict[str, list[str]] = {n: [] for n in nodes}
    for n in order.static_order():
        if any(status[edge["source"]] in ("failed", "pending") for edge in into[n]):
            status[n] = "pending"
            continue
        given = gathered(nodes[n], into[n], outputs, inputs)
        if not lives(into[n], fired, given):
            status[n] = "skipped"
            continue
        status[n] = "completed"
        try:
            if kind_of(nodes[n]) == "RaisesNode":
                fail(given, nodes[n]["data"])
            outputs[n], fired[n] = run(kind_of(nodes[n]), given)
        except BaseException as error:
            if n in handled and type(error).__name__ not in UNHANDLED:
                outputs[n], fired[n] = {"error": told(error, n)}, ["error"]
            else:
                status[n] = "failed"
    returned = [
        outputs[n]["result"] for n in nodes if "result" in outputs[n] and is_return(nodes[n])
    ]
    success = bool(returned) and "failed" not in status.values()
    return {"success": success, "result": returned[0] if returned else {}, "statuses": status}


def fail(values: dict[str, Any], data: dict[str, Any]) -> None:
    """Raise what a ``RaisesNode`` fails with in the end, if it does."""
    error = original(ERRORS[values["ERROR"]]())
    retry = data.get("retry", {"max": 0})
    again = type(error).__name__ not in ONCE and is_named(error, retry.get("retry_on"))
    if values["TIMES"] >= (1 + retry["max"] if again else 1):
        raise ERRORS[values["ERROR"]]()


def is_named(error: BaseException, names: list[str] | None) -> bool:
    """Whether ``retry_on`` names a class of the error."""
    known = {"crash": NodeCrashedError, "timeout": TimeoutError, **vars(builtins)}
    known["builtins.ValueError"] = ValueError
    return names is None or any(isinstance(error, known.get(name, ())) for name in names)


def original(error: BaseException) -> BaseException:
    return error.original_error if type(error) is NodeExecutionError else error


def told(error: BaseException, node_id: str) -> dict[str, str]:
    """What the ``error`` output says of an error."""
    own = error.original_error if isinstance(error, NodeExecutionError) else error
    return {"type": type(own).__name__, "message": message_of(own), "node_id": node_id}


def gathered(
    node: dict[str, Any],
    into: list[dict[str, Any]],
    outputs: dict[str, Any],
    inputs: dict[str, Any],
) -> dict[str, Any]:
    given = {**DEFAULTS.get(kind_of(node), {}), **node["data"].get("constantValues", {})}
    for name, spec in node["data"].get("inputs", {}).items():
        given |= {name: spec["default"]} if isinstance(spec, dict) else {}
    if kind_of(node) == "StartNode":
        given |= inputs
    for edge in into:
        if edge["type"] != "exec" and edge["sourceHandle"] in outputs[edge["source"]]:
            given[edge["targetHandle"]] = outputs[edge["source"]][edge["sourceHandle"]]
    return given


def lives(into: list[dict[str, Any]], fired: dict[str, list[str]], given: dict[str, Any]) -> bool:
    execs = [edge for edge in into if edge["type"] == "exec"]
    if execs:
        return any(edge["sourceHandle"] in fired[edge["source"]] for edge in execs)
    return all(edge["targetHandle"] in given for edge in into)


def kind_of(node: dict[str, Any]) -> str:
    return str(node["type"]).rpartition(".")[2]


def is_return(node: dict[str, Any]) -> bool:
    return kind_of(node) == "ReturnNode"
