"""Ops: one per drawn node. Every op's computation is one turn of ``FlowOrchestrator.run_node``."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from dagster import (
    Backoff,
    DagsterType,
    Failure,
    Field,
    In,
    Int,
    Jitter,
    Map,
    MetadataValue,
    Noneable,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    Out,
    Output,
    Permissive,
    RetryPolicy,
)
from dagster import Any as DagsterAny

from rayflow_dagster.compiler.spelling import short_name
from rayflow_dagster.engine.inputs import checked_inputs
from rayflow_dagster.engine.waiting import steps
from rayflow_dagster.errors import InvalidInputsError, NodeExecutionError, RayflowError
from rayflow_dagster.port_types import PortType, parse_type
from rayflow_dagster.preview import preview
from rayflow_dagster.types import ExecutionGraph, GraphNode, NodeResult

from ._dagster import COMPUTE_KIND_TAG, KIND_PREFIX, PRIORITY_TAG
from .io_manager import NodeOutput, step_folder
from .names import ABSENT, EXEC_INPUT, RESULT
from .parking import print_output, wait_for
from .resources import RESULT_TAG, CompiledFlow, RunSession

SESSION = "rayflow"
MAX_TAG = 240


class Absent:
    """Stands at an input whose wire brought nothing; pickles to the same thing."""

    def __repr__(self) -> str:
        return "not wired"


class PortDagsterType(DagsterType):
    """The Dagster type of a port. A merged input takes the list of what came, under the same
    name, so the type supports fan-in as Dagster's ``List`` does."""

    @property
    def supports_fan_in(self) -> bool:
        return True


_TYPES: dict[str, DagsterType] = {}


def dagster_type(word: str) -> DagsterType:
    """The Dagster type named after a port type. It accepts our handles; values are checked in the
    actor that has them. One object per name, because Dagster refuses two types of one name."""
    if word not in _TYPES:
        _TYPES[word] = PortDagsterType(
            name=word,
            type_check_fn=lambda _context, _value: True,
            description=f"{word}: checked where the node runs",
        )
    return _TYPES[word]


_OPS: dict[str, OpDefinition] = {}


