"""Settings of project and flow, a node's class and its own data in; the options that hold out."""

from collections.abc import Mapping
from typing import Any, cast

from rayflow_dagster.types import IDLE_OPTION, GraphNode

from .resolved import Node


def node_options(node: Node, settings: Mapping[str, Any]) -> GraphNode:
    """The options of a node; ``settings`` are its flow's. The node wins over its class, and what is
    written on either over the settings.
    """
    data = node.data
    options: dict[str, Any] = {
        "ray_options": {} if node.is_control else _ray_options(node, settings),
        "tags": {str(key): str(value) for key, value in (data.get("tags") or {}).items()},
    }
    if not (node.is_start or node.is_return):
        runs_others = node.calls or node.region_kind is not None
        of_flow = None if runs_others else settings.get("retry")
        retry = data.get("retry") or of_flow  # the nodes that it runs have the flow's
        if retry and retry.get("max"):
            options["retry"] = {"delay": 0.0, **retry}
        options |= {} if node.is_control else _residence(node)
        if data.get("timeout") is not None and node.takes_timeout:
            options["timeout"] = float(data["timeout"])
    options |= {key: data[key] for key in ("pool", "priority") if data.get(key) is not None}
    return cast(GraphNode, options)


def _ray_options(node: Node, settings: Mapping[str, Any]) -> dict[str, Any]:
    of_class = node.metadata.get("ray_options", {}) if node.metadata else {}
    options = {**(settings.get("ray") or {}), **of_class, **(node.data.get("ray") or {})}
    options.pop(IDLE_OPTION, None)  # else it alone would give the node an actor of its own
    return options


def _residence(node: Node) -> dict[str, Any]:
    of_class: Mapping[str, Any] = node.metadata or {}
    said = node.data.get("resident")
    seconds = node.data.get("resident_ttl") or of_class.get("resident_ttl")
    resident = of_class.get("resident", False) if said is None else said
    return {"resident": resident} | ({} if seconds is None else {"resident_ttl": float(seconds)})
