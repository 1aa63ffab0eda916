"""``GraphBuilder``: named passes from a validated flow to the ``ExecutionGraph``."""

import keyword
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, cast

from rayflow_dagster.errors import GraphBuildError
from rayflow_dagster.secrets.references import has_secret, secrets_in
from rayflow_dagster.types import (
    DISABLED,
    EXEC_IN,
    ExecutionGraph,
    FlowData,
    GraphEdge,
    GraphNode,
    NodeMetadata,
    RegionSpec,
)

from .callees import levelled
from .expression_wires import placed_with_expressions
from .flow import canonicalize
from .fusing import is_fused, race
from .loader import builtin_registry
from .options import node_options
from .ports import complete_metadata
from .registry import NodeRegistry, NodeRoot
from .resolved import Edge, Node, ResolvedFlow, resolve, topological_order
from .spelling import class_path_of

NO_STEP_NAMES = frozenset(keyword.kwlist) | {
    "arg_dict", "bool", "conf", "config", "context", "dict", "float", "input", "input_arg_dict",
    "int", "meta", "output", "output_arg_dict", "str", "type",
}  # fmt: skip
"""What Dagster lets no step be called."""


class GraphBuilder:
    """Builds the execution graph from a validated flow.

    ``node_metadata_map`` maps class paths (in any spelling) to their metadata.
    """

    def __init__(self, node_metadata_map: dict[str, NodeMetadata]) -> None:
        self.node_metadata_map = node_metadata_map

    def build_graph(self, flow_data: FlowData) -> ExecutionGraph:
        """The execution graph of ``flow_data`` (any spelling).

        Raises:
            GraphBuildError: the flow is not valid after all: a class without metadata, not exactly
                one START, an edge to nowhere, a cycle.
        """
        return self.compile(self._resolve(flow_data))

    def compile(self, flow: ResolvedFlow) -> ExecutionGraph:
        """``build_graph`` for one level of a flow that is resolved already, and for its bodies."""
        _require_metadata(flow)
        special = _special_nodes(flow)
        flow = _with_dead_edges(flow)
        dependencies = dict(flow.dependencies)
        dependents = _reversed(dependencies)
        graph: ExecutionGraph = {
            "nodes": {
                node.id: _graph_node(flow, node, dependencies[node.id], dependents[node.id])
                for node in flow.nodes.values()
            },
            "edges": _graph_edges(flow),
            "start_node": special["start_node"],
            "return_nodes": special["return_nodes"],
            "execution_order": self._topological_sort(dependencies),
            "on_error": flow.data.get("on_error") or "stop",
            "variables": {name: dict(spec) for name, spec in flow.variables.items()},
        }
        for key in ("durable", "storage", "ends", "timeout"):
            if flow.settings.get(key) is not None:
                graph[key] = flow.settings[key]
        for node_id, body in flow.bodies.items():
            spec = flow.specs[node_id]
            inner = graph["nodes"][node_id]["body"] = self._body(body, spec)
            graph["nodes"][node_id]["region"] = {**spec, "fused": is_fused(inner, spec)}
        return graph

    def _body(self, flow: ResolvedFlow, spec: RegionSpec) -> ExecutionGraph:
        """The graph of a body: what ends an iteration early ends it as a RETURN ends a flow. The
        body of a node that calls a flow is that flow, and has RETURNs of its own.
        """
        graph = self.compile(flow)
        graph.pop("timeout", None)  # of a run
        ends = [n for n in flow.nodes.values() if (n.is_return if "call" in spec else n.ends_body)]
        raced = None if graph.get("ends") == "all_settled" else race(flow, ends)
        if raced is not None:
            graph["raced"] = raced
        if "call" in spec:
            into = chain.from_iterable(flow.data_into(node.id) for node in flow.returns)
            graph["kept"] = list(dict.fromkeys((e.source, e.source_port) for e in into))
            return graph
        graph["return_nodes"] = [node.id for node in ends]
        graph["ends"] = "first_return"
        read = [*spec["leaves"].values(), *chain.from_iterable(spec["inner"].values())]
        graph["kept"] = list(dict.fromkeys(read))
        return graph

    @cached_property
    def _registry(self) -> NodeRegistry:
        return NodeRegistry.of(_roots_of(self.node_metadata_map.values()))

    @cached_property
    def _by_path(self) -> Mapping[str, NodeMetadata]:
        return {
            class_path_of(spelling, self._registry): complete_metadata(metadata)
            for spelling, metadata in self.node_metadata_map.items()
        }

    def _resolve(self, flow_data: FlowData) -> ResolvedFlow:
        def lookup(class_path: str) -> NodeMetadata | None:
            return self._by_path.get(class_path) or builtin_registry().metadata(class_path)

        canonical = canonicalize(flow_data, self._registry, lookup)
        return levelled(placed_with_expressions(resolve(canonical, lookup), lookup))

    def _build_dependency_graph(self, flow_data: FlowData) -> dict[str, list[str]]:
        """Node id -> the ids of the nodes that it waits for, over both kinds of edge or none."""
        return dict(self._resolve(flow_data).dependencies)

    def _topological_sort(self, dependencies: dict[str, list[str]]) -> list[str]:
        """Node ids so that each stands behind what it depends on; given order where free.

        Raises:
            GraphBuildError: the dependencies are cyclic, or on a node that is not there.
        """
        for node_id, sources in dependencies.items():
            for source in sources:
                if source not in dependencies:
                    raise GraphBuildError(f"'{node_id}' waits for '{source}', which is no node")
        order = topological_order(dependencies)
        if len(order) < len(dependencies):
            raise GraphBuildError("the flow's nodes wait for each other in a circle")
        return order

    def _identify_special_nodes(self, flow_data: FlowData) -> dict[str, Any]:
        """``{"start_node": id, "return_nodes": [id, ...]}``."""
        return _special_nodes(self._resolve(flow_data))


