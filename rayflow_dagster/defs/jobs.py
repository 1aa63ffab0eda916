"""``build_job``: a flow becomes a Dagster job with one step per drawn node."""

import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import (
    DependencyDefinition,
    ExecutorDefinition,
    GraphDefinition,
    InputMapping,
    IOManagerDefinition,
    JobDefinition,
    MetadataValue,
    MultiDependencyDefinition,
    NodeInvocation,
    OpDefinition,
    OutputMapping,
    ResourceDefinition,
)

from rayflow_dagster.compiler.callees import whole
from rayflow_dagster.compiler.flat import RETURNED, open_calls
from rayflow_dagster.compiler.flow import flow_hash, read_flow
from rayflow_dagster.compiler.graph import GraphBuilder
from rayflow_dagster.compiler.picture import body_picture
from rayflow_dagster.compiler.resolved import ResolvedFlow
from rayflow_dagster.compiler.rules.runs import uncertain_inputs
from rayflow_dagster.compiler.starts.assets import declared_assets
from rayflow_dagster.compiler.starts.triggers import declared_triggers
from rayflow_dagster.compiler.svg import to_svg
from rayflow_dagster.errors import ValidationError
from rayflow_dagster.orchestrator import Connect
from rayflow_dagster.project import Project
from rayflow_dagster.types import ExecutionGraph, FlowData, GraphNode, every_node, is_open
from rayflow_dagster.values.preview import preview

from ._dagster import MAX_RETRIES_TAG
from .compiled import CompiledFlow
from .executor import flow_executor
from .io_manager import build_io_manager
from .lost_runs import AGAIN
from .names import ABSENT, AFTER_INPUT, EXEC_INPUT, PROJECT_TAG, SESSION, flow_name
from .ops import build_op, describe, op_tags
from .session import HASH_TAG, session_resource

if TYPE_CHECKING:
    from rayflow_dagster.cluster.connection import RaySettings

FLOW_TAG = "rayflow/flow"
MAX_DRAWN = 60
"""The most nodes that the picture of a body has."""
HASH_LENGTH = 16
"""Hex digits of a flow's hash that runs carry: enough to tell flows apart, short enough to read."""


def build_job(
    flow: FlowData | Mapping[str, Any] | str | Path,
    name: str | None = None,
    *,
    project: Project | None = None,
    ray_settings: "RaySettings | None" = None,
    executor_def: ExecutorDefinition | None = None,
    connect: Connect | None = None,
) -> JobDefinition:
    """The Dagster job of a flow.

    Args:
        flow: a flow in any spelling, or the path of a flow file.
        name: the job's name; by default the flow's ``name`` or the file's stem, made legal.
        project: the project whose nodes the flow may use; by default the one around the flow's
            file, or around the working folder.
        ray_settings: which cluster to use; by default ``RAY_ADDRESS``, else the embedded Ray.
        executor_def: instead of our executor.
        connect: what to run nodes on instead of Ray actors (``testing.in_process``).

    Raises:
        ValidationError: with all findings.
    """
    file = Path(flow) if isinstance(flow, (str, Path)) else None
    raw: Any = read_flow(file) if file is not None else flow
    if project is None:
        project = Project.around(file if file is not None else Path.cwd())
    title = name or _title(raw, file)
    compiled = compile_flow(
        raw, title, project, file=file, ray_settings=ray_settings, connect=connect
    )
    return build_compiled_job(compiled, raw, executor_def or flow_executor)


def compile_flow(
    raw: Any,
    title: str,
    project: Project,
    *,
    file: Path | None = None,
    ray_settings: "RaySettings | None" = None,
    connect: Connect | None = None,
) -> CompiledFlow:
    """Validate and compile a flow.

    Raises:
        ValidationError: with all findings.
    """
    validator = project.validator()
    resolved = validator.require_valid(raw, title)
    canonical = resolved.data
    graph = open_calls(GraphBuilder({}).compile(resolved))
    return CompiledFlow(
        graph=graph,
        project=project,
        name=title,
        hash=flow_hash(whole(resolved))[:HASH_LENGTH],
        uncertain=frozenset(_uncertain(resolved, graph)),
        triggers=declared_triggers(canonical),
        file=_shown_path(file, project),
        ray_settings=ray_settings,
        connect=connect,
        assets=declared_assets(resolved),
        pictures=dict(_pictures(resolved, graph)),
        run_again=_run_again(resolved),
        warnings=tuple(validator.warnings),
    )


def _uncertain(flow: ResolvedFlow, graph: ExecutionGraph) -> Iterator[tuple[str, str]]:
    """(step's node, input) whose wired sources may all be skipped while the node runs."""
    for node_id, port in uncertain_inputs(flow):
        node = graph["nodes"][node_id]
        yield node["body"]["start_node"] if is_open(node) else node_id, port
    for node_id, node in graph["nodes"].items():
        if is_open(node):
            yield from _uncertain(flow.bodies[node_id], node["body"])
            yield from ((node_id, port) for port in (*node["metadata"]["outputs"], RETURNED))


