"""A compiled flow in; the same with its calls open, and all nodes of the run in one graph, out.

A call is *open* where each node of the flow that it calls is a node of the run, and in Dagster a
step. The others are run as the body of a region is, as one node.
"""

from collections.abc import Iterator
from typing import Any, cast

from rayflow_dagster.types import (
    ExecutionGraph,
    GraphEdge,
    GraphNode,
    NodeMetadata,
    is_open,
)

from .resolved import topological_order

RETURNED = "returned by"
"""The output of a RETURN of a called flow, and the input of its call, that says which was reached.
"""
_KEEPS_CLOSED = ("retry", "timeout", "pool", "priority")


def why_not_open(node: GraphNode) -> str | None:
    """What keeps a call outside of any body from being open, as words to go after "because"."""
    if node.get("handles_error"):
        return "its 'error' is wired, so that what fails in it is not the run's failure"
    for option in _KEEPS_CLOSED:
        if option in node:
            return f"its {option} holds for all of it"
    return None


def open_calls(graph: ExecutionGraph) -> ExecutionGraph:
    """The graph with every call open that can be; ``graph`` itself is not changed."""
    return {**graph, "nodes": {id_: _opened(node) for id_, node in graph["nodes"].items()}}


def _opened(node: GraphNode) -> GraphNode:
    if "call" not in node.get("region", {}) or why_not_open(node) is not None:
        return node
    spec = node["region"]
    call = {**spec["call"], "is_open": True}
    region = {**spec, "call": call, "fused": False}
    return cast(GraphNode, {**node, "region": region, "body": open_calls(node["body"])})


def flat(graph: ExecutionGraph) -> ExecutionGraph:
    """The nodes of a flow and of its open calls, with the edges between them.

    What leads to a call leads to the START of its flow; what leads from it still does. The call
    itself comes last: it takes what the RETURNs of the flow give.
    """
    if not any(map(is_open, graph["nodes"].values())):
        return graph
    nodes = dict(_nodes(graph))
    # Edges of several flows may have one id.
    edges = {str(number): edge for number, edge in enumerate(_edges(graph))}
    dependencies: dict[str, list[str]] = {node_id: [] for node_id in nodes}
    dependents: dict[str, list[str]] = {node_id: [] for node_id in nodes}
    for edge in edges.values():
        dependencies[edge["target"]].append(edge["source"])
        dependents[edge["source"]].append(edge["target"])
    return {
        **graph,
        "nodes": {
            id_: {
                **node,
                "dependencies": list(dict.fromkeys(dependencies[id_])),
                "dependents": list(dict.fromkeys(dependents[id_])),
            }
            for id_, node in nodes.items()
        },
        "edges": edges,
        "execution_order": topological_order(dependencies),
    }


def _nodes(graph: ExecutionGraph) -> Iterator[tuple[str, GraphNode]]:
    for node_id, node in graph["nodes"].items():
        if not is_open(node):
            yield node_id, node
            continue
        body = node["body"]
        for inner_id, inner in _nodes(body):
            if inner_id == body["start_node"]:
                start = _with_ports(inner, inputs=node["metadata"]["inputs"])
                yield inner_id, {**start, "values": node.get("values", {})}
            elif inner_id in body["return_nodes"]:
                yield inner_id, _with_ports(inner, outputs=_given(node, inner))
            else:
                yield inner_id, inner
        taken = {**node["metadata"]["outputs"], RETURNED: "str"}
        last = {key: value for key, value in node.items() if key not in ("body", "join")}
        # Of several RETURNs only one brings its values: each of them may be absent.
        absent = dict.fromkeys(taken)
        last["label"] = "Returned"
        last["description"] = (
            f"Hands on what the RETURN of flow '{node['region']['call']['flow']}' that was reached "
            "was given."
        )
        yield node_id, _with_ports(cast(GraphNode, last), inputs=taken, defaults=absent)


def _given(call: GraphNode, returned: GraphNode) -> dict[str, str]:
    """What a RETURN of a called flow gives to the call: what it takes, and that it was reached."""
    inputs, outputs = returned["metadata"]["inputs"], call["metadata"]["outputs"]
    taken = {name: kind for name, kind in inputs.items() if name in outputs}
    return {**taken, RETURNED: "str"}


def _with_ports(node: GraphNode, **ports: Any) -> GraphNode:
    return {**node, "metadata": cast(NodeMetadata, {**node["metadata"], **ports})}


def _edges(graph: ExecutionGraph) -> Iterator[GraphEdge]:
    for edge in graph["edges"].values():
        target = graph["nodes"][edge["target"]]
        into = target["body"]["start_node"] if is_open(target) else edge["target"]
        yield {**edge, "target": into}
    for node_id, node in graph["nodes"].items():
        if not is_open(node):
            continue
        body = node["body"]
        yield from _edges(body)
        for returned in body["return_nodes"]:
            for port in _given(node, body["nodes"][returned]):
                yield _handed_on(returned, port, node_id)


def _handed_on(source: str, port: str, target: str) -> GraphEdge:
    return {
        "source": source,
        "target": target,
        "source_handle": port,
        "target_handle": port,
        "edge_type": "data",
    }


def starts(graph: ExecutionGraph) -> Iterator[tuple[str, str]]:
    """(START, call) of every open call, those within called flows too."""
    for node_id, node in graph["nodes"].items():
        if is_open(node):
            yield node["body"]["start_node"], node_id
            yield from starts(node["body"])
