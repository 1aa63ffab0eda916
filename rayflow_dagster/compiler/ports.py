"""Which ports a drawn node has: its class's, made its own for START, RETURN, variable nodes and
control nodes.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from rayflow_dagster.control_nodes import CONTROL_NODES, REGION_KINDS
from rayflow_dagster.metadata import display_name
from rayflow_dagster.port_types import type_text
from rayflow_dagster.types import (
    ERROR_PORT,
    EXEC_OUT,
    RETURN_CLASS,
    SET_VARIABLE_CLASS,
    START_CLASS,
    FlowData,
    FlowNode,
    NodeMetadata,
)

VARIABLE = "VARIABLE"
CARRY = "carry"
"""The key of a loop's ``data`` that declares what an iteration hands to the next."""
AGAIN = "again"
NEXT = "next."
"""How the inner inputs of a loop begin that take what it hands to its next iteration."""
INNER_OUTPUTS = {"for_each": ("item", "index"), "while": ("index",), "group": ()}
"""The outputs of each kind of region that its body reads."""
INNER_INPUTS: Mapping[str, Mapping[str, str]] = {
    "for_each": {}, "while": {AGAIN: "bool"}, "group": {},
}  # fmt: skip
"""The inputs of each kind of region that its body wires into, and their types."""
VARIABLE_CLASSES_PACKAGE = "rayflow_dagster.nodes.variables."


def declared_variables(flow: FlowData) -> dict[str, dict[str, Any]]:
    """Declarations by name; empty where the flow declares none, or not in a readable way."""
    declared: Any = flow.get("variables")
    if not isinstance(declared, dict):
        return {}
    return {name: spec if isinstance(spec, dict) else {} for name, spec in declared.items()}


def complete_metadata(known: NodeMetadata) -> NodeMetadata:
    """``known`` with every port as a type word, and with what only this project's loader adds:
    metadata from elsewhere has the documented keys alone.
    """
    inputs, defaults = declared_types(known.get("inputs"))
    has_exec_output = bool(known.get("exec_output", True))
    complete = {
        "exec_input": True,
        "exec_output": has_exec_output,
        "exec_outputs": (EXEC_OUT,) if has_exec_output else (),
        "exec_exclusive": len(known.get("exec_outputs", ())) <= 1,
        "constants": {},
        "defaults": defaults,
        **known,
        "inputs": inputs,
        "outputs": declared_types(known.get("outputs"))[0],
    }
    return cast(NodeMetadata, complete)


def snapshot_metadata(raw: FlowNode) -> NodeMetadata | None:
    """What the editor's snapshot in ``data`` tells of a class that cannot be looked up."""
    data = raw["data"]
    if not (isinstance(data.get("inputs"), dict) and isinstance(data.get("outputs"), dict)):
        return None
    exec_output = bool(data.get("exec_output", True))
    name = raw["type"].rpartition(".")[2]
    inputs, defaults = declared_types(data["inputs"])
    return {
        "path": raw["type"],
        "name": display_name(name),
        "class_name": name,
        "inputs": inputs,
        "outputs": declared_types(data["outputs"])[0],
        "exec_input": bool(data.get("exec_input", True)),
        "exec_output": exec_output,
        "exec_outputs": (EXEC_OUT,) if exec_output else (),
        "exec_exclusive": True,
        "constants": {},
        "defaults": defaults,
    }