def _run_again(flow: ResolvedFlow) -> Mapping[str, str]:
    """What the flow says of when its runs are launched again: in its tags, or with a setting."""
    own = _own_tags(flow.data)
    if MAX_RETRIES_TAG in own:
        return {MAX_RETRIES_TAG: own[MAX_RETRIES_TAG]}
    return AGAIN if flow.settings.get("retry_lost") else {}


def _own_tags(raw: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in (raw.get("tags") or {}).items()}


def _pictures(flow: ResolvedFlow, graph: ExecutionGraph) -> Iterator[tuple[str, str]]:
    """(node, picture of what it runs) of each step that runs other nodes, but for too many."""
    for node_id, node in graph["nodes"].items():
        if is_open(node):
            yield from _pictures(flow.bodies[node_id], node["body"])
        elif "body" in node and len(every_node(node["body"])) <= MAX_DRAWN:
            yield node_id, to_svg(body_picture(flow, node_id), downwards=True)


def build_compiled_job(
    flow: CompiledFlow, raw: Mapping[str, Any], executor_def: ExecutorDefinition
) -> JobDefinition:
    """The job of a compiled flow.

    Raises:
        ValidationError: another executor than ours cannot run it.
    """
    if executor_def.executor_creation_fn is not flow_executor.executor_creation_fn:
        _refuse_for_stock_executor(flow)
    _make_room_for_recursion(len(flow.flat["nodes"]))
    graph = GraphDefinition(
        name=flow_name(flow.name),
        description=_describe_job(flow, raw),
        **_nodes_of(flow, flow.graph),
    )
    return graph.to_job(
        description=_describe_job(flow, raw),
        executor_def=executor_def,
        partitions_def=flow.partitions,
        resource_defs={
            SESSION: ResourceDefinition(session_resource(flow)),
            "io_manager": IOManagerDefinition(build_io_manager, required_resource_keys={SESSION}),
        },
        tags={
            **_own_tags(raw),
            **flow.run_again,
            FLOW_TAG: flow.name,
            PROJECT_TAG: flow.project.tag,
            HASH_TAG: flow.hash,
        },
        metadata=_job_metadata(flow),
    )


def _refuse_for_stock_executor(flow: CompiledFlow) -> None:
    problems = [
        f"node '{node_id}' data.join: it starts before all that leads to it has settled, which "
        "only the executor of rayflow_dagster can do; leave out executor_def"
        for node_id, node in every_node(flow.graph).items()
        if "join" in node and node_id in flow.flat["nodes"]
    ]
    if "timeout" in flow.graph:
        problems.append(
            "flow key settings.timeout: only the executor of rayflow_dagster can end a run at it; "
            "leave out executor_def"
        )
    if problems:
        raise ValidationError(problems, flow.name)


def _make_room_for_recursion(nodes: int) -> None:
    """Dagster walks a graph by recursion, a frame or two for each node of a chain. The limit is not
    lowered again, because another thread may be in the middle of such a walk.
    """
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + 2 * nodes))


def _nodes_of(flow: CompiledFlow, graph: ExecutionGraph, call: str | None = None) -> dict[str, Any]:
    """The ops and nested graphs of a flow, or of one that a node calls, and what they depend on."""
    definitions: dict[str, OpDefinition | GraphDefinition] = {}
    dependencies: dict[NodeInvocation, dict[str, Any]] = {}
    for node_id in graph["execution_order"]:
        node = graph["nodes"][node_id]
        made = _nested(flow, node) if is_open(node) else build_op(flow, node_id)
        entered = node["body"]["start_node"] if is_open(node) else node_id
        is_entered = call is not None and node_id == graph["start_node"]
        definitions[made.name] = made
        invoked = NodeInvocation(made.name, alias=flow.names.aliases[node_id], tags=op_tags(node))
        dependencies[invoked] = {} if is_entered else _dependencies(flow, entered)
    if call is not None:
        last = build_op(flow, call)
        definitions[last.name] = last
        tags = op_tags(flow.flat["nodes"][call])
        invoked = NodeInvocation(last.name, alias=_last_alias(flow, call), tags=tags)
        dependencies[invoked] = _dependencies(flow, call)
    return {"node_defs": list(definitions.values()), "dependencies": dependencies}


