"""A flow as drawn in; which region's body each node is in, and the flow level by level, out.

A *region* is a node that runs other nodes, its *body*: those that only its exec output ``body``
leads to. Each level of a flow, the drawing without its bodies and every body without those in it,
becomes a flow of its own, whose START is the inner side of the region. What crosses a body's edge
becomes a port of the region node, called ``<node>.<output>`` after where it comes from.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, cast

from rayflow_dagster.port_types import PortType, parse_type
from rayflow_dagster.types import (
    ALWAYS,
    BREAK_CLASS,
    CONTINUE_CLASS,
    EXEC_IN,
    START_CLASS,
    NodeMetadata,
    RegionKind,
    RegionSpec,
)

from .resolved import Edge, Node, ResolvedFlow, Scope, Timing
from .sequences import order_sequences
from .variable_reads import schedule_variables

BODY = "body"
BREAK_WORDS = {BREAK_CLASS: "break", CONTINUE_CLASS: "continue"}
Vertex = str | tuple[str, str]
"""A node, or the exec output of one that opens its body."""


@dataclass(frozen=True)
class Scopes:
    """Where the nodes of a flow stand."""

    flow: ResolvedFlow
    of: Mapping[str, Scope]
    """Node id -> the innermost body that it is in."""

    def chain(self, scope: Scope) -> list[Scope]:
        """A body and those around it, the innermost first; the drawing is the last."""
        found = [scope]
        while scope is not None:
            scope = self.of[scope]
            found.append(scope)
        return found

    def is_within(self, scope: Scope, region: Scope) -> bool:
        """Whether a body is that of a region, or in it."""
        return region in self.chain(scope)

    def source_side(self, edge: Edge) -> Scope:
        """The body that an edge leaves from: a region's own where it leaves from its inner side."""
        source = self.flow.nodes[edge.source]
        around = self.of[edge.source]
        if source.region_kind is None:
            return around
        if edge.is_exec:
            return source.id if edge.source_port == BODY else around
        if edge.source_port not in source.inner_outputs:
            return around
        if edge.source_port not in source.outer_outputs:
            return source.id
        return source.id if self.is_within(self.target_side(edge), source.id) else around

    def target_side(self, edge: Edge) -> Scope:
        """The body that an edge leads into."""
        return edge.target if edge.leads_back else self.of[edge.target]

    def common(self, one: Scope, other: Scope) -> Scope:
        """The innermost body that both are in."""
        around = self.chain(other)
        return next(scope for scope in self.chain(one) if scope in around)

    def left(self, edge: Edge) -> list[str]:
        """The regions whose bodies a data edge leads out of, the innermost first."""
        scope = self.source_side(edge)
        common = self.common(scope, self.target_side(edge))
        return [each for each in self.chain(scope)[: self.chain(scope).index(common)] if each]

    def entered(self, edge: Edge) -> list[str]:
        """The regions whose bodies a data edge leads into, the outermost first."""
        scope = self.target_side(edge)
        common = self.common(self.source_side(edge), scope)
        found = [each for each in self.chain(scope)[: self.chain(scope).index(common)] if each]
        return found[::-1]

    def _of_data_driven(self, node_id: str) -> Scope:
        """The innermost body that any of its sources is in. A carried value is inside where that is
        where it is needed, and so is what has no source at all.
        """
        edges, users = self.flow.data_into(node_id), list(self._users(node_id))
        if not edges:
            return reduce(self.common, users) if users else None
        carriers = {edge.source for edge in edges if self._is_on_both_sides(edge)}
        sides = [self.source_side(edge) for edge in edges if edge.source not in carriers]
        sides += [each for each in carriers if any(self.is_within(user, each) for user in users)]
        return max(sides, key=lambda scope: len(self.chain(scope)), default=None)

    def _is_on_both_sides(self, edge: Edge) -> bool:
        source = self.flow.nodes[edge.source]
        return edge.source_port in source.inner_outputs and edge.source_port in source.outer_outputs

    def _users(self, node_id: str) -> Iterator[Scope]:
        """Where the values of a data-driven node are needed."""
        seen, queue = {node_id}, [node_id]
        while queue:
            for edge in self.flow.edges_from[queue.pop()]:
                if edge.leads_back or self.flow.exec_into(edge.target):
                    yield self.target_side(edge)
                elif edge.target not in seen:
                    seen.add(edge.target)
                    queue.append(edge.target)