def declared_types(ports: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """Types and defaults of ports declared in a flow: ``{"a": "int", "b": {"type", "default"}}``.

    A type that cannot be read counts as ``any`` here; a rule reports it.
    """
    types: dict[str, str] = {}
    defaults: dict[str, Any] = {}
    for name, spec in ports.items() if isinstance(ports, dict) else ():
        types[name] = _type_or_any(spec.get("type", "any") if isinstance(spec, dict) else spec)
        if isinstance(spec, dict) and "default" in spec:
            defaults[name] = spec["default"]
    return types, defaults


def _descriptions(ports: Any) -> dict[str, str]:
    specs = ports.items() if isinstance(ports, dict) else ()
    described = {name: spec.get("description") for name, spec in specs if isinstance(spec, dict)}
    return {name: text for name, text in described.items() if isinstance(text, str) and text}


def _type_or_any(word: Any) -> str:
    try:
        return type_text("any" if word is None else word)
    except ValueError:
        return "any"


def own_ports(
    raw: FlowNode,
    known: NodeMetadata | None,
    wired_in: list[str],
    wired_out: list[str],
    variables: Mapping[str, Mapping[str, Any]],
) -> NodeMetadata | None:
    if known is None:
        return None
    if raw["type"] == START_CLASS:
        types, defaults = declared_types(raw["data"].get("inputs"))
        used = (name for name in wired_out if name not in ("", EXEC_OUT))
        undeclared = {name: "any" for name in used if name not in types}
        ports = {"outputs": {**types, **undeclared}, "defaults": defaults, "inputs": {}}
        ports["input_descriptions"] = _descriptions(raw["data"].get("inputs"))
    elif raw["type"] == RETURN_CLASS:
        types, defaults = declared_types(raw["data"].get("inputs"))
        ports = {"inputs": _with_wired(types, wired_in), "defaults": defaults}
    elif raw["type"].startswith(VARIABLE_CLASSES_PACKAGE):
        ports = _variable_ports(raw, known, variables)
    elif raw["type"] in REGION_KINDS:
        ports = _region_ports(raw, known)
    elif raw["type"] in CONTROL_NODES:
        ports = _control_ports(raw, known, wired_in)
    else:
        return known
    return cast(NodeMetadata, {**known, **ports})


def _with_wired(types: Mapping[str, str], wired_in: Iterable[str]) -> dict[str, str]:
    """Inputs that are whatever is wired, beside those with a type."""
    return {**types, **{name: "any" for name in wired_in if name and name not in types}}


def _control_ports(raw: FlowNode, known: NodeMetadata, wired_in: list[str]) -> dict[str, Any]:
    kind = CONTROL_NODES[raw["type"]]
    ports: dict[str, Any] = {"is_control": True}
    if kind.takes_wires:
        ports["inputs"] = _with_wired({}, wired_in)
    own = kind.ports(constants_of(known, raw["data"].get("constantValues")))
    if own is not None:
        ports |= {**own._asdict(), "exec_exclusive": own.exec_fires == "one"}
    return ports


def carried(class_path: str, data: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """What an iteration of a loop hands to the next, as (types, defaults). A name that is one of
    the loop's own ports is left out: a rule tells of it.
    """
    if REGION_KINDS[class_path] == "group":
        return {}, {}
    types, defaults = declared_types(data.get(CARRY))
    own = ports_of_region(class_path)
    return (
        {name: kind for name, kind in types.items() if name not in own},
        {name: value for name, value in defaults.items() if name not in own},
    )


def ports_of_region(class_path: str) -> set[str]:
    """The data ports that any region of this class has."""
    kind = CONTROL_NODES[class_path]
    return {*kind.inputs, *kind.outputs, ERROR_PORT, AGAIN}


def _region_ports(raw: FlowNode, known: NodeMetadata) -> dict[str, Any]:
    """The ports of a region node on both of its sides; a carried value is one of each."""
    kind = REGION_KINDS[raw["type"]]
    types, defaults = carried(raw["type"], raw["data"])
    return {
        "is_control": True,
        "inputs": {**known["inputs"], **types},
        "defaults": {**known.get("defaults", {}), **defaults},
        "outputs": {**known["outputs"], **types},
        "inner_outputs": {
            **{name: known["outputs"][name] for name in INNER_OUTPUTS[kind]},
            **types,
        },
        "inner_inputs": {
            **INNER_INPUTS[kind],
            **{f"{NEXT}{name}": each for name, each in types.items()},
        },
        "exec_exclusive": kind != "group",
        "exec_fires": "one" if kind != "group" else "all",
    }


def constants_of(known: NodeMetadata, values: Any) -> dict[str, Any]:
    """The constants of a node: its class's, and what the flow says instead."""
    given = values if isinstance(values, dict) else {}
    return {name: given.get(name, spec["value"]) for name, spec in known["constants"].items()}


def _variable_ports(
    raw: FlowNode, known: NodeMetadata, variables: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    values = raw["data"].get("constantValues")
    name = values.get(VARIABLE) if isinstance(values, dict) else None
    spec = variables.get(name, {}) if isinstance(name, str) else {}
    kind = _type_or_any(spec.get("type", "any"))
    ports: dict[str, Any] = {"outputs": dict.fromkeys(known["outputs"], kind)}
    if raw["type"] == SET_VARIABLE_CLASS:
        ports["inputs"] = dict.fromkeys(known["inputs"], kind)
    return ports
