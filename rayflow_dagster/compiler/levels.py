"""A flow with its bodies known in; the flow level by level out.

Each level, the drawing without its bodies and every body without those in it, becomes a flow of its
own, whose START is the inner side of the region. What crosses a body's edge becomes a port of the
region node, called ``<node>.<output>`` after where it comes from.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from rayflow_dagster.types import (
    ALWAYS,
    EXEC_IN,
    START_CLASS,
    NodeMetadata,
    RegionKind,
    RegionSpec,
)

from .regions import BODY, Scopes, outside_type, timed
from .resolved import ENDS_OF_BODY, Edge, Node, ResolvedFlow, Scope, Timing

EXHAUSTED = "exhausted"


@dataclass
class _Level:
    """A flow in the making: the nodes of one body, or of the drawing."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[str, Edge] = field(default_factory=dict)
    entering: dict[str, str] = field(default_factory=dict)
    """What it sees of outside, by its port of the region -> its type."""
    leaving: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What leaves it, by its port of the region -> (node, output) in it."""
    types: dict[str, str] = field(default_factory=dict)
    """The types of what leaves it, on the outside."""
    handed: list[Edge] = field(default_factory=list)
    """What is wired into the region's inner inputs."""
    after: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Node id -> the nodes that it waits for though no edge leads from them."""
    ends: dict[str, str] = field(default_factory=dict)
    """Classes of nodes that end an iteration around it -> the exec output that fires then."""


def by_level(flow: ResolvedFlow) -> ResolvedFlow:
    """The drawing without its bodies, which ``bodies`` has, and so on inward. A flow without
    regions is its own only level, and so is one whose bodies cannot be told.
    """
    if not flow.scopes:
        return flow
    scopes = Scopes(flow, flow.scopes)
    levels: dict[Scope, _Level] = {None: _Level(), **{region: _Level() for region in flow.regions}}
    for node in flow.nodes.values():
        levels[scopes.of[node.id]].nodes[node.id] = node
    for edge in flow.edges:
        if not edge.joins(flow.nodes):
            levels[None].edges[edge.id] = edge
        elif edge.is_exec:
            levels[scopes.target_side(edge)].edges[edge.id] = edge
        else:
            _lay(scopes, levels, edge)
    execs: dict[Scope, Mapping[str, list[Edge]]] = {}
    for region in sorted(flow.regions, key=lambda region: -len(scopes.chain(region))):
        around = scopes.of[region]
        if flow.nodes[region].region_kind == "group":
            if around not in execs:
                execs[around] = _exec_edges(levels[around])
            _pass_on_ends(flow, levels[region], levels[around], region, execs[around])
    return _made(flow, levels, None)


def _pass_on_ends(
    flow: ResolvedFlow,
    group: _Level,
    around: _Level,
    region: str,
    execs: Mapping[str, list[Edge]],
) -> None:
    """What ends an iteration from within a group ends the one that the group is in: the group fires
    an exec output of its own, which leads to a node that does. ``execs`` are those around it.
    """
    for node in list(group.nodes.values()):
        output = ENDS_OF_BODY.get(node.class_path)
        if output is not None:
            group.ends[node.class_path] = output
            end = replace(node, id=_free_id(f"{region}.{output}", flow), label="", data={})
            around.nodes[end.id] = end
            edge = Edge(f"{region} {output}", region, end.id, output, EXEC_IN, "exec")
            around.edges[edge.id] = edge
            around.after[end.id] = tuple(_led_to(execs, region, ALWAYS))


def _free_id(node_id: str, flow: ResolvedFlow) -> str:
    while node_id in flow.nodes:
        node_id += "'"
    return node_id


def _exec_edges(level: _Level) -> Mapping[str, list[Edge]]:
    """The exec edges of a level by their sources."""
    edges: defaultdict[str, list[Edge]] = defaultdict(list)
    for edge in level.edges.values():
        if edge.is_exec:
            edges[edge.source].append(edge)
    return edges


def _led_to(execs: Mapping[str, list[Edge]], node_id: str, output: str) -> Iterator[str]:
    """The nodes that exec edges lead to from an exec output."""
    queue = [edge.target for edge in execs.get(node_id, ()) if edge.source_port == output]
    seen: set[str] = set()
    while queue:
        target = queue.pop()
        if target not in seen:
            seen.add(target)
            yield target
            queue += [edge.target for edge in execs.get(target, ())]


def _lay(scopes: Scopes, levels: Mapping[Scope, _Level], edge: Edge) -> None:
    """Lay a data edge through the bodies that it leaves and enters."""
    source, port = edge.source, edge.source_port
    name = f"{source}.{port}"
    kind = scopes.flow.nodes[source].output_type(port) or "any"
    for region in scopes.left(edge):
        levels[region].leaving[name] = source, port
        kind = levels[region].types[name] = outside_type(scopes.flow.nodes[region], kind)
        source, port = region, name
    for region in scopes.entered(edge):
        levels[region].entering[name] = kind
        into = Edge(f"{name} into {region}", source, region, port, name, "data")
        levels[scopes.of[region]].edges[into.id] = into
        source, port = region, name
    if edge.leads_back:
        levels[edge.target].handed.append(replace(edge, source=source, source_port=port))
    else:
        level = levels[scopes.of[edge.target]]
        level.edges[edge.id] = replace(edge, source=source, source_port=port)


def _made(flow: ResolvedFlow, levels: Mapping[Scope, _Level], scope: Scope) -> ResolvedFlow:
    level = levels[scope]
    nodes = {
        node.id: _outside(flow, node, levels[node.id]) if node.region_kind else node
        for node in level.nodes.values()
    }
    if scope is not None:
        nodes = {scope: _inside(flow.nodes[scope], level), **nodes}
    regions = [node for node in level.nodes.values() if node.region_kind]
    made = replace(
        flow,
        nodes=nodes,
        edges=tuple(level.edges.values()),
        bodies={node.id: _made(flow, levels, node.id) for node in regions},
        specs={node.id: _spec(flow, node, levels[node.id]) for node in regions},
        handlers=flow.error_handlers - {scope},
        timing=Timing(after=level.after),
        handed=tuple(level.handed),
    )
    return timed(made)


def _outside(flow: ResolvedFlow, node: Node, level: _Level) -> Node:
    """A region node as the nodes around it see it: without outputs that it can do without and that
    lead nowhere.
    """
    metadata = cast(NodeMetadata, node.metadata)
    wired = {edge.source_port for edge in flow.edges_from[node.id] if edge.is_exec}
    left_out = {BODY, *({ALWAYS, EXHAUSTED} - wired)}
    ports: dict[str, Any] = {
        "inputs": {**node.inputs, **level.entering},
        "outputs": {**{name: node.outputs[name] for name in node.outer_outputs}, **level.types},
        "exec_outputs": (
            *(name for name in node.exec_outputs if name not in left_out),
            *level.ends.values(),
        ),
    }
    return replace(node, metadata=cast(NodeMetadata, {**metadata, **ports}))


def _inside(node: Node, level: _Level) -> Node:
    """A region node as its body sees it: the START of that."""
    ports: dict[str, Any] = {
        "inputs": {},
        "inner_inputs": {},
        "constants": {},
        "defaults": {},
        "outputs": {**node.inner_outputs, **level.entering},
        "inner_outputs": {},
        "exec_input": False,
        "exec_outputs": (BODY,),
        "exec_exclusive": True,
        "exec_fires": "one",
    }
    metadata = cast(NodeMetadata, {**cast(NodeMetadata, node.metadata), **ports})
    return replace(node, class_path=START_CLASS, metadata=metadata, values={}, data={}, computed={})


def _spec(flow: ResolvedFlow, node: Node, level: _Level) -> RegionSpec:
    data = node.data
    inner: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for edge in level.handed:
        inner[edge.target_port].append((edge.source, edge.source_port))
    return {
        "kind": cast(RegionKind, node.region_kind),
        "carry": list(node.carried),
        "inner": dict(inner),
        "leaves": level.leaving,
        "fused": False,
        "exhausted": _is_exhausted_wired(flow, node),
        "seen": list(level.entering),
        "parallel": data.get("parallel"),
        "batch": data.get("batch"),
        "on_item_error": data.get("on_item_error") or "fail",
        "aligned": data.get("aligned") is True,
        "max_iterations": data.get("max_iterations"),
        "interval": data.get("interval") or 0.0,
        "time_limit": data.get("time_limit"),
    }


def _is_exhausted_wired(flow: ResolvedFlow, node: Node) -> bool:
    """Whether a loop that reaches its limit goes on there; else it fails."""
    return any(e.is_exec and e.source_port == EXHAUSTED for e in flow.edges_from[node.id])


def ends_of(body: ResolvedFlow) -> dict[str, list[str]]:
    """The exec outputs that a group fires where its body ends early, each with the nodes of the
    body that end it so.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for node in body.nodes.values():
        if node.class_path in ENDS_OF_BODY:
            found[ENDS_OF_BODY[node.class_path]].append(node.id)
    return found