def build_op(flow: CompiledFlow, node_id: str) -> OpDefinition:
    """The op of one node.

    Op definitions are unique by name in a repository, so nodes that look the same share one
    definition, whose name carries a digest of its looks; the step's name is its alias.
    """
    node = flow.graph["nodes"][node_id]
    looks = _looks(flow, node_id)
    digest = hashlib.sha256(json.dumps(looks, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{node['metadata']['class_name']}_{digest}"
    if name not in _OPS:
        _OPS[name] = OpDefinition(
            compute_fn=compute_node,
            name=name,
            ins={EXEC_INPUT: In(Nothing)}
            | {
                name: In(dagster_type(kind), default_value=Absent())
                for name, kind in looks["inputs"].items()
            },
            outs={
                name: Out(Nothing if kind is None else dagster_type(kind), is_required=False)
                for name, kind in looks["outputs"].items()
            },
            description=looks["description"],
            config_schema=start_config(node) if looks["config"] else None,
            required_resource_keys={SESSION},
            pool=looks["pool"],
        )
    return _OPS[name]


def _looks(flow: CompiledFlow, node_id: str) -> dict[str, Any]:
    """All that tells one op definition from another, as JSON. An output of None is an exec one."""
    node, ports = flow.graph["nodes"][node_id], flow.ports[node_id]
    metadata = node["metadata"]
    is_start = node_id == flow.graph["start_node"]
    outputs: dict[str, str | None] = dict.fromkeys(ports.exec_outputs.values())
    outputs |= {
        name: metadata["outputs"].get(port, "dict") for port, name in ports.outputs.items()
    }
    if is_start and flow.needs_absent:
        outputs[ABSENT] = "any"
    config = [metadata["outputs"], metadata.get("defaults"), metadata.get("input_descriptions")]
    return {
        "description": describe(node),
        "inputs": {name: metadata["inputs"][port] for port, name in ports.inputs.items()},
        "outputs": outputs,
        "config": config if is_start else None,
        "pool": node.get("pool"),
    }


def describe(node: GraphNode) -> str:
    """The label as the author wrote it, then what the node does and its ports."""
    metadata = node["metadata"]
    label = node.get("label") or node["id"]
    lines = [f"**{label}**", node.get("description", "")]
    lines.append(f"Node `{node['id']}`, class `{short_name(node['class_path'])}`.")
    for title, ports in (("Inputs", metadata["inputs"]), ("Outputs", metadata["outputs"])):
        if ports:
            listed = ", ".join(f"`{name}`: {kind}" for name, kind in ports.items())
            lines.append(f"{title}: {listed}.")
    branches = [name for name in metadata.get("exec_outputs", ()) if name != "exec_out"]
    if branches:
        lines.append(f"Exec outputs: {', '.join(f'`{name}`' for name in branches)}.")
    return "\n\n".join(line for line in lines if line)


def op_tags(node: GraphNode) -> dict[str, str]:
    """Tags of the step: the original id, the author's tags, the kind, the priority."""
    category = node["metadata"].get("category") or "node"
    tags = {
        **node.get("tags", {}),
        "rayflow/node_id": node["id"],
        "rayflow/class": node["class_path"],
        f"{KIND_PREFIX}ray": "",
        f"{KIND_PREFIX}{category.lower()[:40]}": "",
    }
    if "priority" in node:
        tags[PRIORITY_TAG] = str(node["priority"])
    tags.pop(COMPUTE_KIND_TAG, None)
    return tags


def build_retry_policy(node: GraphNode) -> RetryPolicy | None:
    """``data.retry`` as Dagster's policy."""
    retry = node.get("retry")
    if retry is None:
        return None
    backoff = retry.get("backoff")
    return RetryPolicy(
        max_retries=retry["max"],
        delay=retry["delay"],
        backoff=Backoff[backoff.upper()] if backoff else None,
        jitter=Jitter.FULL if retry.get("jitter") else None,
    )


def start_config(node: GraphNode) -> dict[str, Field]:
    """START's inputs as typed config, with defaults and descriptions for the launchpad."""
    metadata = node["metadata"]
    defaults = metadata.get("defaults", {})
    descriptions = metadata.get("input_descriptions", {})
    fields = {}
    for name, kind in metadata["outputs"].items():
        text = f"{descriptions[name]} ({kind})" if name in descriptions else kind
        options: dict[str, Any] = {"description": text, "is_required": name not in defaults}
        if name in defaults:
            options["default_value"] = defaults[name]
        fields[name] = Field(_config_type(parse_type(kind)), **options)
    return fields


def _config_type(kind: PortType) -> Any:
    """The Dagster config type of a port type; what config cannot say is checked by START."""
    match kind:
        case PortType("int"):
            return Int
        case PortType("float" | "str" | "bool" as word):
            return {"float": float, "str": str, "bool": bool}[word]
        case PortType("list", ()):
            return [DagsterAny]
        case PortType("list", (item,)):
            return [_config_type(item)]
        case PortType("dict", (PortType("str"), item)):
            return Map(str, _config_type(item))
        case PortType("dict"):
            return Permissive()
        case PortType("union", members):
            rest = [member for member in members if member.name != "None"]
            if len(rest) == 1 and len(rest) < len(members):
                return Noneable(_config_type(rest[0]))
    return DagsterAny


def compute_node(context: OpExecutionContext, inputs: Mapping[str, Any]) -> Iterator[Any]:
    """The computation of every op: run the node, then yield its outputs and exec outputs."""
    session: RunSession = getattr(context.resources, SESSION)
    node_id = session.flow.nodes[context.op_handle.name]
    result = yield from _run(session, context, node_id, inputs)
    session.settled(result)
    _report_output(context, result)
    if result["status"] == "error":
        raise _failure(result)
    yield from _outputs(session, context, node_id, result)


def _run(
    session: RunSession, context: OpExecutionContext, node_id: str, inputs: Mapping[str, Any]
) -> Iterator[Any]:
    graph = session.flow.graph
    given: Mapping[str, Any] = {}
    if node_id == graph["start_node"]:
        given = _start_inputs(graph, context)
    session.connect(context)
    turn = session.orchestrator.run_node(
        node_id,
        session.state(_arrived(session.flow, node_id, inputs)),
        attempt=context.retry_number,
        start_inputs=given,
        store_in=str(step_folder(session.instance, context.run_id, session.flow.steps[node_id])),
    )
    stepping = steps(turn)
    while True:
        try:
            future = next(stepping)
        except StopIteration as finished:
            return finished.value
        yield from wait_for(future, context.job_name)


def _start_inputs(graph: ExecutionGraph, context: OpExecutionContext) -> Mapping[str, Any]:
    try:
        return checked_inputs(graph, context.op_config or {})
    except InvalidInputsError as error:
        raise Failure(str(error), allow_retries=False) from None


def _arrived(
    flow: CompiledFlow, node_id: str, inputs: Mapping[str, Any]
) -> dict[tuple[str, str], Any]:
    """What the step's inputs brought, by the output that it is wired from.

    A fan-in arrives as the list of values that came. One at most did, so whichever wire of the
    input stands for it, the node gets the same value.
    """
    arrived = {}
    for port, wires in flow.wires[node_id].items():
        value = inputs.get(flow.ports[node_id].inputs[port], Absent())
        values = value if port in flow.fan_ins[node_id] else [value]
        came = [item for item in values if not isinstance(item, Absent)]
        arrived |= dict(zip(wires, came, strict=False))
    return arrived


def _report_output(context: OpExecutionContext, result: NodeResult) -> None:
    """The node's own log records and prints, at its step."""
    details = result.get("details", {})
    for record in details.get("logs", ()):
        level = record["level"] if logging.getLevelName(record["level"]).isupper() else 20
        context.log.log(level, record["message"])
    print_output(details.get("stdout", ""))
    print_output(details.get("stderr", ""), error=True)


def _failure(result: NodeResult) -> BaseException:
    """The node's own exception, with its inputs previewed, for Dagster to show first."""
    error = result.get("exception") or RuntimeError(result["error"])
    if isinstance(error, NodeExecutionError) and type(error) is NodeExecutionError:
        error = error.original_error
    previews = result.get("details", {}).get("input_previews", {})
    if isinstance(error, RayflowError) and not isinstance(error, NodeExecutionError):
        # A fault of the flow, not of the node's code: no attempt will mend it.
        return Failure(str(error), allow_retries=False)
    shown = "\n".join(f"  {name} = {text}" for name, text in previews.items())
    error.add_note(f"node '{result['node_id']}', inputs:\n{shown or '  none'}")
    return error


def _outputs(
    session: RunSession, context: OpExecutionContext, node_id: str, result: NodeResult
) -> Iterator[Output[Any]]:
    ports = session.flow.ports[node_id]
    is_return = node_id in session.flow.graph["return_nodes"]
    about = _about(result)
    if node_id == session.flow.graph["start_node"]:
        declared = {output.name for output in context.op_def.output_defs}
        if ABSENT in declared:
            yield Output(Absent(), ABSENT)
    for port, value in result["outputs"].items():
        if is_return:
            _show_result(session, value)
            yield Output(value, RESULT, metadata={**_result_metadata(value), **about})
            continue
        stored = result.get("details", {}).get("stored", {}).get(port)
        shown = result.get("details", {}).get("previews", {}).get(port)
        metadata = {"preview": MetadataValue.text(shown if shown is not None else preview(value))}
        if not result.get("exec_fired"):
            metadata |= about
        yield Output(NodeOutput(value, stored), ports.outputs[port], metadata=metadata)
    for port in result.get("exec_fired", ()):
        yield Output(None, ports.exec_outputs[port], metadata={**about, "exec output": port})


def _about(result: NodeResult) -> dict[str, Any]:
    details = result.get("details", {})
    about: dict[str, Any] = {}
    if "pid" in details:
        about["actor pid"] = MetadataValue.int(details["pid"])
        about["actor node"] = MetadataValue.text(details["host"])
    if "seconds" in details:
        about["seconds in process()"] = MetadataValue.float(round(details["seconds"], 6))
    return about


def _result_metadata(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: MetadataValue.text(preview(value, 2000)) for name, value in result.items()}


def _show_result(session: RunSession, result: Mapping[str, Any]) -> None:
    """The RETURN value as a tag, so that the list of runs shows it."""
    text = preview(dict(result), MAX_TAG)
    session.instance.add_run_tags(session.run.run_id, {RESULT_TAG: text})
