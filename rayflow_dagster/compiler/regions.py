"""A flow as drawn in; which region's body each node is in, and the types of what crosses its edge,
out.

A *region* is a node that runs other nodes, its *body*: those that only its exec output ``body``
leads to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import cast

from rayflow_dagster.port_types import PortType, parse_type
from rayflow_dagster.types import (
    NodeMetadata,
)

from .resolved import Edge, Node, ResolvedFlow, Scope
from .sequences import order_sequences
from .variable_reads import schedule_variables

BODY = "body"
MAX_TYPE_DEPTH = 8
"""How many lists in each other the type of what leaves loops in loops tells."""
MAX_DEPTH = 20
"""How deep regions may stand in each other."""


class _TooDeepError(Exception):
    """A region stands in too many others; its text is the region's id."""


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
        if self.is_inner(edge):
            return source.id
        if edge.source_port not in source.carried:
            return around
        return source.id if self.is_within(self.target_side(edge), source.id) else around

    def is_inner(self, edge: Edge) -> bool:
        """Whether a data edge leaves from the inner side of a region alone."""
        source = self.flow.nodes[edge.source]
        return edge.source_port in source.inner_outputs and edge.source_port not in source.carried

    def closes_circle(self, edge: Edge) -> bool:
        """Whether an edge leads from a body to the region whose it is."""
        return not edge.leads_back and self.is_within(self.source_side(edge), edge.target)

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

    def is_on_both_sides(self, edge: Edge) -> bool:
        """Whether a data edge brings a carried value, which is there inside and outside."""
        return edge.source_port in self.flow.nodes[edge.source].carried


@dataclass
class _Placing:
    """Finds the body of each node, those of its sources first: ``placed`` are those that have it.
    An edge from a node that is placed later closes a circle, and counts for nothing.
    """

    flow: ResolvedFlow
    of: dict[str, Scope]
    depth: dict[Scope, int] = field(default_factory=lambda: {None: 0})
    torn: set[str] = field(default_factory=set)
    placed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.scopes = Scopes(self.flow, self.of)

    def place(self, order: Sequence[str], users: Mapping[str, Scope | None]) -> None:
        """Say of each node where it is; ``users`` are where the values of data-driven nodes are
        needed, as far as that is known.

        Raises:
            RecursionError: regions stand too deep in each other.
        """
        self.torn.clear()
        self.placed.clear()
        for node_id in order:
            into = self.flow.exec_into(node_id) or self.flow.data_into(node_id)
            edges = [e for e in into if e.source in self.placed and not e.leads_back]
            if any(edge.source in self.torn for edge in edges):
                self.torn.add(node_id)
            if not edges:
                self.of[node_id] = users.get(node_id)
            elif edges[0].is_exec:
                self.of[node_id] = self._of_exec_driven(node_id, edges)
            else:
                self.of[node_id] = self._of_data_driven(edges, users.get(node_id))
            self.placed.add(node_id)
            if self.flow.nodes[node_id].region_kind is not None:
                self.depth[node_id] = self.depth[self.of[node_id]] + 1
                if self.depth[node_id] > MAX_DEPTH:
                    raise _TooDeepError(node_id)

    def _of_exec_driven(self, node_id: str, edges: list[Edge]) -> Scope:
        """The innermost body that every exec path to it passes into."""
        sides = {self.scopes.source_side(edge) for edge in edges}
        if len(sides) > 1:
            self.torn.add(node_id)
        return reduce(self.scopes.common, sides)

    def _of_data_driven(self, edges: list[Edge], needed: Scope) -> Scope:
        """The innermost body that any of its sources is in. A carried value is inside where that is
        where it is needed, and so is what has no source at all.
        """
        sides = [self._side_seen_from(edge, needed) for edge in edges]
        return max(sides, key=lambda scope: self.depth[scope])

    def _side_seen_from(self, edge: Edge, needed: Scope) -> Scope:
        if not self.scopes.is_on_both_sides(edge):
            return self.scopes.source_side(edge)
        is_inside = self.scopes.is_within(needed, edge.source)
        return edge.source if is_inside else self.of[edge.source]

    def users(self, order: Sequence[str]) -> dict[str, Scope]:
        """Data-driven node -> the innermost body that all are in that need its values. What a
        region brings is needed in its own body too, so that says nothing of where it is itself.
        """
        found: dict[str, Scope] = {}
        for node_id in reversed(order):
            node = self.flow.nodes[node_id]
            if node.is_start or node.region_kind is not None or self.flow.exec_into(node_id):
                continue
            sides = set()
            for edge in self.flow.edges_from[node_id]:
                if not edge.joins(self.flow.nodes):
                    continue
                if edge.leads_back or self.flow.exec_into(edge.target):
                    sides.add(self.scopes.target_side(edge))
                elif edge.target in found:
                    sides.add(found[edge.target])
            if sides:
                found[node_id] = reduce(self.scopes.common, sides)
        return found


