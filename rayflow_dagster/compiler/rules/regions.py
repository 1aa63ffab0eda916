"""The rules about regions: which nodes a body has, what crosses its edge, and the settings."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from rayflow_dagster.compiler.dialect import decorations
from rayflow_dagster.compiler.findings import Finding
from rayflow_dagster.compiler.ports import AGAIN, CARRY, ports_of_region
from rayflow_dagster.compiler.regions import BODY, MAX_DEPTH, Scopes
from rayflow_dagster.compiler.resolved import Edge, Node, ResolvedFlow, Scope
from rayflow_dagster.suggest import listed
from rayflow_dagster.types import BREAK_CLASS, ERROR_PORT

ERRORS = "errors"
SHOWN = 3
"""Nodes that a finding about many of them names."""


def check_regions(flow: ResolvedFlow) -> Iterator[Finding]:
    """Every rule about where regions and their bodies stand."""
    if flow.too_deep is not None:
        yield Finding(
            "nested_too_deep",
            f"node {flow.nodes[flow.too_deep]}: it stands in the bodies of more than {MAX_DEPTH} "
            "regions, each in the one before; no drawn flow needs that: draw fewer in each other",
            node=flow.too_deep,
        )
    if flow.regions and not flow.scopes:
        return  # bodies cannot be told, for a reason that another finding says
    scopes = Scopes(flow, flow.scopes) if flow.regions else None
    yield from _outside_of_loops(flow, scopes)
    if scopes is None:
        return
    yield from _bodies(scopes)
    for node in flow.nodes.values():
        yield from _sides(scopes, node)
    for edge in flow.edges:
        ends = {edge.source, edge.target}
        if not edge.is_exec and edge.joins(flow.nodes) and flow.torn.isdisjoint(ends):
            yield from _data_edge(scopes, edge)
    yield from _grouped(scopes)
    for node in flow.nodes.values():
        region = flow.scopes[node.id]
        if region is not None:
            yield from _in_body(node, flow.nodes[region])


def _bodies(scopes: Scopes) -> Iterator[Finding]:
    """Every region has a body, and a loop that goes on while it is told to is told."""
    flow = scopes.flow
    broken = {
        _loop_of(scopes, node) for node in flow.nodes.values() if node.class_path == BREAK_CLASS
    }
    for region in (flow.nodes[node_id] for node_id in flow.regions):
        if not any(e.is_exec and e.source_port == BODY for e in flow.edges_from[region.id]):
            yield Finding(
                "region_without_body",
                f"node {region}: nothing is wired to its exec output 'body', so it has nothing to "
                "run; wire the nodes that it is to run behind 'body'",
                node=region.id,
                port=BODY,
            )
        elif (
            region.region_kind == "while"
            and region.id not in broken
            and AGAIN not in flow.wired_inputs(region.id)
        ):
            yield Finding(
                "loop_without_end",
                f"node {region} input 'again': nothing of its body is wired into it, so the loop "
                "would run once; wire a bool from its body into it, or end the loop with "
                "'control.break'",
                node=region.id,
                port=AGAIN,
            )


def _sides(scopes: Scopes, node: Node) -> Iterator[Finding]:
    """What leads to a node comes from one side of each body's edge."""
    flow = scopes.flow
    sides: dict[Scope, Edge] = {}
    exec_edges = flow.exec_into(node.id)
    for edge in exec_edges or flow.data_into(node.id):
        if not (edge.leads_back or scopes.closes_circle(edge)):
            sides.setdefault(scopes.source_side(edge), edge)
    if exec_edges and len(sides) > 1:
        (here, one), (there, other), *_ = sides.items()
        yield Finding(
            "entered_from_two_sides",
            f"node {node}: exec edge '{one.id}' leads into it from {_inside(flow, here)} (node "
            f"{flow.nodes[one.source]}), and exec edge '{other.id}' from {_inside(flow, there)} "
            f"(node {flow.nodes[other.source]}); a node is in one body or in none: delete one of "
            "the two, and wire what goes on after a region behind its 'done'",
            node=node.id,
            edge=other.id,
        )
    elif not exec_edges and node.id not in flow.torn:
        around = scopes.chain(scopes.of[node.id])
        apart = next((edge for side, edge in sides.items() if side not in around), None)
        if apart is not None:
            one = next(edge for side, edge in sides.items() if side == scopes.of[node.id])
            yield Finding(
                "between_bodies",
                f"node {node}: no exec edge leads to it, and its values come from "
                f"{_inside(flow, scopes.source_side(one))} (edge '{one.id}') and from "
                f"{_inside(flow, scopes.source_side(apart))} (edge '{apart.id}'), so it is not "
                "clear which of them it is in; wire an exec edge into it from where it is to run",
                node=node.id,
                edge=apart.id,
            )


def _inside(flow: ResolvedFlow, scope: Scope) -> str:
    return "outside of any body" if scope is None else f"the body of {flow.nodes[scope]}"


