"""Ops: the definition of one Dagster op per drawn node."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from weakref import WeakValueDictionary

from dagster import Any as DagsterAny
from dagster import (
    DagsterType,
    Field,
    In,
    Int,
    Map,
    Noneable,
    Nothing,
    OpDefinition,
    Out,
    Permissive,
    ScalarUnion,
)

from rayflow_dagster.compiler.spelling import short_name
from rayflow_dagster.computed import Computed
from rayflow_dagster.port_types import ANY, PortType, parse_type
from rayflow_dagster.secrets.references import KEY
from rayflow_dagster.types import EXEC_OUT, ExecutionGraph, GraphNode, is_open

from ._dagster import COMPUTE_KIND_TAG, GIVEN_NUMBER, KIND_PREFIX, PRIORITY_TAG, op_like
from .compiled import CompiledFlow
from .compute import compute_node
from .io_manager import Absent
from .names import ABSENT, AFTER_INPUT, EXEC_INPUT, SESSION

NODE_TAG = "rayflow/node_id"
CLASS_TAG = "rayflow/class"
"""Tags of a step: the node's original id, and its class path."""


class PortDagsterType(DagsterType):
    """The Dagster type of a port. A merged input takes the list of what came, under the same
    name, so the type supports fan-in as Dagster's ``List`` does.
    """

    @property
    def supports_fan_in(self) -> bool:
        return True


_TYPES: dict[str, DagsterType] = {}


def dagster_type(word: str) -> DagsterType:
    """The Dagster type named after a port type. It accepts our handles; values are checked in the
    actor that has them. One object per name, because Dagster refuses two types of one name.
    """
    if word not in _TYPES:
        _TYPES[word] = PortDagsterType(
            name=word,
            type_check_fn=lambda _context, _value: True,
            description=f"{word}: checked where the node runs",
        )
    return _TYPES[word]


_OPS: WeakValueDictionary[str, OpDefinition] = WeakValueDictionary()
"""The ops that jobs hold, by name."""


def build_op(flow: CompiledFlow, node_id: str) -> OpDefinition:
    """The op of one node.

    Op definitions are unique by name in a repository, so nodes that look the same share one
    definition, whose name carries a digest of its looks; the step's name is its alias.
    """
    node = flow.flat["nodes"][node_id]
    text = json.dumps(_looks(flow, node_id))
    description = describe(node, flow.pictures.get(node_id))
    digest = hashlib.sha256((text + description).encode()).hexdigest()[:12]
    name = f"{node['metadata']['class_name']}_{digest}"
    op = _OPS.get(name)
    if op is None:
        op = _OPS[name] = op_like(_pattern(text), name, description)
    return op


@lru_cache(maxsize=1024)
def _pattern(text: str) -> OpDefinition:
    """An op to copy: what nodes of one class have in common."""
    look = json.loads(text)
    ins: dict[str, In] = {EXEC_INPUT: In(Nothing)}
    if look["waits"]:
        ins[AFTER_INPUT] = In(Nothing)
    for name, kind in look["inputs"].items():
        ins[name] = In(dagster_type(kind), default_value=Absent())
    return OpDefinition(
        compute_fn=compute_node,
        name="pattern",
        ins=ins,
        outs={
            name: Out(Nothing if kind is None else dagster_type(kind), is_required=False)
            for name, kind in look["outputs"].items()
        },
        config_schema=start_config(*look["config"]) if look["config"] else None,
        required_resource_keys={SESSION},
        tags=look["kind"],
        pool=look["pool"],
    )


def _looks(flow: CompiledFlow, node_id: str) -> dict[str, Any]:
    """All that tells one op from another beside its description, as JSON. An output of None is an
    exec one.
    """
    node, ports = flow.flat["nodes"][node_id], flow.ports[node_id]
    metadata = node["metadata"]
    is_start = node_id == flow.graph["start_node"]
    outputs: dict[str, str | None] = dict.fromkeys(ports.exec_outputs.values())
    outputs |= {name: metadata["outputs"].get(port, "dict") for port, name in ports.outputs.items()}
    if node_id in flow.gives_absent:
        outputs[ABSENT] = "any"
    config = (
        metadata["outputs"],
        metadata.get("defaults", {}),
        metadata.get("input_descriptions", {}),
        flow.triggers.bound_input,
    )
    return {
        "inputs": {name: metadata["inputs"][port] for port, name in ports.inputs.items()},
        "outputs": outputs,
        "waits": node_id in flow.waits,
        "config": config if is_start else None,
        "pool": node.get("pool"),
        "kind": {COMPUTE_KIND_TAG: metadata.get("category") or "ray"},
    }


