"""A canonical flow with every name looked up: what rules and graph passes read."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from rayflow_dagster.metadata import display_name
from rayflow_dagster.port_types import type_text
from rayflow_dagster.types import (
    ERROR_PORT,
    EXEC_OUT,
    RETURN_CLASS,
    SET_VARIABLE_CLASS,
    START_CLASS,
    ConstantSpec,
    EdgeKind,
    FlowData,
    FlowEdge,
    FlowNode,
    NodeMetadata,
)

VARIABLE = "VARIABLE"
VARIABLE_CLASSES_PACKAGE = "rayflow_dagster.nodes.variables."

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

    @property
    def is_exec(self) -> bool:
        return self.kind == "exec"


@dataclass(frozen=True, slots=True)
class Node:
    """A drawn node. ``metadata`` has this node's own ports; None when nothing is known of it."""

    id: str
    class_path: str
    label: str
    metadata: NodeMetadata | None
    values: Mapping[str, Any]
    data: Mapping[str, Any] = field(repr=False)

    @property
    def is_start(self) -> bool:
        return self.class_path == START_CLASS

    @property
    def is_return(self) -> bool:
        return self.class_path == RETURN_CLASS

    @property
    def inputs(self) -> Mapping[str, str]:
        return self.metadata["inputs"] if self.metadata else {}

    @property
    def outputs(self) -> Mapping[str, str]:
        return self.metadata["outputs"] if self.metadata else {}

    @property
    def exec_outputs(self) -> tuple[str, ...]:
        return self.metadata.get("exec_outputs", ()) if self.metadata else ()

    @property
    def constants(self) -> Mapping[str, ConstantSpec]:
        return self.metadata["constants"] if self.metadata else {}

    @property
    def defaults(self) -> Mapping[str, Any]:
        return self.metadata.get("defaults", {}) if self.metadata else {}

    @property
    def can_handle_error(self) -> bool:
        """Whether the implicit ``error`` exec output exists on this node."""
        return not self.is_start and not self.is_return and bool(self.exec_outputs)

    def has_value(self, input_name: str) -> bool:
        """Whether the input has a value that no wire needs to bring."""
        return input_name in self.values or input_name in self.defaults

    def __str__(self) -> str:
        return f"'{self.id}' ({self.label})" if self.label not in ("", self.id) else f"'{self.id}'"


@dataclass(frozen=True)
class ResolvedFlow:
    """Nodes by id in drawing order, and edges."""

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    data: FlowData
    duplicates: tuple[str, ...] = ()
    """Node ids that stand more than once; ``nodes`` has the first of each."""

    @cached_property
    def edges_into(self) -> Mapping[str, list[Edge]]:
        return self._grouped("target")

    @cached_property
    def edges_from(self) -> Mapping[str, list[Edge]]:
        return self._grouped("source")

    def exec_into(self, node_id: str) -> list[Edge]:
        return [edge for edge in self.edges_into[node_id] if edge.is_exec]

    def data_into(self, node_id: str, port: str | None = None) -> list[Edge]:
        return [
            edge
            for edge in self.edges_into[node_id]
            if not edge.is_exec and port in (None, edge.target_port)
        ]

    def handles_error(self, node_id: str) -> bool:
        """Whether the implicit ``error`` exec output of the node is wired."""
        declared = ERROR_PORT in self.nodes[node_id].exec_outputs
        return not declared and any(
            edge.is_exec and edge.source_port == ERROR_PORT for edge in self.edges_from[node_id]
        )

    @cached_property
    def starts(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.is_start]

    @cached_property
    def returns(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.is_return]

    @property
    def variables(self) -> Mapping[str, Mapping[str, Any]]:
        """The declared variables; a malformed declaration counts as one that says nothing."""
        return declared_variables(self.data)

    def _grouped(self, end: str) -> Mapping[str, list[Edge]]:
        grouped: defaultdict[str, list[Edge]] = defaultdict(list)
        for edge in self.edges:
            if edge.source in self.nodes and edge.target in self.nodes:
                grouped[getattr(edge, end)].append(edge)
        return grouped


def resolve(flow: FlowData, lookup: MetadataLookup) -> ResolvedFlow:
    """Look up every node's metadata and make it the node's own (START's and RETURN's ports, the
    types of variables).
    """
    edges = tuple(_edge(edge) for edge in flow["edges"])
    wired_out: dict[str, list[str]] = defaultdict(list)
    wired_in: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        if not edge.is_exec:
            wired_out[edge.source].append(edge.source_port)
            wired_in[edge.target].append(edge.target_port)
    nodes: dict[str, Node] = {}
    duplicates: list[str] = []
    for raw in flow["nodes"]:
        if raw["id"] in nodes:
            duplicates.append(raw["id"])
            continue
        looked_up = lookup(raw["type"])
        known = complete_metadata(looked_up) if looked_up else snapshot_metadata(raw)
        own = _own_ports(raw, known, wired_in[raw["id"]], wired_out[raw["id"]], flow)
        nodes[raw["id"]] = _node(raw, own)
    return ResolvedFlow(nodes, edges, flow, tuple(duplicates))


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