def placed(flow: ResolvedFlow) -> ResolvedFlow:
    """``flow`` with its bodies, as far as they can be told where it breaks rules, and with the
    types of its loops' items. One without regions has what waits without a wire.
    """
    if not flow.regions:
        return _timed(flow)
    if len(flow.starts) != 1:
        return flow
    of: dict[str, Scope] = dict.fromkeys(flow.nodes) | _dominated(flow)
    scopes = Scopes(flow, of)
    for node_id in flow.order:
        if not flow.exec_into(node_id) and not flow.nodes[node_id].is_start:
            of[node_id] = scopes._of_data_driven(node_id)
    return _with_item_types(replace(flow, scopes=of))


def _dominated(flow: ResolvedFlow) -> dict[str, Scope]:
    """Node id -> the innermost region whose ``body`` output every exec path to it passes."""
    successors: defaultdict[Vertex, list[Vertex]] = defaultdict(list)
    for edge in flow.edges:
        if edge.is_exec and edge.joins(flow.nodes):
            opens = edge.source in flow.regions and edge.source_port == BODY
            successors[(edge.source, BODY) if opens else edge.source].append(edge.target)
    for region in flow.regions:
        successors[region].append((region, BODY))
    start = flow.starts[0].id
    reached = _reached(successors, start)
    around: dict[str, list[str]] = {}
    for region in flow.regions:
        for vertex in reached - _reached(successors, start, without=(region, BODY)):
            if isinstance(vertex, str):
                around.setdefault(vertex, []).append(region)
    return {
        node_id: max(regions, key=lambda region: len(around.get(region, ())))
        for node_id, regions in around.items()
    }


def _reached(
    successors: Mapping[Vertex, list[Vertex]], start: str, without: Vertex | None = None
) -> set[Vertex]:
    found: set[Vertex] = {start}
    queue: list[Vertex] = [start]
    while queue:
        fresh = set(successors.get(queue.pop(), ())) - found - {without}
        found |= fresh
        queue.extend(fresh)
    return found


def brought_type(flow: ResolvedFlow, edge: Edge) -> str | None:
    """The type of what a data edge brings: a list of the source's for each loop that it leaves."""
    kind = flow.nodes[edge.source].output_type(edge.source_port)
    if kind is None or not flow.scopes:
        return kind
    for region in Scopes(flow, flow.scopes).left(edge):
        kind = _outside_type(flow.nodes[region], kind)
    return kind


def _outside_type(region: Node, kind: str) -> str:
    """What a value of a body is outside: of a loop, the list of what its items brought."""
    if region.region_kind != "for_each":
        return kind
    return f"list[{kind} | None]" if region.data.get("aligned") is True else f"list[{kind}]"


def _with_item_types(flow: ResolvedFlow) -> ResolvedFlow:
    """``flow`` with the types of the items of its loops, as far as what is wired tells them."""
    for node_id in flow.order:
        node = flow.nodes[node_id]
        if node.region_kind != "for_each":
            continue
        edges = flow.wired_inputs(node_id).get("items", [])
        kinds = {brought_type(flow, edge) for edge in edges}
        item = _item_of(kinds.pop() if len(kinds) == 1 else None)
        item = f"list[{item}]" if node.data.get("batch") is not None else item
        flow = replace(flow, nodes={**flow.nodes, node_id: _with_output(node, "item", item)})
    return flow


def _item_of(kind: str | None) -> str:
    parsed = parse_type(kind) if kind is not None else None
    match parsed:
        case PortType("list", (item,)):
            return str(item)
    return "any"