def _data_edge(scopes: Scopes, edge: Edge) -> Iterator[Finding]:
    flow = scopes.flow
    source, target = flow.nodes[edge.source], flow.nodes[edge.target]
    where = f"edge '{edge.id}' from node {source} output '{edge.source_port}'"
    if edge.leads_back and not scopes.is_within(scopes.source_side(edge), target.id):
        yield Finding(
            "inner_input",
            f"{where}: input '{edge.target_port}' of node {target} takes what its own body hands "
            "it, and this comes from outside of that; wire it from a node of the body",
            node=target.id,
            port=edge.target_port,
            edge=edge.id,
        )
        return
    if source.region_kind is not None:
        is_inside = scopes.is_within(scopes.target_side(edge), source.id)
        if scopes.is_inner(edge) and not is_inside:
            yield Finding(
                "inner_output",
                f"{where}: this value is there for the nodes of the body only, and node {target} "
                "is not in it; " + _INSTEAD[source.region_kind],
                node=target.id,
                edge=edge.id,
            )
            return
        outer = {*source.outer_outputs, ERROR_PORT} - source.inner_outputs.keys()
        if is_inside and edge.source_port in outer:
            yield Finding(
                "outer_output",
                f"{where}: this value is there when the region has ended, and node {target} is in "
                "its body; read it in a node behind the region",
                node=target.id,
                edge=edge.id,
            )
        elif _is_always_empty(source, edge.source_port):
            yield Finding(
                "errors_not_collected",
                f"{where}: it is empty in every run, because a failed item is listed there only "
                'where data.on_item_error is "collect"; set that, or delete the wire',
                "warning",
                node=source.id,
                port=edge.source_port,
                edge=edge.id,
            )
    for region in scopes.left(edge):
        if flow.nodes[region].region_kind == "while":
            yield Finding(
                "left_while",
                f"{where} to node {target}: only carried values leave the body of "
                f"{flow.nodes[region]}; declare one under data.carry, wire this into its 'next.' "
                "input, and read it at the loop",
                node=source.id,
                port=edge.source_port,
                edge=edge.id,
            )
            return


def _is_always_empty(loop: Node, output: str) -> bool:
    """Whether an output lists the failed items of a loop that makes no list of them."""
    collects = loop.data.get("on_item_error") == "collect"
    return loop.region_kind == "for_each" and output == ERRORS and not collects


_INSTEAD = {
    "for_each": "wire what a node of the body made of it instead, which comes as a list",
    "while": "read a carried value (data.carry), or 'count'",
}


def _loop_of(scopes: Scopes, node: Node) -> str | None:
    """The innermost loop whose body a node is in."""
    around = [scope for scope in scopes.chain(scopes.of[node.id]) if scope is not None]
    nodes = scopes.flow.nodes
    return next((scope for scope in around if nodes[scope].region_kind != "group"), None)


def _outside_of_loops(flow: ResolvedFlow, scopes: Scopes | None) -> Iterator[Finding]:
    """RETURN ends a flow, and stands in no body; what ends an iteration stands in a loop's."""
    for node in flow.nodes.values():
        if node.id in flow.torn:
            continue
        if node.ends_body and (scopes is None or _loop_of(scopes, node) is None):
            yield Finding(
                "outside_of_loop",
                f"node {node}: it ends a loop or an iteration, and it is in the body of none; put "
                "it behind the 'body' of a loop, or delete it",
                node=node.id,
            )
        elif node.is_return and scopes is not None and scopes.of[node.id] is not None:
            yield Finding(
                "return_in_body",
                f"node {node}: this RETURN is in {_inside(flow, scopes.of[node.id])}; "
                + (
                    ""
                    if _loop_of(scopes, node) is None
                    else "leave a loop with 'control.break', and "
                )
                + "wire RETURN behind 'done'",
                node=node.id,
            )


def _grouped(scopes: Scopes) -> Iterator[Finding]:
    """A drawn group that is a region holds the nodes of its body and no others."""
    flow = scopes.flow
    drawn_in = _drawn_in(flow)
    children: defaultdict[str, list[str]] = defaultdict(list)
    bodies: defaultdict[str, list[str]] = defaultdict(list)
    for node_id, parent in drawn_in.items():
        if parent is not None:
            children[parent].append(node_id)
        around = scopes.of[node_id]
        if around is not None:
            bodies[around].append(node_id)
    for parent, drawn in children.items():
        region = flow.nodes[parent]
        # What has no source is drawn where it looks best.
        strange = [
            id_ for id_ in drawn if scopes.of[id_] != parent and flow.edges_into[id_]
        ]  # fmt: skip
        missing = [id_ for id_ in bodies[parent] if drawn_in[id_] is None and flow.edges_into[id_]]
        if strange:
            yield Finding(
                "parent_and_body",
                f"node {_first_of(flow, strange)}: drawn inside {region} (parentId), and not in "
                "its body, which is what only its exec output 'body' leads to; wire it there, or "
                "draw it outside",
                node=strange[0],
            )
        if missing:
            yield Finding(
                "parent_and_body",
                f"node {region}: of its body, {_first_of(flow, missing)} stands outside of it in "
                "the drawing (parentId), and others inside; draw the whole body inside, or none "
                "of it",
                node=missing[0],
            )


