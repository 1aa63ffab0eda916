"""``CompiledFlow``: a flow as a job holds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dagster import PartitionsDefinition

from rayflow_dagster.compiler.flat import flat, starts
from rayflow_dagster.compiler.starts.assets import DeclaredAsset
from rayflow_dagster.compiler.starts.triggers import Triggers
from rayflow_dagster.engine.planner import has_fallback
from rayflow_dagster.orchestrator import Connect
from rayflow_dagster.project import Project
from rayflow_dagster.types import ExecutionGraph, GraphNode, every_node
from rayflow_dagster.variables.store import kept_declarations

from .names import PortNames, StepNames, flow_name, port_names
from .partitions import partitions_definition

if TYPE_CHECKING:
    from rayflow_dagster.cluster.connection import RaySettings

Wire = tuple[str, str]
"""(source node, its output)."""


@dataclass(frozen=True)
class CompiledFlow:
    """A flow as a job holds it: the graph, its names in Dagster, and where it came from."""

    graph: ExecutionGraph
    project: Project
    name: str
    hash: str
    uncertain: frozenset[tuple[str, str]]
    """(node, input) whose source may be skipped while the node runs."""
    triggers: Triggers = field(default_factory=Triggers)
    file: str | None = None
    ray_settings: "RaySettings | None" = None
    connect: Connect | None = None
    """What nodes run on instead of Ray actors."""
    assets: tuple[DeclaredAsset, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Region, or call that is one step -> what it runs, as an SVG document."""
    run_again: Mapping[str, str] = field(default_factory=dict)
    """Tags of its job that say when Dagster launches its runs again; without any, a run that a
    trigger started is until its first node runs.
    """
    warnings: tuple[str, ...] = ()
    """What the validator says of it that does not keep it from running."""

    @cached_property
    def flat(self) -> ExecutionGraph:
        """The nodes that are steps: those of the flow, and of the flows that it calls openly."""
        return flat(self.graph)

    @cached_property
    def calls(self) -> Mapping[str, str]:
        """START of a flow that is called openly -> the node that calls it."""
        return dict(starts(self.graph))

    @cached_property
    def opened(self) -> Mapping[str, GraphNode]:
        """Node that calls a flow openly -> that node, which has the flow as its body."""
        nodes = every_node(self.graph)
        return {call: nodes[call] for call in self.calls.values()}

    @cached_property
    def names(self) -> StepNames:
        """What the steps are called."""
        return StepNames.of(self.graph)

    @property
    def steps(self) -> Mapping[str, str]:
        """Node id -> step key."""
        return self.names.keys

    @cached_property
    def nodes(self) -> Mapping[str, str]:
        """Step key -> node id."""
        return {step: node_id for node_id, step in self.steps.items()}

    @cached_property
    def ports(self) -> Mapping[str, PortNames]:
        """Node id -> the Dagster names of its ports."""
        return {node_id: port_names(node) for node_id, node in self.flat["nodes"].items()}

    @cached_property
    def wires(self) -> Mapping[str, Mapping[str, list[Wire]]]:
        """Node id -> input -> the outputs wired into it."""
        wires: dict[str, dict[str, list[Wire]]] = {node_id: {} for node_id in self.flat["nodes"]}
        for edge in self.flat["edges"].values():
            if edge["edge_type"] == "data":
                ends = wires[edge["target"]].setdefault(edge["target_handle"], [])
                ends.append((edge["source"], edge["source_handle"]))
        return wires

    @cached_property
    def exec_wires(self) -> Mapping[str, list[Wire]]:
        """Node id -> the exec outputs wired into it."""
        wires: dict[str, list[Wire]] = {node_id: [] for node_id in self.flat["nodes"]}
        for edge in self.flat["edges"].values():
            if edge["edge_type"] == "exec":
                wires[edge["target"]].append((edge["source"], edge["source_handle"]))
        return wires

    @cached_property
    def waits(self) -> Mapping[str, list[str]]:
        """Node id -> the nodes that it only waits for; nodes without such are left out."""
        waits: dict[str, list[str]] = {}
        for edge in self.flat["edges"].values():
            if edge["edge_type"] == "order":
                waits.setdefault(edge["target"], []).append(edge["source"])
        return waits

    @cached_property
    def sentinels(self) -> frozenset[tuple[str, str]]:
        """(node, input) that must run with a constant or default where nothing came: Dagster
        skips a step whose one source was skipped even if the input has a default, so such an
        input fans in a sentinel that is always there.
        """
        return frozenset(
            (node_id, port)
            for node_id, port in self.uncertain
            if has_fallback(self.flat, node_id, port)
        )

    @cached_property
    def partitions(self) -> PartitionsDefinition[str] | None:
        """Dagster's definition of the parts that runs are for."""
        declared = self.triggers.partitions
        job = flow_name(self.name)
        return None if declared is None else partitions_definition(declared, job)

    @cached_property
    def kept_variables(self) -> Mapping[str, Mapping[str, Any]]:
        """The declarations of the variables that are kept between runs."""
        return kept_declarations(self.graph.get("variables", {}))

    @cached_property
    def assets_of(self) -> Mapping[str, list[DeclaredAsset]]:
        """Node id -> its assets; nodes without one are left out."""
        assets: dict[str, list[DeclaredAsset]] = {}
        for asset in self.assets:
            assets.setdefault(asset.node, []).append(asset)
        return assets

    @cached_property
    def start_of(self) -> Mapping[str, str]:
        """Node id -> START of the flow that what leads to it is in."""
        found = dict.fromkeys(self.graph["nodes"], self.graph["start_node"])
        for start, call in self.calls.items():
            body = self.opened[call]["body"]
            found[start] = found[call]
            found |= {**dict.fromkeys(body["nodes"].keys() - {start}, start), call: start}
        return found

    @cached_property
    def gives_absent(self) -> frozenset[str]:
        """The STARTs that give the sentinel."""
        return frozenset(self.start_of[node_id] for node_id, _ in self.sentinels)

    @cached_property
    def fan_ins(self) -> Mapping[str, frozenset[str]]:
        """Node id -> its inputs that arrive as a list of what came."""
        return {
            node_id: frozenset(
                port
                for port, wires in inputs.items()
                if len(wires) > 1 or (node_id, port) in self.sentinels
            )
            for node_id, inputs in self.wires.items()
        }
