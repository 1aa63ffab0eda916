"""A canonical flow with every name looked up: what rules and graph passes read."""

from collections import defaultdict
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast

from rayflow_dagster.computed import Computed
from rayflow_dagster.control_nodes import CONTROL_NODES, REGION_KINDS
from rayflow_dagster.suggest import Hints
from rayflow_dagster.types import (
    BREAK_CLASS,
    CONTINUE_CLASS,
    DISABLED,
    ERROR_PORT,
    FLOW_CLASS,
    RETURN_CLASS,
    START_CLASS,
    WAIT_CLASS,
    ConstantSpec,
    EdgeKind,
    ExecFires,
    FlowData,
    FlowEdge,
    FlowNode,
    NodeMetadata,
    RegionKind,
    RegionSpec,
)

from .ports import (
    NEXT,
    VARIABLE,
    VARIABLE_CLASSES_PACKAGE,
    carried,
    complete_metadata,
    declared_variables,
    own_ports,
    snapshot_metadata,
)

Scope = str | None
"""A body, by the region whose it is; None for the drawing without its bodies."""
ENDS_OF_BODY = {BREAK_CLASS: "break", CONTINUE_CLASS: "continue"}
"""Classes of nodes that end an iteration of a loop -> what they are called."""
Key = TypeVar("Key", bound=Hashable)
MetadataLookup = Callable[[str], NodeMetadata | None]


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge with canonical port names."""

    id: str
    source: str
    target: str
    source_port: str
    target_port: str
    kind: EdgeKind
    leads_back: bool = False
    """Whether it leads from a body into an inner input of its region."""

    @property
    def is_exec(self) -> bool:
        return self.kind == "exec"

    def joins(self, nodes: Container[str]) -> bool:
        """Whether both of its ends are among ``nodes``."""
        return self.source in nodes and self.target in nodes


@dataclass(frozen=True, slots=True)
class Node:
    """A drawn node. ``metadata`` has this node's own ports; None when nothing is known of it."""

    id: str
    class_path: str
    label: str
    metadata: NodeMetadata | None
    values: Mapping[str, Any]
    data: Mapping[str, Any] = field(repr=False)
    computed: Mapping[str, Computed] = field(default_factory=dict, repr=False)
    """Those of ``values`` that expressions give."""

    @property
    def is_start(self) -> bool:
        return self.class_path == START_CLASS

    @property
    def is_return(self) -> bool:
        return self.class_path == RETURN_CLASS

    @property
    def waits(self) -> bool:
        """Whether it is there to wait."""
        return self.class_path == WAIT_CLASS

    @property
    def takes_timeout(self) -> bool:
        """Whether it may take long: it runs an author's code or other nodes, or waits."""
        if self.is_start or self.is_return:
            return False
        return not self.is_control or self.region_kind is not None or bool(self.calls) or self.waits

    @property
    def is_control(self) -> bool:
        """Whether it is a built-in node that runs in the run's process."""
        return bool(self.metadata and self.metadata.get("is_control"))

    @property
    def takes_wires(self) -> bool:
        """Whether it is a control node whose inputs are whatever is wired."""
        return self.is_control and CONTROL_NODES[self.class_path].takes_wires

    @property
    def ends_body(self) -> bool:
        """Whether it ends the iteration of a loop that it is reached in."""
        return self.class_path in ENDS_OF_BODY

    @property
    def region_kind(self) -> RegionKind | None:
        """Which kind of region it is; None for a node that is none."""
        return REGION_KINDS.get(self.class_path)

    @property
    def calls(self) -> str:
        """The flow that it calls, by name; "" for a node that calls none, or names none."""
        name = self.data.get("flow") if self.class_path == FLOW_CLASS else None
        return name if isinstance(name, str) else ""

    @property
    def inner_inputs(self) -> Mapping[str, str]:
        """Of a region: what its body hands it."""
        return self.metadata.get("inner_inputs", {}) if self.metadata else {}

    @property
    def inner_outputs(self) -> Mapping[str, str]:
        """Of a region: what it hands its body."""
        return self.metadata.get("inner_outputs", {}) if self.metadata else {}

    @property
    def outer_outputs(self) -> list[str]:
        """Of a region: the outputs that nodes outside of its body read."""
        return [n for n in self.outputs if n not in self.inner_outputs or n in self.carried]

    @property
    def carried(self) -> Mapping[str, str]:
        """Of a loop: the types of the values that an iteration hands to the next, by name."""
        return carried(self.class_path, self.data)[0] if self.region_kind else {}

    @property
    def is_disabled(self) -> bool:
        return self.data.get(DISABLED) is True

    @property
    def inputs(self) -> Mapping[str, str]:
        return self.metadata["inputs"] if self.metadata else {}

    @property
    def own_inputs(self) -> list[str]:
        """The inputs but for those that are there for expressions alone."""
        extra = {port for each in self.computed.values() for port in each.extra}
        return [name for name in self.inputs if name not in extra]

    @property
    def outputs(self) -> Mapping[str, str]:
        return self.metadata["outputs"] if self.metadata else {}

    @property
    def exec_outputs(self) -> tuple[str, ...]:
        return self.metadata.get("exec_outputs", ()) if self.metadata else ()

    @property
    def exec_fires(self) -> ExecFires:
        """Which of its exec outputs fire in a run, as far as is known."""
        if self.metadata is None:
            return "any"
        exclusive = self.metadata.get("exec_exclusive", False)
        return self.metadata.get("exec_fires", "one" if exclusive else "any")

    @property
    def brings(self) -> Mapping[str, list[list[str]]]:
        """Of a call, exec output -> what each RETURN takes that fires it."""
        return self.metadata.get("brings", {}) if self.metadata else {}

    @property
    def constants(self) -> Mapping[str, ConstantSpec]:
        return self.metadata["constants"] if self.metadata else {}

    @property
    def defaults(self) -> Mapping[str, Any]:
        return self.metadata.get("defaults", {}) if self.metadata else {}

    @property
    def can_handle_error(self) -> bool:
        """Whether the implicit ``error`` exec output exists on this node."""
        is_general = not self.is_start and not self.is_return
        return is_general and bool(self.exec_outputs) and ERROR_PORT not in self.exec_outputs

    @property
    def join(self) -> int | None:
        """How many exec edges have to fire; None where it waits for all and one is enough."""
        said = self.data.get("join")
        if said == "any":
            return 1
        count = said.get("at_least") if isinstance(said, Mapping) else None
        return count if type(count) is int and count > 0 else None

    def output_type(self, port: str) -> str | None:
        """The type of an output, the implicit ``error`` included; None where there is none."""
        if port == ERROR_PORT and self.can_handle_error:
            return self.outputs.get(ERROR_PORT, "dict")
        return self.outputs.get(port)

    def has_value(self, input_name: str) -> bool:
        """Whether the input has a value that no wire needs to bring."""
        return input_name in self.values or input_name in self.defaults

    def __str__(self) -> str:
        return f"'{self.id}' ({self.label})" if self.label not in ("", self.id) else f"'{self.id}'"


