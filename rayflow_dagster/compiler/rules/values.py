"""The rules about values and types: ports, constants, defaults, variables."""

from collections.abc import Iterator
from typing import Any

from rayflow_dagster.compiler.converters import converters
from rayflow_dagster.compiler.findings import Finding
from rayflow_dagster.compiler.ports import CARRY
from rayflow_dagster.compiler.regions import Scopes, brought_type
from rayflow_dagster.compiler.resolved import (
    Edge,
    Node,
    ResolvedFlow,
    is_variable_node,
    named_variable,
)
from rayflow_dagster.compiler.variable_reads import variable_of
from rayflow_dagster.computed import is_expression
from rayflow_dagster.metadata import RESERVED
from rayflow_dagster.port_types import (
    accepts,
    class_paths,
    fits,
    imported_class,
    parse_type,
    reference_problem,
)
from rayflow_dagster.secrets.references import secrets_in
from rayflow_dagster.suggest import listed

from .kept import scope_problems
from .options import settings_of


def type_compatibility(flow: ResolvedFlow) -> Iterator[Finding]:
    for edge in flow.edges:
        source, target = flow.nodes.get(edge.source), flow.nodes.get(edge.target)
        if edge.is_exec or source is None or target is None:
            continue
        gives = brought_type(flow, edge)
        ports = target.inner_inputs if edge.leads_back else target.inputs
        takes = ports.get(edge.target_port)
        if gives is None or takes is None or _types_fit(source, target, gives, takes):
            continue
        yield Finding(
            "type_compatibility",
            f"edge '{edge.id}': node {source} output '{edge.source_port}' gives {gives}, but node "
            f"{target} input '{edge.target_port}' takes {takes}; "
            + (_of_loop(flow, edge, takes) or _remedy(gives, takes)),
            node=target.id,
            port=edge.target_port,
            edge=edge.id,
        )


def _of_loop(flow: ResolvedFlow, edge: Edge, takes: str) -> str | None:
    """What to do with a list that is one because it has left a loop, where one item would fit."""
    kind = flow.nodes[edge.source].output_type(edge.source_port)
    left = Scopes(flow, flow.scopes).left(edge) if flow.scopes else []
    loop = next((each for each in left if flow.nodes[each].region_kind == "for_each"), None)
    if loop is None or kind is None or not fits(parse_type(kind), parse_type(takes)):
        return None
    return (
        f"it is a list because it leaves the body of {flow.nodes[loop]}, with what each item "
        f"brought; wire it within the body, take one of the list by a node between, or carry one "
        "value from item to item under data.carry"
    )


def _remedy(gives: str, takes: str) -> str:
    found = converters(parse_type(gives), parse_type(takes))
    if not found:
        return "no built-in node converts, so put one of yours between"
    return f"put a node between that converts: {' or '.join(found)}"


def _types_fit(source: Node, target: Node, gives: str, takes: str) -> bool:
    by_code = [word for node, word in ((source, gives), (target, takes)) if _typed_by_code(node)]
    for path in {path for word in by_code for path in class_paths(parse_type(word))}:
        imported_class(path)  # then it is found, as it is when the flow runs
    return fits(parse_type(gives), parse_type(takes))


def _typed_by_code(node: Node) -> bool:
    """Whether the node's class says its types. Those that a flow says must import nothing."""
    by_flow = node.is_start or node.is_return or node.takes_wires or is_variable_node(node)
    return not by_flow and bool(node.metadata and node.metadata.get("file"))


def declared_types_readable(flow: ResolvedFlow) -> Iterator[Finding]:
    """The types that START and RETURN declare in ``data.inputs``, and their names."""
    for node in [*flow.starts, *flow.returns]:
        declared = node.data.get("inputs")
        if not isinstance(declared, dict):
            yield Finding(
                "declared_type",
                f"node {node} data.inputs: must be an object of name: type, not {declared!r:.80}",
                node=node.id,
            )
            continue
        for name in node.outputs if node.is_start else node.inputs:
            yield from _nameable(node, name)
        for name, spec in declared.items():
            yield from _check_type(node, name, spec.get("type") if isinstance(spec, dict) else spec)
    for region in flow.regions:
        carried = flow.nodes[region].data.get(CARRY)
        for name, spec in carried.items() if isinstance(carried, dict) else ():
            kind = spec.get("type") if isinstance(spec, dict) else spec
            yield from _check_type(flow.nodes[region], name, kind)


