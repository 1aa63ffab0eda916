"""Connecting one run to Ray: the cluster, the variable store, the actors."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.project import Project
from rayflow_dagster.types import ExecutionGraph
from rayflow_dagster.variables import GlobalVariableStore, Snapshot

from . import cluster
from .manager import ActorManager
from .variable_users import others_use_variables
from .variables import VariableStoreManager


@dataclass(frozen=True, slots=True)
class RunPlace:
    """What a run is connected with. ``flow`` names the flow within the project; "" for
    one without a name, which is known by all that it says.

    ``shared_name``: set where several processes run steps of the run; the store's name then.
    ``snapshot``: the variables to go on from.
    """

    settings: cluster.RaySettings | None
    project: Project
    flow: str = ""
    shared_name: str | None = None
    snapshot: Snapshot | None = None


def connect_to_ray(
    graph: ExecutionGraph, loader: NodeLoader, place: RunPlace
) -> tuple[ActorManager, VariableStoreManager | None]:
    """The actors of a run, and its variable store if that is an actor.

    Raises:
        ClusterError: the cluster cannot be reached, or can never run what a node asks for.
    """
    cluster.connect(place.settings, cluster.Shipment.of(place.project))
    declared = graph.get("variables")
    variables: VariableStoreManager | None = None
    store: Any = None
    if declared and place.shared_name is None and not others_use_variables(graph, loader):
        store = GlobalVariableStore(declared, place.snapshot)
    elif declared:
        variables = VariableStoreManager(place.shared_name)
        store = variables.create_store(declared, place.snapshot)
    manager = ActorManager(
        loader, store, str(place.project.root), flow=place.flow or _nameless(graph)
    )
    try:
        # A process that runs one step of many needs no workers for the others.
        manager.prepare(graph, starts_early=place.shared_name is None)
    except BaseException:
        manager.cleanup_actors()
        if variables is not None:
            variables.cleanup()
        raise
    return manager, variables


def _nameless(graph: ExecutionGraph) -> str:
    """What tells a flow without a name from others: all that it says. What its classes say is left
    out but for START, so that a resident whose class was edited is found, and replaced.
    """
    start = graph["start_node"]
    nodes = {id_: {**node, "metadata": None} for id_, node in graph["nodes"].items()}
    told = {**graph, "nodes": nodes, "inputs": graph["nodes"][start]["metadata"]}
    text = json.dumps(told, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
