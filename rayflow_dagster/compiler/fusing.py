"""The graph of a body in, whether one worker can run the whole of it by one call out."""

from rayflow_dagster.control_nodes import CONTROL_NODES
from rayflow_dagster.types import ExecutionGraph, GraphNode, RegionSpec

from .ports import VARIABLE_CLASSES_PACKAGE
from .registry import BUILTIN_PACKAGE


def is_fused(body: ExecutionGraph, spec: RegionSpec) -> bool:
    """Whether a body is fused: none of its nodes asks for a place of its own, and none of them
    would wait for another that could run beside it.
    """
    nodes = [node for node in body["nodes"].values() if node["id"] != body["start_node"]]
    if not all(map(_may_be_fused, nodes)):
        return False
    # Items that run side by side keep all workers busy by themselves.
    side_by_side = spec["kind"] == "for_each" and not spec["carry"] and spec["parallel"] != 1
    return side_by_side or _most_side_by_side(body) <= 1


def _may_be_fused(node: GraphNode) -> bool:
    metadata = node["metadata"]
    if "body" in node:
        return node["region"]["fused"] and not node["region"]["interval"]
    if node["class_path"].startswith(VARIABLE_CLASSES_PACKAGE):
        return False  # its store may be in the run's process
    retry = node.get("retry")
    if node.get("resident") or node.get("ray_options") or (retry and retry["delay"]):
        return False
    control = CONTROL_NODES.get(node["class_path"])
    return not metadata.get("is_async") and (control is None or control.runs_anywhere)


def _most_side_by_side(body: ExecutionGraph) -> int:
    """How many of the nodes that may take long can be ready at the same time, at the most. Behind
    a join all of them may be: it starts while what leads to it is at work.
    """
    levels: dict[str, int] = {}
    widths: dict[int, int] = {}
    has_joins = any("join" in node for node in body["nodes"].values())
    for node_id in body["execution_order"]:
        node = body["nodes"][node_id]
        before = (levels[source] for source in node["dependencies"])
        levels[node_id] = 0 if has_joins else 1 + max(before, default=0)
        if "body" in node or not node["class_path"].startswith(f"{BUILTIN_PACKAGE}."):
            widths[levels[node_id]] = widths.get(levels[node_id], 0) + 1
    return max(widths.values(), default=0)
