"""The spellings of flow editors, and the canonical form that each stands for.

The Rayflow editor's exports are known from its sources (FlowContext.js, NodeComponent.js of
November 2025): ``type`` is always ``"custom"`` and the class stands in ``data.path``; every edge
has type ``"smoothstep"``; handles read ``exec-in``, ``exec-out``, ``input-<name>``,
``output-<name>``; a saved file wraps nodes and edges in ``flow`` and its title in ``metadata``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rayflow_dagster.port_types import parse_type
from rayflow_dagster.types import (
    DISABLED,
    ERROR_PORT,
    EXEC_IN,
    EXEC_OUT,
    GET_VARIABLE_CLASS,
    RETURN_CLASS,
    SET_VARIABLE_CLASS,
    START_CLASS,
    NodeMetadata,
)

from .flow_form import DECORATION, wired_nodes
from .registry import NodeRegistry
from .spelling import VIRTUAL_PREFIX, class_path_of, names_class

UNTITLED = "Untitled Flow"
VARIABLE = "VARIABLE"
_VARIABLE_CLASSES = {"get": GET_VARIABLE_CLASS, "set": SET_VARIABLE_CLASS}

MetadataLookup = Callable[[str], NodeMetadata | None]


def lift_export(flow: Mapping[str, Any]) -> dict[str, Any]:
    """Lift nodes and edges out of an export's ``flow``, and its title out of ``metadata``."""
    lifted = dict(flow)
    inner = lifted.get("flow")
    if "nodes" not in lifted and isinstance(inner, Mapping) and "nodes" in inner:
        del lifted["flow"]
        lifted |= inner
        about = lifted.get("metadata")
        if isinstance(about, Mapping):
            for key in ("name", "description"):
                if isinstance(about.get(key), str) and about[key] != UNTITLED:
                    lifted.setdefault(key, about[key])
    return lifted


def set_decoration_apart(flow: Mapping[str, Any]) -> dict[str, Any]:
    """``flow`` with what is not wired and names no class (groups, notes) under ``decoration``.

    ``flow`` has the right form.
    """
    wired = wired_nodes(flow)
    nodes: list[Any] = []
    decoration = list(decorations(flow))
    for node in flow["nodes"]:
        spelling = _class_spelling(node, node.get("data") or {})
        is_node = node["id"] in wired or names_class(spelling)
        (nodes if is_node else decoration).append(node)
    return {**flow, "nodes": nodes, **({DECORATION: decoration} if decoration else {})}


