"""A flow with every name looked up in; its bodies, and wires for what its expressions read, out.

An input whose constant is ``{"$expr": "..."}`` gets a wire for each name that the expression reads,
into an input of its node that is there for that alone. So whatever follows wires holds for it: what
waits for what, which body a node is in, what a body sees of outside. No node is added but for the
read of a variable.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, cast

from rayflow_dagster.computed import KEY, Computed, is_expression
from rayflow_dagster.expressions import name_problem, names_in
from rayflow_dagster.types import GET_VARIABLE_CLASS, FlowNode, NodeMetadata

from .ports import VARIABLE, complete_metadata, own_ports
from .regions import Scopes, placed, where_needed
from .resolved import Edge, MetadataLookup, Node, ResolvedFlow, Scope


class Named(NamedTuple):
    """What a name in an expression stands for: an output of ``source``, which is START or a region
    around the node; an input of the node itself, where ``source`` is that; a variable, where it is
    None.
    """

    source: Node | None
    name: str


@dataclass(frozen=True)
class Names:
    """What names stand for in the expressions of a flow whose bodies are known."""

    flow: ResolvedFlow

    def find(self, node: Node, port: str, name: str) -> Named | None:
        """What a name is in the expression of an input; None where it is nothing."""
        for source, names in self._known(node):
            if name in names and not (source is node and name == port):
                return Named(source, name)
        return None

    def known(self, node: Node, port: str) -> Iterator[str]:
        """All that the expression of an input may name."""
        for source, names in self._known(node):
            for name in names:
                if not (source is node and name == port) and name_problem(name) is None:
                    yield name

    def _known(self, node: Node) -> Iterator[tuple[Node | None, Mapping[str, object]]]:
        """What has names, and they; where two have the same, the first holds."""
        yield node, node.inputs
        for start in self.flow.starts[:1]:
            yield start, start.outputs
        for region in self._around(node.id):
            yield self.flow.nodes[region], self.flow.nodes[region].inner_outputs
        yield None, self.flow.variables

    def _around(self, node_id: str) -> list[str]:
        """The regions in whose bodies a node is, or is by a wire from there, the innermost first.
        A node without exec edges may be where its value is needed.
        """
        if not self.flow.scopes:
            return []
        scopes = Scopes(self.flow, self.flow.scopes)
        own = self.flow.scopes[node_id]
        needed = self._needed.get(node_id)
        innermost = needed if scopes.is_within(needed, own) else own
        return [each for each in scopes.chain(innermost) if each is not None]

    @cached_property
    def _needed(self) -> Mapping[str, Scope]:
        return where_needed(self.flow)


def placed_with_expressions(flow: ResolvedFlow, lookup: MetadataLookup) -> ResolvedFlow:
    """``flow`` with its bodies, as ``placed`` finds them, and with what its expressions read.

    ``lookup`` knows the class of nodes that read variables.
    """
    if not any(_texts(node) for node in flow.nodes.values()):
        return placed(flow)
    # What item and index are follows from the bodies, and they are wired before bodies are told.
    wires = _Wires(Names(placed(flow) if flow.regions else flow), lookup, dict(flow.nodes))
    for node in flow.nodes.values():
        wires.add(node)
    wired = placed(replace(flow, nodes=wires.nodes, edges=(*flow.edges, *wires.edges)))
    nodes = {node.id: _with_types(wired, node) for node in wired.nodes.values()}
    return replace(wired, nodes=nodes)


def _texts(node: Node) -> dict[str, str]:
    """The expressions of a node by its inputs. What has not their form, a rule tells of."""
    found = {name: value[KEY] for name, value in node.values.items() if is_expression(value)}
    return {
        name: text
        for name, text in found.items()
        if name in node.inputs and isinstance(text, str) and text.strip()
    }


@dataclass
class _Wires:
    """Makes the wires of expressions."""

    names: Names
    lookup: MetadataLookup
    nodes: dict[str, Node]
    edges: list[Edge] = field(default_factory=list)

    def add(self, drawn: Node) -> None:
        """Wire what the expressions of a node read; those of a disabled one read nothing."""
        computed: dict[str, Computed] = {}
        inputs = dict(drawn.inputs)
        node = self.names.flow.nodes[drawn.id]
        reads_of: dict[str, Node] = {}
        for port, text in _texts(node).items():
            reads: dict[str, str] = {}
            extra: list[str] = []
            for name in () if node.is_disabled else names_in(text):
                found = self.names.find(node, port, name)
                if found is None:
                    continue
                if found.source is node:
                    if not is_expression(node.values.get(name)):
                        reads[name] = name
                    continue
                source, output = found.source, name
                if source is None:
                    source, output = self._read(node, name, reads_of), "value"
                reads[name] = f"{port} \u2190 {name}"
                extra.append(reads[name])
                # No type, as one that a flow says must import nothing.
                inputs[reads[name]] = "any"
                edge_id = f"{source.id}.{output} for {port} of {node.id}"
                ends = (source.id, node.id, output, reads[name])
                self.edges.append(Edge(edge_id, *ends, "data"))
            gives = node.inputs[port]
            computed[port] = Computed(text, gives, reads, extra=tuple(extra))
        if computed:
            metadata = cast(NodeMetadata, {**cast(NodeMetadata, drawn.metadata), "inputs": inputs})
            self.nodes[drawn.id] = replace(drawn, metadata=metadata, computed=computed)

    def _read(self, node: Node, name: str, known: dict[str, Node]) -> Node:
        """The node that reads a variable for the expressions of a node; ``known`` has its own."""
        if name not in known:
            node_id = f"{node.id}.{name}"
            while node_id in self.nodes:
                node_id += "'"
            label = f"{name} for {node.label or node.id}"
            values = {VARIABLE: name}
            data = {"label": label, "constantValues": values}
            raw: FlowNode = {"id": node_id, "type": GET_VARIABLE_CLASS, "data": data}
            metadata = complete_metadata(cast(NodeMetadata, self.lookup(GET_VARIABLE_CLASS)))
            own = own_ports(raw, metadata, [], [], self.names.flow.variables)
            read = Node(node_id, GET_VARIABLE_CLASS, label, own, values, data)
            known[name] = self.nodes[node_id] = read
        return known[name]


def _with_types(flow: ResolvedFlow, node: Node) -> Node:
    """A node whose expressions know the types of what they read."""
    if not node.computed:
        return node
    wires = flow.wired_inputs(node.id)
    computed = {}
    for port, each in node.computed.items():
        types: dict[str, str] = {}
        for name, read in each.reads.items():
            types[name] = node.inputs[read]
            if read in each.extra:
                (edge,) = wires[read]
                types[name] = flow.nodes[edge.source].output_type(edge.source_port) or "any"
        computed[port] = replace(each, types=types)
    return replace(node, computed=computed)
