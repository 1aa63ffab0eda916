"""``CompiledFlow``: a flow as a job holds it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dagster import PartitionsDefinition

from rayflow_dagster.compiler.starts.assets import DeclaredAsset
from rayflow_dagster.compiler.starts.triggers import Triggers
from rayflow_dagster.engine.planner import has_fallback
from rayflow_dagster.orchestrator import Connect
from rayflow_dagster.project import Project
from rayflow_dagster.types import ExecutionGraph
from rayflow_dagster.variables.store import kept_declarations

from .names import PortNames, flow_name, port_names, step_keys
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
    warnings: tuple[str, ...] = ()
    """What the validator says of it that does not keep it from running."""

    @cached_property
    def steps(self) -> Mapping[str, str]:
        """Node id -> step key."""
        return step_keys(self.graph)

    @cached_property
    def nodes(self) -> Mapping[str, str]:
        """Step key -> node id."""
        return {step: node_id for node_id, step in self.steps.items()}

    @cached_property
    def ports(self) -> Mapping[str, PortNames]:
        """Node id -> the Dagster names of its ports."""
        return {node_id: port_names(node) for node_id, node in self.graph["nodes"].items()}

    @cached_property
    def wires(self) -> Mapping[str, Mapping[str, list[Wire]]]:
        """Node id -> input -> the outputs wired into it."""
        wires: dict[str, dict[str, list[Wire]]] = {node_id: {} for node_id in self.graph["nodes"]}
        for edge in self.graph["edges"].values():
            if edge["edge_type"] == "data":
                ends = wires[edge["target"]].setdefault(edge["target_handle"], [])
                ends.append((edge["source"], edge["source_handle"]))
        return wires

    @cached_property
    def exec_wires(self) -> Mapping[str, list[Wire]]:
        """Node id -> the exec outputs wired into it."""
        wires: dict[str, list[Wire]] = {node_id: [] for node_id in self.graph["nodes"]}
        for edge in self.graph["edges"].values():
            if edge["edge_type"] == "exec":
                wires[edge["target"]].append((edge["source"], edge["source_handle"]))
        return wires

    @cached_property
    def waits(self) -> Mapping[str, list[str]]:
        """Node id -> the nodes that it only waits for; nodes without such are left out."""
        waits: dict[str, list[str]] = {}
        for edge in self.graph["edges"].values():
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
            if has_fallback(self.graph, node_id, port)
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

    @property
    def needs_absent(self) -> bool:
        """Whether START gives the sentinel."""
        return bool(self.sentinels)

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