def _nameable(node: Node, name: str) -> Iterator[Finding]:
    if node.is_return and name.strip():
        return  # a name in the result; no code takes it
    if not name.isidentifier() or name in RESERVED:
        yield Finding(
            "declared_name",
            f"node {node} input '{name}': this cannot be the name of an input; use letters, digits "
            f"and _, not a digit first, and none of {', '.join(sorted(RESERVED))}",
            node=node.id,
            port=name,
        )


def _check_type(node: Node, name: str, word: Any) -> Iterator[Finding]:
    where = f"node {node} input '{name}'"
    if word is None:
        return
    try:
        parse_type(_word(word))
    except ValueError as error:
        yield Finding("declared_type", f"{where}: {error}", node=node.id, port=name)


def declared_default(flow: ResolvedFlow) -> Iterator[Finding]:
    """The defaults that START, RETURN and loops (``carry``) declare fit their types."""
    for node in [*flow.starts, *flow.returns, *(flow.nodes[region] for region in flow.regions)]:
        ports = node.outputs if node.is_start else node.inputs
        for name, default in node.defaults.items():
            kind = ports.get(name, "any")
            misfit = _misfit(kind, default)
            if misfit is not None:
                yield Finding(
                    "declared_default",
                    f"node {node} input '{name}': its default {default!r:.80} {misfit}; "
                    "correct one of the two",
                    node=node.id,
                    port=name,
                )


def _misfit(kind: str, value: Any) -> str | None:
    """``is not int``, and why if that is a reference to a secret; None where the value fits, or
    would with another name in a reference: of names, the rule of secrets tells.
    """
    port_type, meant = parse_type(kind), secrets_in(value, checked=False)
    if accepts(port_type, secrets_in(value)) or accepts(port_type, meant):
        return None
    problem = reference_problem(port_type, meant)
    return f"is not {kind}" + (f": {problem}" if problem else "")


def constants_and_values(flow: ResolvedFlow) -> Iterator[Finding]:
    """``data.constantValues``: every name is a constant or an input, every value fits."""
    for node in flow.nodes.values():
        given = node.data.get("constantValues", {})
        if not isinstance(given, dict):
            yield Finding(
                "constant_value",
                f"node {node} data.constantValues: must be an object of name: value",
                node=node.id,
            )
        elif node.metadata is not None:
            yield from _check_values(flow, node)


def _check_values(flow: ResolvedFlow, node: Node) -> Iterator[Finding]:
    known = {**node.constants, **node.inputs}
    for name, value in node.values.items():
        if name not in known:
            yield Finding(
                "unknown_constant",
                f"node {node} constantValues '{name}': the node has neither a constant nor an "
                f"input of this name, so the value is not used"
                + (
                    f"; '{name}' is a setting: write it in data, beside constantValues"
                    if name in settings_of(node)
                    else flow.hints.did_you_mean(name, known)
                ),
                severity="warning",
                node=node.id,
                port=name,
            )
            continue
        if is_expression(value):
            continue  # the rules of expressions tell
        kind = node.constants[name]["type"] if name in node.constants else node.inputs[name]
        misfit = _misfit(kind, value)
        if misfit is not None:
            what = "constant" if name in node.constants else "input"
            yield Finding(
                "constant_value",
                f"node {node} {what} '{name}': the value {value!r:.80} set in the flow {misfit}; "
                "correct it in the node's settings",
                node=node.id,
                port=name,
            )


