"""The rules about regions: which nodes a body has, what crosses its edge, and the settings."""

from collections.abc import Iterator
from typing import Any

from rayflow_dagster.compiler.findings import Finding
from rayflow_dagster.compiler.ports import CARRY
from rayflow_dagster.compiler.regions import BODY, Scopes
from rayflow_dagster.compiler.resolved import Edge, Node, ResolvedFlow, Scope
from rayflow_dagster.suggest import listed
from rayflow_dagster.types import ERROR_PORT


def check_regions(flow: ResolvedFlow) -> Iterator[Finding]:
    """Every rule about where regions and their bodies stand."""
    if not flow.scopes:
        yield from _outside_of_loops(flow, None)
        return
    scopes = Scopes(flow, flow.scopes)
    for region in flow.regions:
        yield from _body(scopes, flow.nodes[region])
    for edge in flow.edges:
        if edge.joins(flow.nodes):
            yield from _exec_edge(scopes, edge) if edge.is_exec else _data_edge(scopes, edge)
    for node in flow.returns:
        if flow.scopes[node.id] is not None:
            yield Finding(
                "return_in_body",
                f"node {node}: this RETURN is in the body of {_named(flow, flow.scopes[node.id])}; "
                "leave a loop with a 'control.break' node, and wire RETURN behind 'done'",
                node=node.id,
            )
    yield from _outside_of_loops(flow, scopes)
    yield from _grouped(scopes)
    for node in flow.nodes.values():
        if flow.scopes[node.id] is not None:
            yield from _in_body(flow, node)


def _named(flow: ResolvedFlow, scope: Scope) -> str:
    return "the drawing itself" if scope is None else f"region {flow.nodes[scope]}"


def _body(scopes: Scopes, region: Node) -> Iterator[Finding]:
    flow = scopes.flow
    opens = [e for e in flow.edges_from[region.id] if e.is_exec and e.source_port == BODY]
    if not opens:
        yield Finding(
            "region_without_body",
            f"node {region}: nothing is wired to its exec output 'body', so it has nothing to run; "
            "wire the nodes that it is to run behind 'body'",
            node=region.id,
            port=BODY,
        )
    if region.region_kind != "while":
        return
    asked = any(
        edge.leads_back and edge.target_port == "again" for edge in flow.data_into(region.id)
    )
    breaks = any(
        node.ends_body and _loop_of(scopes, node) == region.id and "break" in node.class_path
        for node in flow.nodes.values()
    )
    if opens and not asked and not breaks:
        yield Finding(
            "loop_without_end",
            f"node {region} input 'again': nothing of its body is wired into it, so the loop would "
            "run once; wire a bool from its body into it, or end the loop with 'control.break'",
            node=region.id,
            port="again",
        )


