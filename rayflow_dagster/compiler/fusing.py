"""The graph of a body in, whether one worker can run all of it by one call, or why not, out."""

from collections.abc import Sequence
from functools import partial

from rayflow_dagster.computed import Computed
from rayflow_dagster.control_nodes import CONTROL_NODES
from rayflow_dagster.types import WAIT_CLASS, ExecutionGraph, GraphNode, RegionSpec

from .places import LOGIC
from .ports import VARIABLE_CLASSES_PACKAGE
from .registry import BUILTIN_PACKAGE
from .resolved import Node, ResolvedFlow
from .rules.conditions import FALSE
from .rules.liveness import Liveness, depth_first

_HAS_EXPRESSION = "has an expression, which only the run's own process is sure to be able to read"


def is_fused(body: ExecutionGraph, spec: RegionSpec) -> bool:
    """Whether a body is fused: none of its nodes asks for a place of its own, and none of them
    would wait for another that could run beside it.
    """
    return why_not_fused(body, spec) is None


def why_not_fused(body: ExecutionGraph, spec: RegionSpec) -> str | None:
    """What keeps a body from being fused, as words to go after "because"; None if nothing does."""
    nodes = [node for node in body["nodes"].values() if node["id"] != body["start_node"]]
    for node in nodes:
        why = _why_not(node)
        if why is not None:
            return f"'{node['id']}' {why}"
    if "raced" in body:
        node_id, end = body["raced"]
        return f"'{end}' ends it without waiting for '{node_id}'"
    # Items that run side by side keep all workers busy by themselves.
    beside = [] if has_items_side_by_side(spec) else _side_by_side(body)
    joins = [node["id"] for node in nodes if "join" in node]
    if len(beside) > 1 and joins:
        return f"'{joins[0]}' may start while other nodes that lead to it are at work"
    if len(beside) > 1:
        return f"'{beside[0]}' and '{beside[1]}' can run side by side, each on a worker of its own"
    return None


def race(flow: ResolvedFlow, ends: Sequence[Node]) -> tuple[str, str] | None:
    """Of the nodes that end a body, one that another does not lead to which may run in the same
    iteration, as (that other, the end). What has begun by then depends on how long each takes, and
    would depend on the order of the file if they ran one after another.
    """
    others = [node for node in flow.nodes.values() if _may_race(node)]
    unawaited = [
        (node, end)
        for end in ends
        for before in [set(depth_first(flow, [end.id]))]
        for node in others
        if node.id not in before
    ]
    if not unawaited:
        return None
    live = Liveness.of(flow)
    conditions = live.conditions
    for node, end in unawaited:
        both = conditions.attempt(partial(conditions.both, live.runs[node.id], live.runs[end.id]))
        if conditions.is_guess(both) or both != FALSE:
            return node.id, end.id
    return None


def _may_race(node: Node) -> bool:
    """Whether it makes a difference if a node has begun."""
    decides = (node.is_control and node.region_kind is None and not node.calls) or (
        node.class_path in LOGIC
    )
    return not (decides or node.is_start or node.is_return)


def has_items_side_by_side(spec: RegionSpec) -> bool:
    """Whether several iterations of a region may run at the same time."""
    return spec["kind"] == "for_each" and not spec["carry"] and spec["parallel"] != 1


def _why_not(node: GraphNode) -> str | None:
    """What keeps one node from running where the others of its body do."""
    retry = node.get("retry")
    control = CONTROL_NODES.get(node["class_path"])
    if retry and retry["delay"]:
        return "waits between its attempts, which would keep the worker from other work"
    if "timeout" in node:
        return "has a timeout, at which the worker that it runs on is ended"
    if any(isinstance(value, Computed) for value in node.get("values", {}).values()):
        return _HAS_EXPRESSION
    if "body" in node:
        return _why_not_within(node["region"])
    if node["class_path"].startswith(VARIABLE_CLASSES_PACKAGE):
        return "uses a variable, which may be kept in the run's own process"
    if node.get("resident"):
        return "is resident, so it has an actor that outlives the run"
    if node.get("ray_options"):
        return "asks Ray for an actor of its own"
    if node["metadata"].get("is_async"):
        return "is async, so it runs on the event loop that all async nodes share"
    if control is not None and not control.runs_anywhere:
        is_wait = node["class_path"] == WAIT_CLASS
        return "waits, which would keep the worker from other work" if is_wait else _HAS_EXPRESSION
    return None


def _why_not_within(spec: RegionSpec) -> str | None:
    """What keeps a region, or a call of a flow, from running in the body of another."""
    if not spec["fused"]:
        return "has a body that does not run whole on one worker itself"
    if "call" in spec and spec["call"]["own"]:
        return "calls a flow with variables of its own"
    return "waits between its iterations" if spec["interval"] else None


def _side_by_side(body: ExecutionGraph) -> list[str]:
    """The nodes that may take long and can be ready at the same time, where those are the most.
    Behind a join all of them may be: it starts while what leads to it is at work.
    """
    levels: dict[str, int] = {}
    beside: dict[int, list[str]] = {}
    has_joins = any("join" in node for node in body["nodes"].values())
    for node_id in body["execution_order"]:
        node = body["nodes"][node_id]
        before = (levels[source] for source in node["dependencies"])
        levels[node_id] = 0 if has_joins else 1 + max(before, default=0)
        if "body" in node or not node["class_path"].startswith(f"{BUILTIN_PACKAGE}."):
            beside.setdefault(levels[node_id], []).append(node_id)
    return max(beside.values(), key=len, default=[])