def required_input(flow: ResolvedFlow) -> Iterator[Finding]:
    for node in flow.nodes.values():
        wired = flow.wired_inputs(node.id)
        for name, kind in node.inputs.items():
            if name not in wired and not node.has_value(name):
                yield Finding(
                    "required_input",
                    f"node {node} input '{name}' ({kind}): it has no wire, no constant and no "
                    "default; wire it or set a value",
                    node=node.id,
                    port=name,
                )


def variables_declared(flow: ResolvedFlow) -> Iterator[Finding]:
    """Variable nodes name a declared variable; declarations are well formed."""
    raw: Any = flow.data.get("variables")
    if isinstance(raw, dict):
        for name, spec in raw.items():
            for problem in _declaration_problems(name, spec):
                yield Finding("variable_declaration", f"variable '{name}': {problem}")
            if _is_derived(spec):
                yield Finding(
                    "variable_derived",
                    f"variable '{name}': the flow does not declare it, so its type "
                    f"({spec.get('type', 'any')}) is taken from the drawn node and it starts as "
                    "null; declare it under 'variables'",
                    severity="warning",
                )
    elif raw is not None:
        yield Finding(
            "variable_declaration",
            'flow key variables: write {"counter": {"type": "int", "default": 0}}, or a list of '
            f'objects that each have a "name" of their own, not {raw!r:.80}',
        )
    for node in flow.nodes.values():
        if is_variable_node(node) or (node.waits and named_variable(node) != ""):
            yield from _check_use(flow, node)


def _is_derived(spec: Any) -> bool:
    """Whether a declaration was made from a drawn node."""
    return isinstance(spec, dict) and bool(spec.get("derived"))


def _declaration_problems(name: str, spec: Any) -> Iterator[str]:
    if not name.strip():
        yield "a variable needs a name; give it one"
    if not isinstance(spec, dict):
        yield f'write {{"type": "int", "default": 0}}, not {spec!r:.80}'
    if not isinstance(spec, dict) or _is_derived(spec):
        return
    if not isinstance(spec.get("readonly", False), bool):
        yield f"readonly is true or false, not {spec['readonly']!r:.80}"
    yield from scope_problems(name, spec)
    try:
        kind = parse_type(_word(spec.get("type", "any")))
    except ValueError as error:
        yield str(error)
        return
    if "default" in spec and not accepts(kind, spec["default"]):
        yield f"its default {spec['default']!r:.80} is not {kind}; correct one of the two"


def _word(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError(f'{given!r:.80} is not a type; write for example "int"')
    return given


def _check_use(flow: ResolvedFlow, node: Node) -> Iterator[Finding]:
    name = named_variable(node)
    if isinstance(name, str) and name in flow.variables:
        spec = flow.variables[name]
        writes = not node.waits and "get_variable" not in node.class_path
        if spec.get("readonly") and writes:
            yield Finding(
                "variable_readonly",
                f"node {node}: it writes variable '{name}', which is declared read-only; write "
                "another one, or declare it writable",
                node=node.id,
            )
        return
    yield Finding(
        "variable_declared",
        f"node {node}: variable '{name}' is not declared (declared: "
        f"{listed(flow.variables)}); add it to the flow's variables"
        f"{flow.hints.did_you_mean(str(name), flow.variables)}",
        node=node.id,
    )


def variable_circle(flow: ResolvedFlow) -> Iterator[Finding]:
    """The times of data-driven reads and writes must not wait for each other."""
    circle = flow.timing.circle
    if circle:
        path = " -> ".join([*circle, circle[0]])
        first = next(id_ for id_ in circle if variable_of(flow.nodes[id_]) is not None)
        yield Finding(
            "variable_circle",
            f"the nodes {path} wait for each other in a circle, because a write that no exec edge "
            "leads to comes before every read of its variable that no wire orders with it; wire "
            "exec edges through the variable nodes",
            node=first,
        )


VALUES = (
    type_compatibility, declared_types_readable, declared_default, constants_and_values,
    required_input, variables_declared,
)  # fmt: skip