def _exec_edge(scopes: Scopes, edge: Edge) -> Iterator[Finding]:
    flow = scopes.flow
    leaves, enters = scopes.source_side(edge), scopes.target_side(edge)
    if leaves == enters:
        return
    target = flow.nodes[edge.target]
    others = [e for e in flow.exec_into(target.id) if scopes.source_side(e) != leaves]
    other = others[0] if others else edge
    yield Finding(
        "entered_from_two_sides",
        f"node {target}: exec edge '{edge.id}' leads into it from {_inside(flow, leaves)} (node "
        f"{flow.nodes[edge.source]}), and exec edge '{other.id}' from "
        f"{_inside(flow, scopes.source_side(other))} (node {flow.nodes[other.source]}); a node is "
        "in one body or in none: wire what goes on after a region behind its 'done'",
        node=target.id,
        edge=edge.id,
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
    if source.region_kind is not None and edge.source_port in source.outputs:
        inner = edge.source_port in source.inner_outputs
        outer = edge.source_port in source.outer_outputs
        is_inside = scopes.is_within(scopes.target_side(edge), source.id)
        if inner and not outer and not is_inside:
            yield Finding(
                "inner_output",
                f"{where}: this value is there for the nodes of the body only, and node {target} "
                "is not in it; wire what the body made of it instead, which comes as a list",
                node=target.id,
                edge=edge.id,
            )
        if outer and not inner and is_inside:
            yield Finding(
                "outer_output",
                f"{where}: this value is there when the region is done, and node {target} is in "
                "its body; read it behind 'done'",
                node=target.id,
                edge=edge.id,
            )
    for region in scopes.left(edge):
        if flow.nodes[region].region_kind == "while" and edge.source != region:
            yield Finding(
                "left_while",
                f"{where} to node {target}: only carried values leave the body of "
                f"{flow.nodes[region]}; declare one under data.carry and wire this into its "
                "'next.' input",
                node=source.id,
                port=edge.source_port,
                edge=edge.id,
            )


def _loop_of(scopes: Scopes, node: Node) -> str | None:
    """The innermost loop whose body a node is in."""
    around = [scope for scope in scopes.chain(scopes.of[node.id]) if scope is not None]
    nodes = scopes.flow.nodes
    return next((scope for scope in around if nodes[scope].region_kind != "group"), None)


def _outside_of_loops(flow: ResolvedFlow, scopes: Scopes | None) -> Iterator[Finding]:
    for node in flow.nodes.values():
        if node.ends_body and (scopes is None or _loop_of(scopes, node) is None):
            yield Finding(
                "outside_of_loop",
                f"node {node}: it ends a loop or an iteration, and it is in the body of none; put "
                "it behind the 'body' of a loop, or delete it",
                node=node.id,
            )


def _grouped(scopes: Scopes) -> Iterator[Finding]:
    """A drawn group that is a region holds the nodes of its body and no others."""
    flow = scopes.flow
    parents = {raw["id"]: raw.get("parentId") for raw in flow.data["nodes"]}
    children: dict[str, list[str]] = {}
    for node_id, parent in parents.items():
        if isinstance(parent, str) and parent in flow.regions and node_id in flow.nodes:
            children.setdefault(parent, []).append(node_id)
    for region, drawn in children.items():
        body = [node_id for node_id, scope in flow.scopes.items() if scope == region]
        strange = [node_id for node_id in drawn if node_id not in body]
        missing = [node_id for node_id in body if node_id not in drawn]
        node = flow.nodes[region]
        if strange:
            yield Finding(
                "parent_and_body",
                f"node {flow.nodes[strange[0]]}: it is drawn inside {node} (parentId), and only "
                "what hangs on its exec output 'body' alone is in its body; wire it there, or "
                "draw it outside",
                node=strange[0],
            )
        elif missing:
            names = listed([str(flow.nodes[node_id]) for node_id in missing[:3]])
            yield Finding(
                "parent_and_body",
                f"node {node}: its body has {names}, drawn outside of it (parentId) while others "
                "of its body are drawn inside; draw them inside as well",
                node=missing[0],
            )


def _in_body(flow: ResolvedFlow, node: Node) -> Iterator[Finding]:
    """What makes no sense of a node in a body, which is no step of its own in Dagster."""
    region = flow.nodes[flow.scopes[node.id] or ""]
    for key, way_out in (
        ("asset", f"give the asset to a node behind 'done' of {region}"),
        ("pool", f"give the pool to {region}, whose step the body runs in"),
    ):
        if node.data.get(key) is not None:
            yield Finding(
                f"{key}_in_body",
                f"node {node} data.{key}: the node is in the body of {region} and no step of its "
                f"own in Dagster; {way_out}",
                node=node.id,
            )


def circle_through_region(flow: ResolvedFlow) -> Iterator[Finding]:
    """A region and a node outside of its body that need each other; ``flow`` is one level."""
    if flow.is_acyclic or not flow.bodies:
        return
    behind = {region: flow.behind(region) for region in flow.bodies}
    for region, nodes in behind.items():
        for edge in flow.data_into(region):
            if edge.source in nodes and edge.target_port in flow.specs[region]["seen"]:
                yield Finding(
                    "circle_through_region",
                    f"node {flow.nodes[edge.source]}: the body of {flow.nodes[region]} reads its "
                    f"output '{edge.source_port}', and it runs after that region; hand the value "
                    "from one iteration to the next under data.carry, or make it before the loop",
                    node=edge.source,
                    port=edge.source_port,
                )
                return


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
    if not isinstance(declared, dict):
        return
    own = {*node.outputs, *node.inputs, ERROR_PORT} - set(node.carried)
    for name in declared:
        if not name.isidentifier() or name in own:
            known = listed(sorted(own))
            yield Finding(
                "carried_name",
                f"node {node} data.carry '{name}': this cannot be the name of a carried value; use "
                f"letters, digits and _, and none of {known}",
                node=node.id,
                port=name,
            )
