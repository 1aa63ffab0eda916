"""The rules about expressions, ``{"$expr": "..."}``, in the place of values."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from rayflow_dagster.compiler.expression_wires import Names
from rayflow_dagster.compiler.findings import Finding
from rayflow_dagster.compiler.ports import CARRY
from rayflow_dagster.compiler.resolved import Node, ResolvedFlow, is_variable_node, named_variable
from rayflow_dagster.computed import Computed, has_expression, is_expression
from rayflow_dagster.expressions import Expression, compile_expression, names_in
from rayflow_dagster.secrets.references import has_secret, secrets_in

MOST_KNOWN = 50
"""Names that a finding about an unknown one looks at."""


def expression_place(flow: ResolvedFlow) -> Iterator[Finding]:
    """An expression is the whole value of an input that a node is given in the flow."""
    for node in flow.nodes.values():
        for name, value in node.values.items():
            if name in node.constants and is_expression(value):
                yield _misplaced(
                    node,
                    f"constant '{name}': a constant is what it is in every execution, and an "
                    "expression is worked out in each; make it an input of the node's class, or "
                    "write its value",
                    name,
                )
            elif not is_expression(value) and has_expression(value):
                yield _misplaced(
                    node,
                    f"constantValues '{name}': an expression within a value is not worked out; "
                    'make all of it an expression, as {"$expr": "{\'total\': x * 1.2}"}',
                    name,
                )
        yield from _of_defaults(node)


def _of_defaults(node: Node) -> Iterator[Finding]:
    declared = node.data.get("inputs") if node.is_start or node.is_return else None
    declared = node.data.get(CARRY) if node.region_kind else declared
    for name, spec in declared.items() if isinstance(declared, Mapping) else ():
        if isinstance(spec, Mapping) and has_expression(spec.get("default")):
            yield _misplaced(
                node,
                f"input '{name}': a default is no expression; put the expression into the "
                "constantValues of the node that needs the value",
                name,
            )


def _misplaced(node: Node, text: str, port: str) -> Finding:
    return Finding("expression_place", f"node {node} {text}", node=node.id, port=port)


def expression_mistakes(flow: ResolvedFlow) -> Iterator[Finding]:
    """What is wrong with each expression, with its column."""
    names = Names(flow)
    is_told = not flow.regions or bool(flow.scopes)
    for node in flow.nodes.values():
        for port, value in node.values.items():
            if port not in node.inputs or not is_expression(value):
                continue
            computed = node.computed.get(port)
            if computed is None:
                yield _mistake(
                    node, port, f'{value!r:.80} is no expression; write {{"$expr": "total * 1.2"}}'
                )
            elif is_told and node.id not in flow.torn and not node.is_disabled:
                for problem in _problems(names, node, port, computed):
                    yield _mistake(node, port, f"{computed.text!r}: {problem}")


def _mistake(node: Node, port: str, text: str) -> Finding:
    return Finding("expression", f"node {node} input '{port}': {text}", node=node.id, port=port)


def _problems(names: Names, node: Node, port: str, computed: Computed) -> Iterator[str]:
    types = dict(computed.types)
    unknown = [name for name in names_in(computed.text) if name not in types]
    for name in unknown:
        if name != port and name in node.computed:
            yield (
                f"it reads '{name}', whose value an expression gives, too; write out here what "
                "that says, or wire it from a node"
            )
            types[name] = "any"
    if any(name not in types for name in unknown):
        known = islice(names.known(node, port), MOST_KNOWN)
        types = {**dict.fromkeys(known, "any"), **types}
    made = compile_expression(computed.text, types, computed.gives)
    if not isinstance(made, Expression):
        yield from map(str, made)


def expression_secret(flow: ResolvedFlow) -> Iterator[Finding]:
    """No expression reads a secret, of which its value would tell."""
    for node in flow.nodes.values():
        for port, computed in node.computed.items():
            for name, read in computed.reads.items():
                if any(has_secret(secrets_in(value)) for value in _values(flow, node, read)):
                    yield Finding(
                        "expression_secret",
                        f"node {node} input '{port}': {computed.text!r}: '{name}' has a secret, "
                        "and no expression takes one; let a node of yours make the value",
                        node=node.id,
                        port=port,
                    )


def _values(flow: ResolvedFlow, node: Node, read: str) -> Iterator[Any]:
    """The values that an input of a node has, as far as the flow says them."""
    yield node.values.get(read, node.defaults.get(read))
    for edge in flow.wired_inputs(node.id).get(read, ()):
        source = flow.nodes[edge.source]
        name = edge.source_port
        if is_variable_node(source):
            yield flow.variables.get(str(named_variable(source)), {}).get("default")
        elif source.is_start or source.region_kind:
            yield source.values.get(name, source.defaults.get(name))


EXPRESSIONS = (expression_place, expression_mistakes, expression_secret)