def declared_variables(flow: FlowData) -> dict[str, dict[str, Any]]:
    """Declarations by name; empty where the flow declares none, or not in a readable way."""
    declared: Any = flow.get("variables")
    if not isinstance(declared, dict):
        return {}
    return {name: spec if isinstance(spec, dict) else {} for name, spec in declared.items()}


def complete_metadata(known: NodeMetadata) -> NodeMetadata:
    """``known`` with every port as a type word, and with what only this project's loader adds:
    metadata from elsewhere has the documented keys alone.
    """
    inputs, defaults = declared_types(known.get("inputs"))
    has_exec_output = bool(known.get("exec_output", True))
    complete = {
        "exec_input": True,
        "exec_output": has_exec_output,
        "exec_outputs": (EXEC_OUT,) if has_exec_output else (),
        "exec_exclusive": len(known.get("exec_outputs", ())) <= 1,
        "constants": {},
        "defaults": defaults,
        **known,
        "inputs": inputs,
        "outputs": declared_types(known.get("outputs"))[0],
    }
    return cast(NodeMetadata, complete)


def snapshot_metadata(raw: FlowNode) -> NodeMetadata | None:
    """What the editor's snapshot in ``data`` tells of a class that cannot be looked up."""
    data = raw["data"]
    if not (isinstance(data.get("inputs"), dict) and isinstance(data.get("outputs"), dict)):
        return None
    exec_output = bool(data.get("exec_output", True))
    name = raw["type"].rpartition(".")[2]
    inputs, defaults = declared_types(data["inputs"])
    return {
        "path": raw["type"],
        "name": display_name(name),
        "class_name": name,
        "inputs": inputs,
        "outputs": declared_types(data["outputs"])[0],
        "exec_input": bool(data.get("exec_input", True)),
        "exec_output": exec_output,
        "exec_outputs": (EXEC_OUT,) if exec_output else (),
        "exec_exclusive": True,
        "constants": {},
        "defaults": defaults,
    }


def declared_types(ports: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """Types and defaults of ports declared in a flow: ``{"a": "int", "b": {"type", "default"}}``.

    A type that cannot be read counts as ``any`` here; a rule reports it.
    """
    types: dict[str, str] = {}
    defaults: dict[str, Any] = {}
    for name, spec in ports.items() if isinstance(ports, dict) else ():
        types[name] = _type_or_any(spec.get("type", "any") if isinstance(spec, dict) else spec)
        if isinstance(spec, dict) and "default" in spec:
            defaults[name] = spec["default"]
    return types, defaults


def _descriptions(ports: Any) -> dict[str, str]:
    specs = ports.items() if isinstance(ports, dict) else ()
    described = {name: spec.get("description") for name, spec in specs if isinstance(spec, dict)}
    return {name: text for name, text in described.items() if isinstance(text, str) and text}


def _type_or_any(word: Any) -> str:
    try:
        return type_text("any" if word is None else word)
    except ValueError:
        return "any"


def _own_ports(
    raw: FlowNode,
    known: NodeMetadata | None,
    wired_in: list[str],
    wired_out: list[str],
    flow: FlowData,
) -> NodeMetadata | None:
    if known is None:
        return None
    if raw["type"] == START_CLASS:
        types, defaults = declared_types(raw["data"].get("inputs"))
        used = (name for name in wired_out if name not in ("", EXEC_OUT))
        undeclared = {name: "any" for name in used if name not in types}
        ports = {"outputs": {**types, **undeclared}, "defaults": defaults, "inputs": {}}
        ports["input_descriptions"] = _descriptions(raw["data"].get("inputs"))
    elif raw["type"] == RETURN_CLASS:
        types, defaults = declared_types(raw["data"].get("inputs"))
        wired = {name: "any" for name in wired_in if name and name not in types}
        ports = {"inputs": {**types, **wired}, "defaults": defaults}
    elif raw["type"].startswith(VARIABLE_CLASSES_PACKAGE):
        ports = _variable_ports(raw, known, flow)
    else:
        return known
    return cast(NodeMetadata, {**known, **ports})


def _variable_ports(raw: FlowNode, known: NodeMetadata, flow: FlowData) -> dict[str, Any]:
    values = raw["data"].get("constantValues")
    name = values.get(VARIABLE) if isinstance(values, dict) else None
    spec = declared_variables(flow).get(name, {}) if isinstance(name, str) else {}
    kind = _type_or_any(spec.get("type", "any"))
    ports: dict[str, Any] = {"outputs": dict.fromkeys(known["outputs"], kind)}
    if raw["type"] == SET_VARIABLE_CLASS:
        ports["inputs"] = dict.fromkeys(known["inputs"], kind)
    return ports


def is_variable_node(node: Node) -> bool:
    """Whether the node is a built-in that names one variable in its ``VARIABLE`` constant."""
    return node.class_path.startswith(VARIABLE_CLASSES_PACKAGE)