def _first_of(flow: ResolvedFlow, node_ids: list[str]) -> str:
    names = ", ".join(str(flow.nodes[node_id]) for node_id in node_ids[:SHOWN])
    return names + (f" and {len(node_ids) - SHOWN} more" if node_ids[SHOWN:] else "")


def _drawn_in(flow: ResolvedFlow) -> dict[str, str | None]:
    """Node id -> the region that it is drawn inside, through any boxes that are no nodes."""
    boxes: dict[str, Mapping[str, Any]] = {box["id"]: box for box in decorations(flow.data)}
    found: dict[str, str | None] = {}
    for raw in flow.data["nodes"]:
        parent: Any = raw.get("parentId")
        seen: set[str] = set()
        while isinstance(parent, str) and parent in boxes and parent not in seen:
            seen.add(parent)
            parent = boxes[parent].get("parentId")
        is_region = isinstance(parent, str) and parent in flow.nodes
        is_region = is_region and flow.nodes[parent].region_kind is not None
        found[raw["id"]] = parent if is_region else None
    return found


def _in_body(node: Node, region: Node) -> Iterator[Finding]:
    """What makes no sense of a node in a body, which is no step of its own in Dagster."""
    why = f"the node is in the body of {region} and no step of its own in Dagster"
    if node.data.get("asset") is not None:
        yield Finding(
            "asset_in_body",
            f"node {node} data.asset: {why}; give the asset to a node behind 'done' of {region}",
            node=node.id,
        )
    if node.data.get("pool") is not None:
        yield Finding(
            "pool_in_body",
            f"node {node} data.pool: {why}; give the pool to {region}, whose step the body runs in",
            node=node.id,
        )


def circle_through_region(flow: ResolvedFlow) -> Iterator[Finding]:
    """A region and a node outside of its body that need each other; ``flow`` is one level."""
    if flow.is_acyclic or not flow.bodies:
        return
    import networkx as nx  # local: few flows have a circle, and it takes long to import

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_edges_from((source, id_) for id_, ids in flow.dependencies.items() for source in ids)
    for component in nx.strongly_connected_components(graph):
        regions = sorted(component & flow.bodies.keys())
        for region, edge in ((r, e) for r in regions for e in flow.data_into(r)):
            if edge.source in component and edge.target_port in flow.specs[region]["seen"]:
                wire, reader = _reader(flow.bodies[region], region, edge.target_port)
                yield Finding(
                    "circle_through_region",
                    f"node {reader}: it is in the body of {flow.nodes[region]}, and edge "
                    f"'{wire.id}' brings it '{edge.target_port}', which waits for that region to "
                    "end, so neither could start; make the value before the region, hand it from "
                    "one iteration to the next under data.carry, or take the node out of the body "
                    "by an exec edge from behind 'done'",
                    node=reader.id,
                    port=wire.target_port,
                    edge=wire.id,
                )
                break


def _reader(body: ResolvedFlow, region: str, port: str) -> tuple[Edge, Node]:
    """A wire that brings a value from outside into a body, as drawn, and the node that it ends
    at.
    """
    edge = next(e for e in body.edges_from[region] if e.source_port == port)
    inner = body.bodies.get(edge.target)
    if inner is not None and port in body.specs[edge.target]["seen"]:
        return _reader(inner, edge.target, port)
    return edge, body.nodes[edge.target]


def region_settings(flow: ResolvedFlow) -> Iterator[Finding]:
    """Settings of a region that contradict each other, and names of carried values."""
    for region in flow.regions:
        node = flow.nodes[region]
        data = node.data
        if node.region_kind == "while" and data.get("max_iterations") is None:
            yield Finding(
                "max_iterations",
                f"node {node} data.max_iterations: a loop that goes on while its body says so "
                "needs a limit; set it to the most iterations that make sense",
                node=node.id,
            )
        parallel = data.get("parallel")
        if node.carried and isinstance(parallel, int) and parallel > 1:
            yield Finding(
                "parallel_carry",
                f"node {node} data.parallel: it is {parallel}, and the items run one after another "
                "because each hands its carried values to the next; leave one of the two out",
                node=node.id,
            )
        yield from _carried_names(node)


def _carried_names(node: Node) -> Iterator[Finding]:
    declared: Any = node.data.get(CARRY)
    if not isinstance(declared, dict) or node.region_kind == "group":
        return
    own = ports_of_region(node.class_path)
    for name in declared:
        if not name.isidentifier() or name in own:
            yield Finding(
                "carried_name",
                f"node {node} data.carry '{name}': this cannot be the name of a carried value; use "
                f"letters, digits and _, and none of {listed(sorted(own))}",
                node=node.id,
                port=name,
            )