class Misordered(NamedTuple):
    """A node that an output of a sequence leads to, and that waits for one of a later output."""

    sequence: str
    output: str
    """The later one."""
    node: str
    waits_for: str
    """A node that the later one leads to."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What the outputs of sequences wait for, and when variable nodes that no exec edge leads to
    read and write.
    """

    after: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Node id -> the nodes that it waits for though no edge leads from them."""
    writes: tuple[tuple[str, str], ...] = ()
    """Two writes of one variable that nothing orders."""
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """A read -> the nodes at whose moments it happens; one where it has one moment."""
    circle: tuple[str, ...] = ()
    """Nodes that would wait for each other in a circle, each for the one before it."""
    misordered: tuple[Misordered, ...] = ()
    """What makes such a circle of a sequence."""
    crowded: tuple[tuple[str, str], ...] = ()
    """Outputs of sequences (node, exec output) where too many nodes would wait for too many."""


@dataclass(frozen=True)
class Callee:
    """A flow that another one calls; ``callees.py`` finds it."""

    name: str
    problem: str = ""
    """Why it cannot be called."""
    leads_back: bool = False
    """Whether that is because it, or a flow that it calls, calls one that led to it."""
    flow: "ResolvedFlow | None" = field(default=None, repr=False)
    """As it is drawn."""
    ports: Mapping[str, Any] | None = field(default=None, repr=False)
    """Those of a node that calls it, as ``NodeMetadata`` has them; None where it cannot be
    called."""
    again: Callable[[FlowData], "ResolvedFlow"] | None = field(default=None, repr=False)
    """Resolves it anew, once its nodes have other ids."""


@dataclass(frozen=True)
class ResolvedFlow:
    """Nodes by id in drawing order, and edges."""

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    data: FlowData
    duplicates: tuple[str, ...] = ()
    """Node ids that stand more than once; ``nodes`` has the first of each."""
    hints: Hints = field(default_factory=Hints, compare=False, repr=False)
    timing: Timing = field(default_factory=Timing)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The flow's own, and the project's where it has none."""
    handlers: frozenset[str] | None = None
    """The nodes whose ``error`` is wired as drawn, where edges were taken away since."""
    scopes: Mapping[str, Scope] = field(default_factory=dict)
    """Node id -> the body that it is in, of a flow as drawn; empty for one without regions."""
    torn: frozenset[str] = frozenset()
    """Nodes whose body cannot be told: exec edges lead to them from two sides of a body's edge, or
    they are on a circle, or behind such nodes.
    """
    too_deep: str | None = None
    """A region that stands too deep in others for bodies to be told at all."""
    bodies: Mapping[str, "ResolvedFlow"] = field(default_factory=dict)
    """Of one level of a flow, by region: the flow that its body is."""
    handed: tuple[Edge, ...] = ()
    """Of a body: the edges into its region's inner inputs."""
    specs: Mapping[str, RegionSpec] = field(default_factory=dict)
    """Of one level of a flow, by region: how its body runs."""
    callees: Mapping[str, Callee] = field(default_factory=dict, repr=False)
    """The flows that its nodes call, by name."""

    @cached_property
    def edges_into(self) -> Mapping[str, list[Edge]]:
        return self._grouped("target")

    @cached_property
    def edges_from(self) -> Mapping[str, list[Edge]]:
        return self._grouped("source")

    def exec_into(self, node_id: str) -> list[Edge]:
        return self._exec_into[node_id]

    def data_into(self, node_id: str) -> list[Edge]:
        return self._data_into[node_id]

    def wired_inputs(self, node_id: str) -> dict[str, list[Edge]]:
        """The data edges into each wired input of a node."""
        by_port: dict[str, list[Edge]] = {}
        for edge in self.data_into(node_id):
            by_port.setdefault(edge.target_port, []).append(edge)
        return by_port

    def join_of(self, node_id: str) -> int | None:
        """How many exec edges have to fire, of a node that waits for no more than those."""
        count = self.nodes[node_id].join
        return None if count == 1 and len(self.exec_into(node_id)) == 1 else count

    def handles_error(self, node_id: str) -> bool:
        """Whether the implicit ``error`` exec output of the node is wired."""
        return node_id in self.error_handlers

    @cached_property
    def error_handlers(self) -> frozenset[str]:
        """The nodes whose implicit ``error`` exec output is wired."""
        return (
            self.handlers
            if self.handlers is not None
            else frozenset(
                edge.source
                for edge in self.edges
                if edge.is_exec
                and edge.source_port == ERROR_PORT
                and edge.joins(self.nodes)
                and self.nodes[edge.source].can_handle_error
            )
        )

    @cached_property
    def dependencies(self) -> Mapping[str, list[str]]:
        """Node id -> the ids of the nodes that it waits for, over both kinds of edge or none."""
        return {
            node_id: list(
                dict.fromkeys(
                    (
                        *(e.source for e in self.edges_into[node_id] if not e.leads_back),
                        *self.timing.after.get(node_id, ()),
                    )
                )
            )
            for node_id in self.nodes
        }

    @cached_property
    def awaited(self) -> Mapping[str, list[str]]:
        """``dependencies`` without those whose exec edges a join may not wait for."""
        awaited = dict(self.dependencies)
        for node_id in self.nodes:
            if self.join_of(node_id) is not None:
                data = (e.source for e in self.data_into(node_id) if not e.leads_back)
                waits = self.timing.after.get(node_id, ())
                awaited[node_id] = list(dict.fromkeys((*data, *waits)))
        return awaited

    @cached_property
    def order(self) -> list[str]:
        """Node ids, sources first, drawing order where free. Nodes of a circle, and those behind
        one, are left out.
        """
        return topological_order(self.dependencies)

    @property
    def is_acyclic(self) -> bool:
        return len(self.order) == len(self.nodes)

    def behind(self, node_id: str) -> set[str]:
        """The nodes that edges of either kind lead to from ``node_id``, and itself."""
        found, queue = {node_id}, [node_id]
        while queue:
            edges = self.edges_from[queue.pop()]
            targets = {edge.target for edge in edges if not edge.leads_back} - found
            found |= targets
            queue.extend(targets)
        return found

    @cached_property
    def switched_off(self) -> frozenset[str]:
        """The nodes that are disabled, and those that only such nodes lead to."""
        off: set[str] = set()
        for node_id in self.order:
            if self.nodes[node_id].is_disabled or self._led_to_only_by(off, node_id):
                off.add(node_id)
        return frozenset(off)

    def _led_to_only_by(self, off: set[str], node_id: str) -> bool:
        exec_edges = self.exec_into(node_id)
        if exec_edges:
            left = sum(edge.source not in off for edge in exec_edges)
            return left < min(self.join_of(node_id) or 1, len(exec_edges))
        return any(
            all(edge.source in off for edge in edges)
            for port, edges in self.wired_inputs(node_id).items()
            if not self.nodes[node_id].has_value(port)
        )

    @cached_property
    def regions(self) -> list[str]:
        """The nodes that run a body."""
        return [node.id for node in self.nodes.values() if node.region_kind is not None]

    @cached_property
    def starts(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.is_start]

    @cached_property
    def returns(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.is_return]

    @cached_property
    def variables(self) -> Mapping[str, Mapping[str, Any]]:
        """The declared variables; a malformed declaration counts as one that says nothing."""
        return declared_variables(self.data)

    @cached_property
    def _exec_into(self) -> Mapping[str, list[Edge]]:
        return self._grouped("target", "exec")

    @cached_property
    def _data_into(self) -> Mapping[str, list[Edge]]:
        return self._grouped("target", "data")

    def _grouped(self, end: str, kind: EdgeKind | None = None) -> Mapping[str, list[Edge]]:
        grouped: defaultdict[str, list[Edge]] = defaultdict(list)
        for edge in self.edges:
            if kind in (None, edge.kind) and edge.joins(self.nodes):
                grouped[getattr(edge, end)].append(edge)
        return grouped