def _roots_of(known: Iterable[NodeMetadata]) -> list[NodeRoot]:
    """The package folders of the classes, told from their files: an editor names a class by its
    file.
    """
    roots: dict[str, NodeRoot] = {}
    for metadata in known:
        module = metadata.get("path", "").split(".")[:-1]
        file = Path(metadata.get("file", "").removesuffix(".py"))
        if len(module) > 1 and list(file.parts[-len(module) :]) == module:
            folder = file.parents[len(module) - 1] / module[0]
            roots.setdefault(module[0], NodeRoot(module[0], folder))
    return [root for root in roots.values() if root.package != "rayflow_dagster"]


def _require_metadata(flow: ResolvedFlow) -> None:
    edge_ids = [edge.id for edge in flow.edges]
    repeated = [*flow.duplicates, *(edge for edge, count in Counter(edge_ids).items() if count > 1)]
    if repeated:
        raise GraphBuildError(f"these ids stand more than once: {', '.join(repeated)}")
    if flow.too_deep is not None:
        raise GraphBuildError(f"region '{flow.too_deep}' stands too deep in other regions")
    for node in flow.nodes.values():
        if node.metadata is None:
            raise GraphBuildError(f"node {node}: nothing is known of class '{node.class_path}'")
    for edge in flow.edges:
        for end in (edge.source, edge.target):
            if end not in flow.nodes:
                raise GraphBuildError(f"edge '{edge.id}': there is no node '{end}'")


def _special_nodes(flow: ResolvedFlow) -> dict[str, Any]:
    if len(flow.starts) != 1:
        raise GraphBuildError(f"a flow has exactly one START node, this one {len(flow.starts)}")
    return {"start_node": flow.starts[0].id, "return_nodes": [node.id for node in flow.returns]}


def _with_dead_edges(flow: ResolvedFlow) -> ResolvedFlow:
    """``flow`` with one edge into each disabled node, from an exec output that never fires: so
    every engine skips it, and what only it leads to, as it skips any branch that is not taken.
    """
    start = flow.starts[0]
    disabled = {id_ for id_, node in flow.nodes.items() if node.is_disabled} - {start.id}
    if not disabled:
        return flow
    metadata = cast(NodeMetadata, start.metadata)
    outputs = (*metadata.get("exec_outputs", ()), DISABLED)
    with_output = cast(NodeMetadata, {**metadata, "exec_outputs": outputs})
    dead = [
        Edge(f"{node_id}__{DISABLED}", start.id, node_id, DISABLED, EXEC_IN, "exec")
        for node_id in disabled
    ]
    return replace(
        flow,
        nodes={**flow.nodes, start.id: replace(start, metadata=with_output)},
        edges=(*(edge for edge in flow.edges if edge.target not in disabled), *dead),
        handlers=flow.error_handlers,  # a failure stays handled where its handler is disabled
    )


def _reversed(dependencies: Mapping[str, list[str]]) -> dict[str, list[str]]:
    dependents: dict[str, list[str]] = {node_id: [] for node_id in dependencies}
    for node_id, sources in dependencies.items():
        for source in sources:
            dependents[source].append(node_id)
    return dependents


def _graph_edges(flow: ResolvedFlow) -> dict[str, GraphEdge]:
    waits = [
        Edge(f"{source} before {node_id}", source, node_id, "", "", "order")
        for node_id, sources in flow.timing.after.items()
        for source in sources
    ]
    return {
        edge.id: {
            "source": edge.source,
            "target": edge.target,
            "source_handle": edge.source_port,
            "target_handle": edge.target_port,
            "edge_type": edge.kind,
        }
        for edge in (*flow.edges, *waits)
    }


def _graph_node(
    flow: ResolvedFlow, node: Node, dependencies: list[str], dependents: list[str]
) -> GraphNode:
    metadata = cast(NodeMetadata, node.metadata)
    constants = {name: spec["value"] for name, spec in node.constants.items()}
    constants |= {name: value for name, value in node.values.items() if name in constants}
    join = flow.join_of(node.id)
    values = {name: node.values[name] for name in node.inputs if name in node.values}
    with_secrets = {k: v for k, v in node.defaults.items() if has_secret(secrets_in(v))}
    return {
        "id": node.id,
        "class_path": node.class_path,
        "metadata": metadata,
        "constants": secrets_in(constants),
        "dependencies": dependencies,
        "dependents": dependents,
        "label": node.label or _title(node.id),
        "values": {**secrets_in({**with_secrets, **values}), **node.computed},
        "description": node.data.get("description") or metadata.get("description", ""),
        "handles_error": flow.handles_error(node.id),
        **cast(GraphNode, {} if join is None else {"join": join}),
        **node_options(node, flow.settings),
    }


def _title(node_id: str) -> str:
    """What a node without a label is called where its id is no name for a step: ``return`` is
    ``Return``, on the terminal as in Dagster. Else nothing, and it is called by its id.
    """
    return node_id.capitalize() if node_id in NO_STEP_NAMES else ""
