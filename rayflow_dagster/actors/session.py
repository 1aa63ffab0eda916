"""Connecting one run to Ray: the cluster, the variable store, the actors."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from rayflow_dagster.cluster import connection
from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.project import Project
from rayflow_dagster.types import ExecutionGraph, variables_of_calls
from rayflow_dagster.variables.store import GlobalVariableStore, Snapshot

from .manager import ActorManager
from .variable_users import others_use_variables
from .variables import VariableStoreManager


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is connected with. ``flow`` names the flow within the project; "" for
    one without a name, which is known by all that it says.

    ``is_shared``: whether several processes run steps of the run.
    ``snapshot``: the variables to go on from.
    """

    settings: connection.RaySettings | None
    project: Project
    flow: str = ""
    is_shared: bool = False
    snapshot: Snapshot | None = None


def connect_to_ray(
    graph: ExecutionGraph, loader: NodeLoader, run: RunFacts, variables: VariableStoreManager
) -> ActorManager:
    """The actors of a run; its variable store, if that is an actor, comes from ``variables``.

    Raises:
        ClusterError: the cluster cannot be reached, or can never run what a node asks for.
    """
    settings = run.settings or connection.RaySettings(num_cpus=run.project.settings.num_cpus)
    connection.connect(settings, connection.Shipment.of(run.project))
    declared, of_calls = graph.get("variables") or {}, variables_of_calls(graph)
    store: Any
    if not (declared or of_calls):
        store = None
    elif not run.is_shared and not others_use_variables(graph, loader):
        store = GlobalVariableStore(declared, run.snapshot, of_calls)
    else:
        store = variables.create_declared(declared, run.snapshot, of_calls)
    manager = ActorManager(loader, store, str(run.project.root), flow=run.flow or _nameless(graph))
    try:
        # A process that runs one step of many needs no workers for the others.
        manager.prepare(graph, starts_early=not run.is_shared)
    except BaseException:
        manager.cleanup_actors()
        variables.cleanup()
        raise
    return manager


def _nameless(graph: ExecutionGraph) -> str:
    """What tells a flow without a name from others: all that it says. What its classes say is left
    out but for START, so that a resident whose class was edited is found, and replaced.
    """
    start = graph["start_node"]
    nodes = {id_: {**node, "metadata": None} for id_, node in graph["nodes"].items()}
    told = {**graph, "nodes": nodes, "inputs": graph["nodes"][start]["metadata"]}
    text = json.dumps(told, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