def _with_output(node: Node, port: str, kind: str) -> Node:
    metadata = dict(cast(NodeMetadata, node.metadata))
    for key in ("outputs", "inner_outputs"):
        metadata[key] = {**cast(dict[str, str], metadata[key]), port: kind}
    return replace(node, metadata=cast(NodeMetadata, metadata))


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
    inner: defaultdict[str, list[tuple[str, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """What is wired into the region's inner inputs."""
    after: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Node id -> the nodes that it waits for though no edge leads from them."""
    ends: dict[str, str] = field(default_factory=dict)
    """Classes of nodes that end an iteration around it -> the exec output that fires then."""


def by_level(flow: ResolvedFlow) -> ResolvedFlow:
    """The drawing without its bodies, which ``bodies`` has, and so on inward. A flow without
    regions is its own only level.
    """
    if not flow.regions:
        return flow
    scopes = Scopes(flow, flow.scopes)
    levels: dict[Scope, _Level] = {None: _Level(), **{region: _Level() for region in flow.regions}}
    for node in flow.nodes.values():
        levels[scopes.of[node.id]].nodes[node.id] = node
    for edge in flow.edges:
        if edge.is_exec:
            levels[scopes.target_side(edge)].edges[edge.id] = edge
        else:
            _lay(scopes, levels, edge)
    for region in sorted(flow.regions, key=lambda region: -len(scopes.chain(region))):
        if flow.nodes[region].region_kind == "group":
            _pass_on_ends(levels[region], levels[scopes.of[region]], region)
    return _made(flow, levels, None)


def _pass_on_ends(group: _Level, around: _Level, region: str) -> None:
    """What ends an iteration from within a group ends the one that the group is in: the group fires
    an exec output of its own, which leads to a node that does.
    """
    for node in list(group.nodes.values()):
        if ends_body(node):
            group.ends[node.class_path] = output = BREAK_WORDS[node.class_path]
            data = {key: value for key, value in node.data.items() if key != "join"}
            end = replace(node, id=f"{region}.{output}", label="", data=data)
            around.nodes[end.id] = end
            edge = Edge(f"{region} {output}", region, end.id, output, EXEC_IN, "exec")
            around.edges[edge.id] = edge
            around.after[end.id] = tuple(_led_to(around, region, ALWAYS))


def _led_to(level: _Level, node_id: str, output: str) -> Iterator[str]:
    """The nodes of a level that exec edges lead to from an exec output."""
    edges = [edge for edge in level.edges.values() if edge.is_exec]
    queue = [e.target for e in edges if e.source == node_id and e.source_port == output]
    seen: set[str] = set()
    while queue:
        target = queue.pop()
        if target not in seen:
            seen.add(target)
            yield target
            queue += [edge.target for edge in edges if edge.source == target]


def _lay(scopes: Scopes, levels: Mapping[Scope, _Level], edge: Edge) -> None:
    """Lay a data edge through the bodies that it leaves and enters."""
    source, port = edge.source, edge.source_port
    name = f"{source}.{port}"
    kind = scopes.flow.nodes[source].output_type(port) or "any"
    for region in scopes.left(edge):
        levels[region].leaving[name] = source, port
        kind = levels[region].types[name] = _outside_type(scopes.flow.nodes[region], kind)
        source, port = region, name
    for region in scopes.entered(edge):
        levels[region].entering[name] = kind
        into = Edge(f"{name} into {region}", source, region, port, name, "data")
        levels[scopes.of[region]].edges[into.id] = into
        source, port = region, name
    if edge.leads_back:
        levels[edge.target].inner[edge.target_port].append((source, port))
    else:
        level = levels[scopes.of[edge.target]]
        level.edges[edge.id] = replace(edge, source=source, source_port=port)


def _made(flow: ResolvedFlow, levels: Mapping[Scope, _Level], scope: Scope) -> ResolvedFlow:
    level = levels[scope]
    nodes = {
        node.id: _outside(node, levels[node.id]) if node.region_kind else node
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
        handlers=flow.error_handlers,
        timing=Timing(after=level.after),
    )
    return _timed(made)


def _timed(flow: ResolvedFlow) -> ResolvedFlow:
    """One level of a flow with what waits without a wire in it."""
    return schedule_variables(order_sequences(flow))


def _outside(node: Node, level: _Level) -> Node:
    """A region node as the nodes around it see it."""
    metadata = cast(NodeMetadata, node.metadata)
    ports: dict[str, Any] = {
        "inputs": {**node.inputs, **level.entering},
        "outputs": {**{name: node.outputs[name] for name in node.outer_outputs}, **level.types},
        "exec_outputs": (*(n for n in node.exec_outputs if n != BODY), *level.ends.values()),
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
    return replace(node, class_path=START_CLASS, metadata=metadata, values={}, data={})


def _spec(flow: ResolvedFlow, node: Node, level: _Level) -> RegionSpec:
    data = node.data
    wired = {edge.source_port for edge in flow.edges_from[node.id] if edge.is_exec}
    return {
        "kind": cast(RegionKind, node.region_kind),
        "carry": list(node.carried),
        "inner": dict(level.inner),
        "leaves": level.leaving,
        "fused": False,
        "exhausted": "exhausted" in wired,
        "seen": list(level.entering),
        "parallel": data.get("parallel"),
        "batch": data.get("batch"),
        "on_item_error": data.get("on_item_error") or "fail",
        "aligned": data.get("aligned") is True,
        "max_iterations": data.get("max_iterations"),
        "interval": float(data.get("interval") or 0.0),
        "time_limit": data.get("time_limit"),
    }


def ends_body(node: Node) -> bool:
    """Whether it ends the iteration that it is reached in."""
    return node.class_path in BREAK_WORDS