def describe(node: GraphNode, picture: str | None = None) -> str:
    """The label as the author wrote it, without marks as Dagster's boxes show it so; what the node
    runs, drawn, if there is a picture; then what the node does and its ports, and what it runs as
    a list.
    """
    metadata = node["metadata"]
    label = node.get("label") or node["id"]
    lines = [label]
    if picture is not None:  # Dagster's pages show images, and no SVG in the text itself
        encoded = base64.b64encode(picture.encode()).decode()
        lines.append(f"![what it runs](data:image/svg+xml;base64,{encoded})")
    lines.append(node.get("description", ""))
    lines.append(f"Node `{node['id']}`, class `{short_name(node['class_path'])}`.")
    for title, ports in (("Inputs", metadata["inputs"]), ("Outputs", metadata["outputs"])):
        if ports:
            listed = ", ".join(f"`{name}`: {kind}" for name, kind in ports.items())
            lines.append(f"{title}: {listed}.")
    for port, value in node.get("values", {}).items():
        if isinstance(value, Computed):
            lines.append(f"`{port}` is what the expression `{value.text}` gives.")
    branches = [name for name in metadata.get("exec_outputs", ()) if name != "exec_out"]
    if branches:
        lines.append(f"Exec outputs: {', '.join(f'`{name}`' for name in branches)}.")
    if is_open(node):
        lines.append(f"Each node of flow `{node['region']['call']['flow']}` is a step.")
    elif "body" in node:
        lines.append("Runs, in this step:")
        lines.append("\n".join(_body_lines(node["body"])))
    return "\n\n".join(line for line in lines if line)


def _body_lines(body: ExecutionGraph, indent: str = "") -> Iterator[str]:
    """The nodes of a body as a Markdown list, each with the exec outputs that lead to it."""
    nodes, start = body["nodes"], body["start_node"]
    into: dict[str, list[str]] = {}
    for edge in body["edges"].values():
        if edge["edge_type"] == "exec" and edge["source"] != start:
            source = nodes[edge["source"]].get("label") or edge["source"]
            port = edge["source_handle"]
            led = f"{source}" if port == EXEC_OUT else f"{source} ({port})"
            into.setdefault(edge["target"], []).append(led)
    for node_id in body["execution_order"]:
        node = nodes[node_id]
        if node_id == start:
            continue
        after = f", after {' or '.join(into[node_id])}" if node_id in into else ""
        label = node.get("label") or node_id
        yield f"{indent}- **{label}** `{short_name(node['class_path'])}`{after}"
        if "body" in node:
            yield from _body_lines(node["body"], indent + "    ")


def op_tags(node: GraphNode) -> dict[str, str]:
    """Tags of the step: the original id, the author's tags, the kind, the priority."""
    tags = {
        **node.get("tags", {}),
        NODE_TAG: node["id"],
        CLASS_TAG: node["class_path"],
        f"{KIND_PREFIX}ray": "",
    }
    if "priority" in node:
        tags[PRIORITY_TAG] = str(node["priority"])
    return tags


def start_config(
    types: Mapping[str, str],
    defaults: Mapping[str, Any],
    descriptions: Mapping[str, str],
    bound: str | None = None,
) -> dict[str, Field]:
    """START's inputs as typed config, with defaults and descriptions for the launchpad. ``bound``
    may be left out: a run's partition gives it.
    """
    fields = {}
    for name, kind in types.items():
        text = f"{descriptions[name]} ({kind})" if name in descriptions else kind
        options: dict[str, Any] = {
            "description": text,
            "is_required": name not in (*defaults, bound),
        }
        if name in defaults and name != bound:
            options["default_value"] = defaults[name]
        fields[name] = Field(_config_type(parse_type(kind)), **options)
    return fields


def _or_secret(scalar: Any) -> ScalarUnion:
    """A scalar, or ``{"$env": "NAME"}`` in its place."""
    return ScalarUnion(scalar_type=scalar, non_scalar_schema={KEY: str})


def _member_type(kind: PortType) -> Any:
    """The Dagster config type of what stands in a list or a map: there, its ``Any`` is not None."""
    found = _config_type(kind)
    return Noneable(found) if found is DagsterAny else found


def _config_type(kind: PortType) -> Any:
    """The Dagster config type of a port type; what config cannot say is checked by START."""
    match kind:
        case PortType("int"):
            return _or_secret(Int)
        case PortType("float" | "str" | "bool" as word):
            return _or_secret({"float": GIVEN_NUMBER, "str": str, "bool": bool}[word])
        case PortType("list", ()):
            return [_member_type(ANY)]
        case PortType("list", (item,)):
            return [_member_type(item)]
        case PortType("dict", (PortType("str"), item)):
            return Map(str, _member_type(item))  # type: ignore[no-untyped-call]
        case PortType("dict"):
            return Permissive()  # type: ignore[no-untyped-call]
        case PortType("union", members):
            rest = [member for member in members if member.name != "None"]
            if len(rest) == 1 and len(rest) < len(members):
                return Noneable(_config_type(rest[0]))
    return DagsterAny
