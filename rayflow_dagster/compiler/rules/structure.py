"""The rules about a flow's shape: which nodes and edges there are, and whether they hang together.

One rule is one function from a resolved flow to findings. Rules about options stand in
``options.py``, about values and types in ``values.py``, about what can happen in a run
in ``runs.py``.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from itertools import chain

from rayflow_dagster.compiler.dialect import decorations
from rayflow_dagster.compiler.findings import Finding
from rayflow_dagster.compiler.regions import Scopes
from rayflow_dagster.compiler.resolved import Edge, Node, ResolvedFlow
from rayflow_dagster.expressions import names_in
from rayflow_dagster.suggest import Hints, listed
from rayflow_dagster.types import ERROR_PORT, EXEC_IN

Ports = tuple[Collection[str], ...]
"""Names of ports in groups, none of which is copied: a node may have thousands."""


def duplicate_id(flow: ResolvedFlow) -> Iterator[Finding]:
    for node_id, more in Counter(flow.duplicates).items():
        yield Finding(
            "duplicate_id",
            f"node '{node_id}': {more + 1} nodes have this id; give each node an id of its own",
            node=node_id,
        )
    by_folded: dict[str, list[str]] = {}
    for node_id in flow.nodes:
        by_folded.setdefault(node_id.lower(), []).append(node_id)
    for alike in by_folded.values():
        if len(alike) > 1:
            names = listed([f"'{name}'" for name in alike])
            yield Finding(
                "duplicate_id",
                f"nodes {names}: these ids differ only in case, which file systems and people "
                "confuse; rename one",
                node=alike[1],
            )
    for edge_id, count in Counter(edge.id for edge in flow.edges).items():
        if count > 1:
            yield Finding(
                "duplicate_id",
                f"edge '{edge_id}': {count} edges have this id; give each an id of its own",
                edge=edge_id,
            )


def single_start(flow: ResolvedFlow) -> Iterator[Finding]:
    if not flow.starts:
        yield Finding("single_start", "the flow has no START node; add one node of type 'start'")
    elif len(flow.starts) > 1:
        names = listed([str(node) for node in flow.starts])
        yield Finding(
            "single_start",
            f"the flow has {len(flow.starts)} START nodes ({names}); keep one",
            node=flow.starts[1].id,
        )


def at_least_one_return(flow: ResolvedFlow) -> Iterator[Finding]:
    if not flow.returns:
        yield Finding(
            "at_least_one_return",
            "the flow has no RETURN node, so it can give no result; add one of type 'return'",
        )


def unknown_node(flow: ResolvedFlow) -> Iterator[Finding]:
    for edge in flow.edges:
        for role, node_id in (("source", edge.source), ("target", edge.target)):
            if node_id not in flow.nodes:
                yield Finding(
                    "unknown_node",
                    f"edge '{edge.id}': its {role} '{node_id}' is not a node of this flow; "
                    "draw the edge again or delete it"
                    + flow.hints.did_you_mean(node_id, flow.nodes),
                    edge=edge.id,
                )


def known_ports(flow: ResolvedFlow) -> Iterator[Finding]:
    """Every edge leaves and enters by a port that exists, and of its own kind."""
    for edge in flow.edges:
        source, target = flow.nodes.get(edge.source), flow.nodes.get(edge.target)
        if source is not None and source.metadata is not None:
            yield from _check_source(flow, edge, source)
        if target is not None and target.metadata is not None:
            yield from _check_target(flow, edge, target)


def _check_source(flow: ResolvedFlow, edge: Edge, node: Node) -> Iterator[Finding]:
    implicit = (ERROR_PORT,) if node.can_handle_error else ()
    handled = implicit if flow.handles_error(node.id) else ()
    exec_ports: Ports = (node.exec_outputs, implicit)
    data_ports: Ports = (() if node.is_return else node.outputs, handled)
    names_error = not edge.is_exec and edge.source_port == ERROR_PORT
    if names_error and implicit and not _has(data_ports, ERROR_PORT):
        yield Finding(
            "unhandled_error",
            f"node {node} output 'error' edge '{edge.id}': this value comes only where the exec "
            "output 'error' of the node is wired; wire that too, or delete the edge",
            node=node.id,
            port=ERROR_PORT,
            edge=edge.id,
        )
        return
    mine, other = (exec_ports, data_ports) if edge.is_exec else (data_ports, exec_ports)
    yield from _check_port(flow.hints, edge, node, edge.source_port, mine, other, "output")


def _check_target(flow: ResolvedFlow, edge: Edge, node: Node) -> Iterator[Finding]:
    takes_exec = node.metadata is not None and node.metadata["exec_input"]
    exec_ports: Ports = ((EXEC_IN,) if takes_exec else (),)
    data_ports: Ports = (node.inputs, node.inner_inputs)
    mine, other = (exec_ports, data_ports) if edge.is_exec else (data_ports, exec_ports)
    yield from _check_port(flow.hints, edge, node, edge.target_port, mine, other, "input")


def _check_port(
    hints: Hints,
    edge: Edge,
    node: Node,
    port: str,
    mine: Ports,
    other: Ports,
    direction: str,
) -> Iterator[Finding]:
    if _has(mine, port):
        return
    where = f"node {node} {direction} '{port}' edge '{edge.id}'"
    kind = edge.kind
    if _has(other, port):
        opposite = "a data" if kind == "exec" else "an exec"
        yield Finding(
            "exec_wired_to_data",
            f"{where}: this end of the {kind} edge is {opposite} port; exec ports say when and "
            "data ports say what, so join exec with exec and data with data",
            node=node.id,
            port=port,
            edge=edge.id,
        )
        return
    made = {name for each in node.computed.values() for name in each.extra}
    drawn = [[name for name in group if name not in made] for group in mine]
    readers = [name for name, each in node.computed.items() if port in names_in(each.text)]
    if direction == "input" and readers:
        hint = f"; the expression of '{readers[0]}' reads '{port}' without a wire: delete the edge"
    else:
        hint = hints.did_you_mean(port, chain(*drawn))
    yield Finding(
        "unknown_port",
        f"{where}: the node has no {kind} {direction} of this name "
        f"({kind} {direction}s: {listed(*drawn)})" + hint,
        node=node.id,
        port=port,
        edge=edge.id,
    )


def _has(ports: Ports, name: str) -> bool:
    return any(name in group for group in ports)


def repeated_edge(flow: ResolvedFlow) -> Iterator[Finding]:
    seen: dict[tuple[str, str, str, str, str], str] = {}
    for edge in flow.edges:
        key = (edge.source, edge.source_port, edge.target, edge.target_port, edge.kind)
        if key in seen:
            yield Finding(
                "repeated_edge",
                f"edge '{edge.id}': the same wire as edge '{seen[key]}', from node "
                f"'{edge.source}' {edge.source_port} to node '{edge.target}' {edge.target_port}; "
                "delete one",
                edge=edge.id,
            )
        seen.setdefault(key, edge.id)


def no_cycles(flow: ResolvedFlow) -> Iterator[Finding]:
    """No node may wait for itself, over exec and data edges alike."""
    if flow.is_acyclic:
        return
    import networkx as nx  # local: few flows have a circle, and it takes long to import

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(flow.nodes)
    graph.add_edges_from(
        (edge.source, edge.target)
        for edge in flow.edges
        if edge.joins(flow.nodes) and not edge.leads_back
    )
    position = {node_id: at for at, node_id in enumerate(flow.nodes)}
    for component in nx.strongly_connected_components(graph):
        first = min(component, key=position.__getitem__)
        if len(component) > 1 or graph.has_edge(first, first):
            edges = nx.find_cycle(graph.subgraph(component), first)
            path = " -> ".join([*(source for source, _ in edges), edges[-1][1]])
            way_out = _back_into_region(flow, edges) or (
                "delete one of these edges; what is to run again and again is the body of a "
                "'control.while'"
            )
            yield Finding(
                "no_cycles",
                f"the nodes {path} wait for each other in a circle, so none could ever start; "
                + way_out,
                node=edges[0][0],
            )


def _back_into_region(flow: ResolvedFlow, circle: list[tuple[str, str]]) -> str | None:
    """What to do where a circle is closed by an edge from a body to its region."""
    scopes = Scopes(flow, flow.scopes)
    for pair in circle if flow.scopes else ():
        for edge in flow.edges_into[pair[1]]:
            if edge.source != pair[0] or not scopes.closes_circle(edge):
                continue
            region = flow.nodes[edge.target]
            if edge.is_exec:
                return (
                    f"delete edge '{edge.id}', which leads back into {region}: a body ends where "
                    "no exec edge leads on, and its region then goes on by itself"
                )
            if edge.target_port in region.carried:
                return (
                    f"wire edge '{edge.id}' into 'next.{edge.target_port}' of {region} instead, "
                    "which takes what one iteration hands to the next"
                )
            return (
                f"delete edge '{edge.id}': what one iteration of {region} hands to the next is "
                "declared under data.carry and wired into its 'next.' inputs"
            )
    return None


def all_nodes_reachable(flow: ResolvedFlow) -> Iterator[Finding]:
    """Every node is led to from START, or only gives data to nodes that are."""
    if len(flow.starts) != 1:
        return
    reached = _reached(flow)
    for node in flow.nodes.values():
        if node.id not in reached:
            yield Finding(
                "all_nodes_reachable",
                f"node {node}: nothing leads to it from START, so it would never run; wire an "
                "exec edge into it or delete it",
                node=node.id,
            )


def _reached(flow: ResolvedFlow) -> set[str]:
    reached = flow.behind(flow.starts[0].id)
    queue = list(reached)
    while queue:
        found = _data_sources(flow, queue.pop()) - reached
        reached |= found
        queue.extend(found)
    return reached


def _data_sources(flow: ResolvedFlow, node_id: str) -> set[str]:
    """The data-driven nodes that ``node_id`` gets values from, or whose writes it waits for."""
    sources = {edge.source for edge in flow.data_into(node_id)}
    sources.update(flow.timing.after.get(node_id, ()))
    return {source for source in sources if not flow.exec_into(source)}


def return_nodes_reachable(flow: ResolvedFlow) -> Iterator[Finding]:
    if len(flow.starts) != 1 or not flow.returns:
        return
    reached = flow.behind(flow.starts[0].id) - flow.switched_off
    if not any(node.id in reached for node in flow.returns):
        yield Finding(
            "return_nodes_reachable",
            "no RETURN node can be reached from START, so the flow could never give a result; "
            "wire an exec edge into a RETURN from a node that is not disabled",
            node=flow.returns[0].id,
        )


def decoration(flow: ResolvedFlow) -> Iterator[Finding]:
    """What is not wired and names no class is a drawing; somebody may have meant a node."""
    for box in decorations(flow.data):
        style = f" ('{box['type']:.40}')" if box.get("type") else ""
        yield Finding(
            "decoration",
            f"node '{box['id']}'{style}: it is not wired and names no class, so it is kept as a "
            'drawing and never runs; to run it, put its class path in "type" and wire it',
            severity="warning",
            node=box["id"],
        )


def disabled(flow: ResolvedFlow) -> Iterator[Finding]:
    for node in flow.nodes.values():
        if node.is_disabled and node in flow.starts:
            yield Finding(
                "disabled",
                f"node {node}: it is START, and where it is disabled nothing runs; enable it",
                node=node.id,
            )
        elif node.id in flow.switched_off:
            why = "only disabled nodes lead to it"
            if node.is_disabled:
                why = "it is disabled"
            elif (flow.join_of(node.id) or 1) > 1:
                why = (
                    f"it asks for {node.join} exec edges to fire, and disabled nodes leave it fewer"
                )
            yield Finding(
                "disabled",
                f"node {node}: {why}, so every run skips it",
                severity="warning",
                node=node.id,
            )


SHAPE = (
    decoration, disabled, duplicate_id, single_start, at_least_one_return, unknown_node,
    known_ports, repeated_edge, no_cycles, all_nodes_reachable, return_nodes_reachable,
)  # fmt: skip
