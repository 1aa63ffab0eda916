"""A flow and one of its regions in; the same flow, in which the region's body is a flow of its own
that is called, out."""

from collections.abc import Iterator
from typing import Any

from random_flows import RandomFlow, class_path
from reference import FlowMeaning

NAME = "outlined"
"""The new flow, and the node that calls it."""
OUTLINED = ("control.group", "control.for_each")


def regions_to_outline(drawn: RandomFlow) -> Iterator[str]:
    """The regions whose body a call can stand for: none that ends a loop around it, and no group on
    whose ``always`` something hangs. ``by_hand`` takes out those
    bodies too."""
    meaning = FlowMeaning(drawn.flow, drawn.inputs, called=drawn.called)
    for region in meaning.nodes:
        left = {
            node_id
            for node_id in meaning.nodes
            if meaning.kind(node_id) in ("control.break", "control.continue")
            and region in meaning.regions_of(node_id)
        }
        if meaning.kind(region) in OUTLINED and not left and not meaning.is_wired(region, "always"):
            yield region


def outlined(drawn: RandomFlow, region: str) -> RandomFlow:
    """Captured values are inputs of the new flow's START, and what leaves is taken by its RETURN,
    which waits for all of the body as what hangs on ``done`` does. A value that did not come is
    None. The flow shares its caller's variables.
    """
    meaning = FlowMeaning(drawn.flow, drawn.inputs, called=drawn.called)
    body = {node_id for node_id in meaning.nodes if region in meaning.regions_of(node_id)}
    is_group = meaning.kind(region) == "control.group"
    captured: dict[str, Any] = {}
    returned: dict[str, Any] = {}
    inside = [edge_of("start", "exec_out", "all", "exec_in", "exec")]
    outside = []
    for edge in meaning.edges:
        source, output, target = edge["source"], edge["sourceHandle"], edge["target"]
        ports = (edge["targetHandle"], edge["type"])
        port = f"{source}_{output}"
        if source == region and output == "body":
            inside.append(edge_of("all", "then_1", target, *ports))
        elif target in body and source in body:
            inside.append(edge)
        elif target in body:
            captured[port] = {"type": "any", "default": None}
            inside.append(edge_of("start", port, target, *ports))
            outside.append(edge_of(source, output, NAME, port, "any"))
        elif source in body:
            returned[port] = {"type": "any", "default": None}
            inside.append(edge_of(source, output, "return", port, "any"))
            outside.append(edge_of(NAME, port, target, *ports))
        elif is_group and source == region:
            output = "exec_out" if output == "done" else output
            outside.append(edge_of(NAME, output, target, *ports))
        elif is_group and target == region:
            outside.append(edge_of(source, output, NAME, *ports))
        else:
            outside.append(edge)
    inside.append(edge_of("all", "then_2", "return", "exec_in", "exec"))
    if not is_group:
        outside.append(edge_of(region, "body", NAME, "exec_in", "exec"))
    flow = drawn.flow
    called = {
        **flow,
        "nodes": [
            node_of("start", "start", inputs=captured),
            node_of("all", "control.sequence", constantValues={"THEN": 2}),
            *(node for node in flow["nodes"] if node["id"] in body),
            node_of("return", "return", inputs=returned),
        ],
        "edges": once(inside),
    }
    retry = {"retry": meaning.data(region)["retry"]} if "retry" in meaning.data(region) else {}
    call = node_of(NAME, "base.flow", flow=NAME, variables="shared", **(retry if is_group else {}))
    kept = [node for node in flow["nodes"] if node["id"] not in body]
    at = next(number for number, node in enumerate(kept) if node["id"] == region)
    kept[at : at + 1] = [call] if is_group else [kept[at], call]
    calling = {**flow, "nodes": kept, "edges": once(outside)}
    return RandomFlow(calling, drawn.inputs, {**drawn.called, NAME: called})


def node_of(node_id: str, kind: str, **data: Any) -> dict[str, Any]:
    return {"id": node_id, "type": class_path(kind), "data": data}


def edge_of(source: str, output: str, target: str, port: str, kind: str) -> dict[str, Any]:
    return {
        "source": source, "sourceHandle": output, "target": target, "targetHandle": port,
        "type": kind,
    }  # fmt: skip


def once(edges: list[Any]) -> list[dict[str, Any]]:
    """Each edge with an id, and none twice: several nodes may capture one value."""
    ends = ("source", "sourceHandle", "target", "targetHandle", "type")
    found = dict.fromkeys(tuple(edge[end] for end in ends) for edge in edges)
    return [
        {"id": f"e{number}", **dict(zip(ends, each, strict=True))}
        for number, each in enumerate(found)
    ]
