"""``rayflow-dagster nodes``: every node that a flow of this project can use."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.ports import INNER_INPUTS, INNER_OUTPUTS
from rayflow_dagster.compiler.registry import BUILTIN_PACKAGE, NodeRegistry
from rayflow_dagster.compiler.rules.options import OWN_OPTIONS
from rayflow_dagster.compiler.spelling import short_name
from rayflow_dagster.control_nodes import REGION_KINDS
from rayflow_dagster.errors import NodeLoadError
from rayflow_dagster.project import Project
from rayflow_dagster.types import EXEC_OUT, FLOW_CLASS, NodeMetadata

from .flows import shown
from .terminal import one_line, open_console, print_document, styled, value_text


def list_nodes(*, as_json: bool) -> bool:
    """Print every node of the project around the working folder, a flow that can be called among
    them, and what is broken; True where nothing is.
    """
    project = Project.around(Path.cwd())
    nodes, problems = read_nodes(project.registry)
    flows = project.validator().callable_flows()
    if as_json:
        calls = [
            {**describe(node), "flow": name, "origin": "project"} for name, node in flows.items()
        ]
        found = [describe(node) for node in nodes if node["path"] != FLOW_CLASS]
        print_document({"nodes": [*found, *calls], "problems": problems})
    else:
        _print(open_console(), nodes, flows, problems)
    return not problems


def read_nodes(registry: NodeRegistry) -> tuple[list[NodeMetadata], list[str]]:
    """The metadata of every node class, and what keeps the others from being read."""
    loader = NodeLoader(registry)
    nodes, problems = [], list(_unreadable_files(registry))
    for class_path in registry.class_paths:
        try:
            nodes.append(loader.get_node_metadata(class_path))
        except NodeLoadError as error:
            problems.append(str(error))
    return nodes, problems


def describe(node: NodeMetadata) -> dict[str, Any]:
    """A node as JSON. ``settings`` are the keys of ``data`` that only nodes of its type have;
    ``inner_outputs`` are those that the body of a region reads, and ``inner_inputs`` what the body
    wires into.
    """
    region = REGION_KINDS.get(node["path"])
    builtin = node["path"].startswith(BUILTIN_PACKAGE + ".")
    return {
        "type": short_name(node["path"]),
        "class_path": node["path"],
        "name": node["name"],
        "description": node.get("description", ""),
        "category": node.get("category", ""),
        "icon": node.get("icon", ""),
        "inputs": {name: _input(node, name, kind) for name, kind in node["inputs"].items()},
        "outputs": {name: {"type": kind} for name, kind in node["outputs"].items()},
        "exec_input": node["exec_input"],
        "exec_outputs": list(node.get("exec_outputs", ())),
        "constants": {name: dict(spec) for name, spec in node["constants"].items()},
        "inner_inputs": {n: {"type": kind} for n, kind in INNER_INPUTS[region].items()}
        if region
        else {},
        "inner_outputs": list(INNER_OUTPUTS[region]) if region else [],
        "settings": _settings(node),
        "ray_options": node.get("ray_options", {}),
        "origin": "built-in" if builtin else "project",
        "file": node.get("file"),
    }


def _input(node: NodeMetadata, name: str, kind: str) -> dict[str, Any]:
    about: dict[str, Any] = {"type": kind}
    if name in node.get("defaults", {}):
        about["default"] = node["defaults"][name]
    if name in node.get("input_descriptions", {}):
        about["description"] = node["input_descriptions"][name]
    return about


def _settings(node: NodeMetadata) -> dict[str, dict[str, str]]:
    kind = "flow" if node["path"] == FLOW_CLASS else short_name(node["path"])
    own = OWN_OPTIONS.get(kind)
    fields = own.model_fields if own else {}
    return {name: {"description": field.description or ""} for name, field in fields.items()}


def _unreadable_files(registry: NodeRegistry) -> Iterator[str]:
    for root in registry.roots:
        for file in sorted(root.path.rglob("*.py")):
            parts = file.relative_to(root.path).with_suffix("").parts
            module = ".".join([root.package, *(part for part in parts if part != "__init__")])
            problem = registry.file_problem(f"{module}.Node")
            if problem:
                yield f"{module}: {problem}"


def _print(
    console: Console,
    nodes: list[NodeMetadata],
    flows: Mapping[str, NodeMetadata],
    problems: list[str],
) -> None:
    named = {short_name(node["path"]): node for node in nodes if node["path"] != FLOW_CLASS}
    named |= {f"flow {name}": node for name, node in flows.items()}
    for name, node in named.items():
        console.print(styled(one_line(name), "bold"))
        for title, text in _lines(node).items():
            if text:
                console.print(styled(f"  {title:<10}", "dim"), end="")
                console.print(one_line(text))
    for problem in problems:
        console.print(styled("broken", "bold red"), problem)
    console.print(f"{len(named)} nodes" + (f", {len(problems)} broken" if problems else ""))


def _lines(node: NodeMetadata) -> Mapping[str, str]:
    described = describe(node)
    branches = [name for name in described["exec_outputs"] if name != EXEC_OUT]
    constants = [f"{name} = {_default(spec['value'])}" for name, spec in node["constants"].items()]
    return {
        "": node.get("description", "").partition("\n\n")[0],
        "inputs": ", ".join(_port(name, spec) for name, spec in described["inputs"].items()),
        "outputs": ", ".join(_port(name, spec) for name, spec in described["outputs"].items()),
        "body": ", ".join(_port(name, spec) for name, spec in described["inner_inputs"].items()),
        "exec": ", ".join(branches),
        "settings": ", ".join(described["settings"]),
        "constants": ", ".join(constants),
        "file": shown(Path(node["file"])) if node.get("file") else "",
    }


def _port(name: str, spec: Mapping[str, Any]) -> str:
    default = f" = {_default(spec['default'])}" if "default" in spec else ""
    return f"{name}: {spec['type']}{default}"


def _default(value: Any) -> str:
    return repr(value) if isinstance(value, str) else value_text(value)