def _nested(flow: CompiledFlow, node: GraphNode) -> GraphDefinition:
    """The graph of an open call: its inputs are those of the START of the flow that is called, its
    outputs those of the call's last step.
    """
    call, start = node["id"], node["body"]["start_node"]
    ports, (path, _, last) = flow.ports[call], flow.steps[call].rpartition(".")
    return GraphDefinition(
        name=f"{flow_name(flow.name)}__{path.replace('.', '__')}",
        description=describe(node),
        input_mappings=[
            InputMapping(
                graph_input_name=name,
                mapped_node_name=flow.names.aliases[start],
                mapped_node_input_name=name,
            )
            for name in _dependencies(flow, start)
        ],
        output_mappings=[
            OutputMapping(
                graph_output_name=name, mapped_node_name=last, mapped_node_output_name=name
            )
            for name in (*ports.exec_outputs.values(), *ports.outputs.values())
        ],
        **_nodes_of(flow, node["body"], call),
    )


def _last_alias(flow: CompiledFlow, call: str) -> str:
    return flow.steps[call].rpartition(".")[2]


def _dependencies(flow: CompiledFlow, node_id: str) -> dict[str, Any]:
    dependencies: dict[str, Any] = {}
    exec_wires = flow.exec_wires[node_id]
    if exec_wires:
        ends = [
            DependencyDefinition(flow.names.aliases[source], flow.ports[source].exec_outputs[port])
            for source, port in exec_wires
        ]
        dependencies[EXEC_INPUT] = MultiDependencyDefinition(ends)
    waits = flow.waits.get(node_id)
    if waits:
        # Dagster skips a step of whose fan-in nothing came, so START, which always runs, is in it.
        sources = dict.fromkeys((flow.start_of[node_id], *waits))
        ends = list(dict.fromkeys(end for source in sources for end in _settling(flow, source)))
        dependencies[AFTER_INPUT] = MultiDependencyDefinition(ends)
    for port, wires in flow.wires[node_id].items():
        ends = [
            DependencyDefinition(flow.names.aliases[source], flow.ports[source].outputs[output])
            for source, output in wires
        ]
        if (node_id, port) in flow.sentinels:
            ends.append(DependencyDefinition(flow.names.aliases[flow.start_of[node_id]], ABSENT))
        name = flow.ports[node_id].inputs[port]
        fans_in = port in flow.fan_ins[node_id]
        dependencies[name] = MultiDependencyDefinition(ends) if fans_in else ends[0]
    return dependencies


def _settling(flow: CompiledFlow, node_id: str) -> list[DependencyDefinition]:
    """What a step that only waits for a node depends on: an output of the node or, of one that has
    none, all that it depends on itself.
    """
    ports = flow.ports[node_id]
    names = (*ports.exec_outputs.values(), *ports.outputs.values())
    if names:
        return [DependencyDefinition(flow.names.aliases[node_id], names[0])]
    ends = [*flow.exec_wires[node_id], *chain.from_iterable(flow.wires[node_id].values())]
    return [
        end
        for source in dict.fromkeys(source for source, _ in ends)
        for end in _settling(flow, source)
    ]


def _title(raw: Any, file: Path | None) -> str:
    name = raw.get("name") if isinstance(raw, Mapping) else None
    if isinstance(name, str) and any(letter.isalnum() for letter in name):
        return name
    return file.stem if file is not None else "flow"


def job_name(raw: Any, file: Path) -> str:
    """The name of the job that a flow file becomes."""
    return flow_name(_title(raw, file))


def _shown_path(file: Path | None, project: Project) -> str | None:
    if file is None:
        return None
    resolved = file.resolve()
    inside = resolved.is_relative_to(project.root)
    return str(resolved.relative_to(project.root)) if inside else str(resolved)


def _describe_job(flow: CompiledFlow, raw: Mapping[str, Any]) -> str:
    lines = [str(raw.get("description") or "")]
    if flow.file:
        lines.append(f"Flow file: `{flow.file}`.")
    rows = [f"- `{name}`: {about}" for name, about in _inputs(flow).items()]
    if rows:
        lines.append("Inputs:\n\n" + "\n".join(rows))
    return "\n\n".join(line for line in lines if line)


def _inputs(flow: CompiledFlow) -> dict[str, str]:
    metadata = flow.graph["nodes"][flow.graph["start_node"]]["metadata"]
    defaults = metadata.get("defaults", {})
    descriptions = metadata.get("input_descriptions", {})
    return {
        name: kind
        + (f", default {preview(defaults[name], 80)}" if name in defaults else ", required")
        + (f": {descriptions[name]}" if name in descriptions else "")
        for name, kind in metadata["outputs"].items()
    }


def _job_metadata(flow: CompiledFlow) -> dict[str, Any]:
    shown: dict[str, Any] = {"flow hash": MetadataValue.text(flow.hash)}
    if flow.file:
        shown["flow file"] = MetadataValue.path(flow.file)
    if flow.warnings:
        shown["warnings"] = MetadataValue.md("\n".join(f"- {text}" for text in flow.warnings))
    return shown