def placed(flow: ResolvedFlow) -> ResolvedFlow:
    """``flow`` with its bodies, as far as they can be told where it breaks rules, and with the
    types of its loops' items. One without regions has what waits without a wire.
    """
    if not flow.regions:
        return timed(flow)
    if len(flow.starts) != 1:
        return flow
    order = flow.order if flow.is_acyclic else _order_of_cyclic(flow)
    placing = _Placing(flow, dict.fromkeys(flow.nodes))
    try:
        placing.place(order, {})
        placing.place(order, placing.users(order))
    except _TooDeepError as error:
        return replace(flow, too_deep=str(error))
    torn = placing.torn | (flow.nodes.keys() - set(flow.order))
    made = replace(flow, scopes=placing.of, torn=frozenset(torn))
    return _with_item_types(made, order)


def where_needed(flow: ResolvedFlow) -> Mapping[str, Scope]:
    """Of a flow with its bodies: data-driven node -> the innermost body that all are in that need
    its values.
    """
    order = flow.order if flow.is_acyclic else _order_of_cyclic(flow)
    return _Placing(flow, dict(flow.scopes)).users(order)


def _order_of_cyclic(flow: ResolvedFlow) -> list[str]:
    """Every node, most behind their sources; an edge that closes a circle counts for nothing."""
    order: list[str] = []
    seen: set[str] = set()
    for first in (flow.starts[0].id, *flow.nodes):
        stack = [(first, False)]
        while stack:
            node_id, is_through = stack.pop()
            if is_through:
                order.append(node_id)
            elif node_id not in seen:
                seen.add(node_id)
                stack.append((node_id, True))
                edges = [edge for edge in flow.edges_from[node_id] if not edge.leads_back]
                edges.sort(key=lambda edge: edge.is_exec)  # the last ones are followed first
                stack += [(edge.target, False) for edge in edges]
    return order[::-1]


def brought_type(flow: ResolvedFlow, edge: Edge) -> str | None:
    """The type of what a data edge brings: a list of the source's for each loop that it leaves.
    None where that cannot be told, for a reason that a finding says.
    """
    kind = flow.nodes[edge.source].output_type(edge.source_port)
    if kind is None or not flow.regions:
        return kind
    if not flow.scopes or not flow.torn.isdisjoint((edge.source, edge.target)):
        return None
    scopes = Scopes(flow, flow.scopes)
    if scopes.closes_circle(edge) or (scopes.is_inner(edge) and edge.source in scopes.left(edge)):
        return None
    for region in scopes.left(edge):
        kind = outside_type(flow.nodes[region], kind)
    return kind


def outside_type(region: Node, kind: str) -> str:
    """What a value of a body is outside: of a loop, the list of what its items brought."""
    if region.region_kind != "for_each":
        return kind
    if kind.count("[") >= MAX_TYPE_DEPTH:
        return "list"
    return f"list[{kind} | None]" if region.data.get("aligned") is True else f"list[{kind}]"


def _with_item_types(flow: ResolvedFlow, order: Sequence[str]) -> ResolvedFlow:
    """``flow`` with the types of the items of its loops, as far as what is wired tells them."""
    nodes = dict(flow.nodes)
    flow = replace(flow, nodes=nodes)
    for node_id in order:
        node = nodes[node_id]
        if node.region_kind != "for_each":
            continue
        edges = flow.wired_inputs(node_id).get("items", [])
        kinds = {brought_type(flow, edge) for edge in edges}
        item = _item_of(kinds.pop() if len(kinds) == 1 else None)
        item = f"list[{item}]" if node.data.get("batch") is not None else item
        nodes[node_id] = _with_output(node, "item", item)
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


def timed(flow: ResolvedFlow) -> ResolvedFlow:
    """One level of a flow with what waits without a wire in it."""
    return schedule_variables(order_sequences(flow))