def decorations(flow: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The boxes of a canonical flow that are no nodes."""
    found = flow.get(DECORATION)
    apart = found if isinstance(found, list) else []
    return [box for box in apart if isinstance(box, Mapping) and _is_name(box.get("id"))]


def canonical_node(node: Mapping[str, Any], registry: NodeRegistry) -> dict[str, Any]:
    """One node with its class path in ``type`` and one spelling of its settings in ``data``."""
    data = dict(node.get("data") or {})
    spelling = _class_spelling(node, data)
    if node.get(DISABLED):
        data[DISABLED] = True
    class_path, values = _virtual_variable(spelling, data)
    if not class_path:
        class_path = class_path_of(spelling, registry)
    if isinstance(data.get("constantValues"), Mapping | None):
        data["constantValues"] = values | _configured_values(data)
    if class_path == START_CLASS:
        data["inputs"] = _declared_ports(data, "api_schema")
    elif class_path == RETURN_CLASS:
        data["inputs"] = _declared_ports(data, "response_schema")
    return {**node, "type": class_path, "data": data}


def class_spellings(flow: Mapping[str, Any]) -> set[str]:
    """How the nodes of a readable flow spell their classes."""
    nodes: Iterable[Mapping[str, Any]] = lift_export(flow)["nodes"]
    return {_class_spelling(node, dict(node.get("data") or {})) for node in nodes}


def _class_spelling(node: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    path = data.get("path")
    kind: str = node.get("type") or ""
    # Dots make a class path or a short name; a word without them is an editor's node style.
    is_style = "." not in kind and kind not in ("start", "return", "flow")
    return path if is_style and isinstance(path, str) and path else kind


def _virtual_variable(spelling: str, data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Class path and values of the editor's variable node; empty for any other spelling."""
    if not spelling.startswith(VIRTUAL_PREFIX):
        return "", {}
    action, _, identifier = spelling.removeprefix(VIRTUAL_PREFIX).partition("_")
    class_path = _VARIABLE_CLASSES.get(action, "")
    return class_path, {VARIABLE: _variable_name(data, identifier)} if class_path else {}


def _variable_name(data: Mapping[str, Any], identifier: str) -> str:
    """The snapshot's title is ``Get: counter``; without one the id has to serve as the name."""
    for key in ("variableName", "name", "label"):
        title = data.get(key)
        if isinstance(title, str) and title:
            return title.removeprefix("Get: ").removeprefix("Set: ").strip()
    return identifier


def _configured_values(data: Mapping[str, Any]) -> dict[str, Any]:
    """Values that the flow's author set: constants and unwired inputs, by name.

    ``data.constants`` holds either plain values or the class's snapshot (``{"value", "type"}``),
    which says what the default was and is not a value that somebody set.
    """
    values: dict[str, Any] = {}
    constants = data.get("constants")
    if isinstance(constants, Mapping):
        values |= {name: v for name, v in constants.items() if not _is_snapshot(v)}
    for key in ("configuredConstants", "constantValues"):
        if isinstance(data.get(key), Mapping):
            values |= data[key]
    return values


def _is_snapshot(value: Any) -> bool:
    return isinstance(value, Mapping) and "value" in value and set(value) <= {"value", "type"}


def _declared_ports(data: Mapping[str, Any], schema_key: str) -> Any:
    config = data.get("config")
    schema = config.get(schema_key) if isinstance(config, Mapping) else None
    declared = data.get("inputs")
    if not isinstance(schema, Mapping):
        return {} if declared is None else declared
    if not isinstance(declared, Mapping | None):
        return declared  # a rule says that it must be an object
    ports = {name: _schema_port(spec) for name, spec in schema.items()}
    # The snapshot in ``inputs`` has bare type words, where the schema may know a default.
    own = {n: s for n, s in (declared or {}).items() if n not in ports or isinstance(s, Mapping)}
    return {**ports, **own}


def _schema_port(spec: Any) -> Any:
    if not isinstance(spec, Mapping):
        return spec
    port = {key: spec[key] for key in ("type", "default", "description") if key in spec}
    if spec.get("required") is False and "default" not in port:
        port |= {"type": f"{port.get('type', 'any')} | None", "default": None}
    return port


def canonical_variables(declared: Any, nodes: Sequence[Mapping[str, Any]]) -> Any:
    """Declarations by name; None for none. What is malformed comes back as it is, for a rule to
    report. A variable that only an editor's node tells of is marked ``derived``.

    ``nodes`` are canonical.
    """
    variables = _declarations_by_name(declared)
    if not isinstance(variables, Mapping):
        return declared
    found = dict(variables)
    for node in nodes:
        for name, spec in _derived_variable(node).items():
            found.setdefault(name, spec)
    return found if found or declared is not None else None


def _declarations_by_name(declared: Any) -> Any:
    if not isinstance(declared, list):
        return {} if declared is None else declared
    named = [item for item in declared if isinstance(item, Mapping) and _is_name(item.get("name"))]
    by_name = {item["name"]: _declaration(item) for item in named}
    return by_name if len(by_name) == len(declared) else declared


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(name)


def _declaration(item: Mapping[str, Any]) -> dict[str, Any]:
    """One item of a list of variables; the editor spells ``defaultValue`` and ``isReadonly``."""
    spec = {key: value for key, value in item.items() if key not in ("name", *_EDITOR_KEYS)}
    for spelling, key in _EDITOR_KEYS.items():
        if item.get(spelling) is not None:
            spec.setdefault(key, item[spelling])
    if item.get("isCustom"):
        spec["type"] = word if _is_type(word := str(item.get("customImport"))) else "any"
    return spec


_EDITOR_KEYS = {
    "defaultValue": "default",
    "default_value": "default",
    "isReadonly": "readonly",
    "is_readonly": "readonly",
}


def _derived_variable(node: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    data = node["data"]
    path = data.get("path")
    if not isinstance(path, str) or node["type"] not in _VARIABLE_CLASSES.values():
        return {}
    class_path, values = _virtual_variable(path, data)
    if not class_path:
        return {}
    ports = data.get("outputs" if class_path == GET_VARIABLE_CLASS else "inputs")
    kind = ports.get("value") if isinstance(ports, Mapping) else None
    known = isinstance(kind, str) and _is_type(kind)
    spec = {"type": kind if known else "any", "default": None, "derived": True}
    return {values[VARIABLE]: spec}


def canonical_edges(
    edges: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    lookup: MetadataLookup,
) -> list[dict[str, Any]]:
    """Edges with an id, canonical handles, and ``"exec"`` or the data type as ``type``."""
    classes = {node["id"]: lookup(node["type"]) for node in nodes}
    taken = {edge["id"] for edge in edges if edge.get("id")}
    found = []
    for number, edge in enumerate(edges):
        canonical = _canonical_edge(edge, classes.get(edge["source"]))
        if not canonical.get("id"):
            canonical["id"] = _free_id(f"edge_{number}", taken)
            taken.add(canonical["id"])
        found.append(canonical)
    return found


def _free_id(wanted: str, taken: set[str]) -> str:
    while wanted in taken:
        wanted += "_"
    return wanted


def _canonical_edge(edge: Mapping[str, Any], source: NodeMetadata | None) -> dict[str, Any]:
    raw_source, raw_target = edge.get("sourceHandle") or "", edge.get("targetHandle") or ""
    said = edge.get("type") or ""
    is_exec = said == "exec" or raw_source.startswith("exec-") or raw_target == "exec-in"
    source_port, target_port = _port(raw_source, "output-"), _port(raw_target, "input-")
    if not is_exec and not _is_type(said):
        is_exec = _leads_exec(source_port, target_port, source)
    if is_exec:
        ends = {"sourceHandle": source_port or EXEC_OUT, "targetHandle": target_port or EXEC_IN}
        return {**edge, **ends, "type": "exec"}
    outputs = source["outputs"] if source else {}
    kind = outputs.get(source_port) or (said if _is_type(said) else "any")
    return {**edge, "sourceHandle": source_port, "targetHandle": target_port, "type": kind}


def _port(handle: str, prefix: str) -> str:
    if handle in ("exec-in", "exec-out"):
        return handle.replace("-", "_")
    bare = handle.removeprefix("exec-").removeprefix(prefix)
    return bare if bare == handle else _port(bare, prefix)


def _is_type(word: str) -> bool:
    try:
        parse_type(word)
    except ValueError:
        return False
    return bool(word)


def _leads_exec(source_port: str, target_port: str, source: NodeMetadata | None) -> bool:
    if target_port == EXEC_IN:
        return True
    if target_port:
        return False
    names = source.get("exec_outputs", ()) if source else ()
    return source_port in ("", EXEC_OUT, ERROR_PORT) or source_port in names