def topological_order(dependencies: Mapping[Key, Sequence[Key]]) -> list[Key]:
    """The keys so that each stands behind what it depends on; given order where free. Keys of a
    circle, and those behind one, are left out.
    """
    keys = list(dependencies)
    position = {key: at for at, key in enumerate(keys)}
    missing = {key: len(sources) for key, sources in dependencies.items()}
    dependents: dict[Key, list[Key]] = {key: [] for key in keys}
    for key, sources in dependencies.items():
        for source in sources:
            dependents[source].append(key)
    ready = [position[key] for key, count in missing.items() if not count]
    order: list[Key] = []
    while ready:
        key = keys[heappop(ready)]
        order.append(key)
        for dependent in dependents[key]:
            missing[dependent] -= 1
            if not missing[dependent]:
                heappush(ready, position[dependent])
    return order


def circle_of(dependencies: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Nodes that wait for each other, each for the one before it."""
    known = {node_id: list(sources) for node_id, sources in dependencies.items()}
    free = set(topological_order(known))
    here = next(node_id for node_id in known if node_id not in free)
    path: dict[str, None] = {}
    while here not in path:
        path[here] = None
        here = next(source for source in known[here] if source not in free)
    circle = list(path)
    return tuple(reversed(circle[circle.index(here) :]))


def merged_settings(flow: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The ``settings`` of ``flow``, and the project's where it has none of its own."""
    own = flow.get("settings")
    return {**defaults, **(own if isinstance(own, Mapping) else {})}


def resolve(
    flow: FlowData,
    lookup: MetadataLookup,
    defaults: Mapping[str, Any] = MappingProxyType({}),
    callees: Mapping[str, Callee] = MappingProxyType({}),
) -> ResolvedFlow:
    """Look up every node's metadata and make it the node's own (START's and RETURN's ports, the
    types of variables, what follows from a control node's constants and wires, the ports of a flow
    that it calls). ``defaults`` are the project's ``settings``.
    """
    edges = tuple(_edge(edge) for edge in flow["edges"])
    wired_out: dict[str, list[str]] = defaultdict(list)
    wired_in: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        if not edge.is_exec:
            wired_out[edge.source].append(edge.source_port)
            wired_in[edge.target].append(edge.target_port)
    classes: dict[str, NodeMetadata | None] = {}
    for class_path in {raw["type"] for raw in flow["nodes"]}:
        looked_up = lookup(class_path)
        classes[class_path] = complete_metadata(looked_up) if looked_up else None
    variables = declared_variables(flow)
    nodes: dict[str, Node] = {}
    duplicates: list[str] = []
    for raw in flow["nodes"]:
        if raw["id"] in nodes:
            duplicates.append(raw["id"])
            continue
        known = classes[raw["type"]] or snapshot_metadata(raw)
        own = own_ports(raw, known, wired_in[raw["id"]], wired_out[raw["id"]], variables)
        node = _node(raw, own)
        nodes[raw["id"]] = node if raw["type"] != FLOW_CLASS else _calling(node, callees)
    _give_wires_types(nodes, edges)
    edges = tuple(_led_back(edge, nodes.get(edge.target)) for edge in edges)
    settings = merged_settings(flow, defaults)
    return ResolvedFlow(nodes, edges, flow, tuple(duplicates), settings=settings, callees=callees)


def _calling(node: Node, callees: Mapping[str, Callee]) -> Node:
    """A node with the ports of the flow that it calls. Nothing is known of one that calls none."""
    callee = callees.get(node.calls)
    if callee is None or callee.ports is None or node.metadata is None:
        return replace(node, metadata=None)
    return replace(node, metadata=cast(NodeMetadata, {**node.metadata, **callee.ports}))


def _give_wires_types(nodes: dict[str, Node], edges: tuple[Edge, ...]) -> None:
    """Give the inputs of nodes that take whatever is wired the types of what their wires bring:
    expressions are checked and counted with them. Wires of several types bring any.
    """
    brought: dict[str, dict[str, list[str]]] = {}
    for edge in edges:
        source, target = nodes.get(edge.source), nodes.get(edge.target)
        if not edge.is_exec and source and target and target.takes_wires:
            kind = source.output_type(edge.source_port) or "any"
            ports = brought.setdefault(target.id, {})
            ports.setdefault(edge.target_port, []).append(kind)
    for node_id, ports in brought.items():
        node = nodes[node_id]
        own = {
            name: kinds[0] if len(set(kinds)) == 1 else "any"
            for name, kinds in ports.items()
            if name
        }
        metadata = {**cast(NodeMetadata, node.metadata), "inputs": own}
        nodes[node_id] = replace(node, metadata=cast(NodeMetadata, metadata))


def _led_back(edge: Edge, target: Node | None) -> Edge:
    if edge.is_exec or target is None or target.region_kind is None:
        return edge
    is_inner = edge.target_port in target.inner_inputs or edge.target_port.startswith(NEXT)
    return replace(edge, leads_back=True) if is_inner else edge


def _edge(raw: FlowEdge) -> Edge:
    kind: EdgeKind = "exec" if raw["type"] == "exec" else "data"
    ends = (raw["source"], raw["target"], raw["sourceHandle"], raw["targetHandle"])
    return Edge(raw["id"], *ends, kind)


def _node(raw: FlowNode, metadata: NodeMetadata | None) -> Node:
    data = raw["data"]
    label = data.get("label")
    values = data.get("constantValues")
    return Node(
        id=raw["id"],
        class_path=raw["type"],
        label=label if isinstance(label, str) else "",
        metadata=metadata,
        values=values if isinstance(values, dict) else {},
        data=data,
    )


def is_variable_node(node: Node) -> bool:
    """Whether the node is a built-in that names one variable in its ``VARIABLE`` constant."""
    return node.class_path.startswith(VARIABLE_CLASSES_PACKAGE)


def named_variable(node: Node) -> Any:
    """What a variable node's ``VARIABLE`` says: a text, where it is right."""
    constant = node.constants.get(VARIABLE, {"type": "str", "value": ""})
    return node.values.get(VARIABLE, constant["value"])
