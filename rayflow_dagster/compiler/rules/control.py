"""The rules about control nodes: their cases, expressions and templates, what is wired in, and the
flows that they call.
"""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rayflow_dagster.compiler.callees import MAX_NODES, SHARED, is_same, size_of
from rayflow_dagster.compiler.findings import Finding
from rayflow_dagster.compiler.flow_form import MAX_EDGES
from rayflow_dagster.compiler.ports import VARIABLE, constants_of
from rayflow_dagster.compiler.regions import brought_type
from rayflow_dagster.compiler.resolved import Node, ResolvedFlow, named_variable
from rayflow_dagster.control_node import VALUE
from rayflow_dagster.control_nodes import CONTROL_NODES
from rayflow_dagster.port_types import accepts, class_paths, parse_type
from rayflow_dagster.secrets.references import has_secret, secrets_in
from rayflow_dagster.suggest import listed
from rayflow_dagster.types import FLOW_CLASS, SWITCH_CLASS
from rayflow_dagster.values.preview import preview
from rayflow_dagster.zones import moment

WAIT_INPUTS = ("seconds", "until")


def control_constants(flow: ResolvedFlow) -> Iterator[Finding]:
    """What a control node's class finds wrong with its constants."""
    for node in flow.nodes.values():
        if not node.is_control or node.metadata is None:
            continue
        constants = constants_of(node.metadata, node.values)
        if not all(_is_typed(node, name, value) for name, value in constants.items()):
            continue  # the rules of values and of secrets tell
        types = dict(node.inputs)
        if node.waits:  # its condition is about the variable
            types[VALUE] = flow.variables.get(constants[VARIABLE], {}).get("type", "any")
        for fault in CONTROL_NODES[node.class_path].faults(constants, types):
            yield Finding(
                fault.rule,
                f"node {node} constant '{fault.constant}': {fault.text}",
                node=node.id,
                port=fault.constant,
            )


def one_wait(flow: ResolvedFlow) -> Iterator[Finding]:
    """A `control.wait` waits for one thing, and no other."""
    for node in flow.nodes.values():
        if not node.waits:
            continue
        wired = flow.wired_inputs(node.id)
        given = [name for name in WAIT_INPUTS if name in wired or node.values.get(name) is not None]
        given += [VARIABLE] * bool(named_variable(node))
        if len(given) != 1:
            yield Finding(
                "one_wait",
                f"node {node}: it has {listed(given) if given else 'nothing'} to wait for; set one "
                "of seconds, until and VARIABLE. What limits it is data.timeout",
                node=node.id,
            )


def wait_time(flow: ResolvedFlow) -> Iterator[Finding]:
    """The time that a `control.wait` has as a constant is one."""
    for node in flow.nodes.values():
        until = node.values.get("until") if node.waits else None
        if not isinstance(until, str):
            continue
        try:
            moment(until, "UTC", datetime.now(UTC))
        except ValueError as error:
            yield Finding(
                "wait_time", f"node {node} input 'until': {error}", node=node.id, port="until"
            )


def impossible_case(flow: ResolvedFlow) -> Iterator[Finding]:
    """Cases of a `logic.switch` that no value of the types wired into it is."""
    for node in flow.nodes.values():
        if node.class_path != SWITCH_CLASS:
            continue
        words = [brought_type(flow, edge) for edge in flow.data_into(node.id)]
        if not words or None in words:
            continue
        kinds = [parse_type(word) for word in words if word is not None]
        if any(path for kind in kinds for path in class_paths(kind)):
            continue  # what is like a number or a text, only its class knows
        cases = node.values.get("CASES")
        for case in cases if isinstance(cases, list) else ():
            if not any(accepts(kind, case) for kind in kinds):
                yield Finding(
                    "impossible_case",
                    f"node {node} constant 'CASES': {preview(case, 80)} can never be the value, "
                    f"which is of type {' | '.join(map(str, kinds))}; delete the case, or write it "
                    'as that type has it (404 is a number, "404" a text)',
                    "warning",
                    node=node.id,
                    port="CASES",
                )


def called_flow(flow: ResolvedFlow) -> Iterator[Finding]:
    """Every flow that is called is there, can run, and leads to no call of itself. No other node
    has an id as its nodes have in the run.
    """
    ids = sorted(flow.nodes)
    for node in flow.nodes.values():
        if node.class_path != FLOW_CLASS:
            continue
        callee = flow.callees.get(node.calls)
        problem = callee.problem if callee else "name the flow that it calls by its file"
        if problem:
            yield Finding("called_flow", f"node {node} data.flow: {problem}", node=node.id)
        # "/" is what comes next to ".".
        first, behind = (bisect_left(ids, f"{node.id}{mark}") for mark in "./")
        for other in ids[first:behind]:
            yield Finding(
                "called_flow",
                f"node {flow.nodes[other]}: its id begins with '{node.id}.', as those of the "
                f"nodes do that '{node.id}' calls; give it another id",
                node=other,
            )
    if flow.callees and size_of(flow) > MAX_NODES:
        text = f"the flow has more than {MAX_NODES:,} nodes with all that it calls; call fewer"
        yield Finding("called_flow", text)


def unshared_variables(flow: ResolvedFlow) -> Iterator[Finding]:
    """Variables that a call does not share with its caller, though it is to."""
    for node in flow.nodes.values():
        callee = flow.callees.get(node.calls)
        if callee is None or callee.flow is None or node.data.get("variables") != SHARED:
            continue
        theirs = callee.flow.variables
        others = [name for name in theirs if name in flow.variables]
        typed = [name for name in others if not is_same(theirs[name], flow.variables[name])]
        if typed:
            name = typed[0]
            why = (
                f"variable '{name}' is of type {theirs[name].get('type', 'any')} in flow "
                f"'{node.calls}' and of type {flow.variables[name].get('type', 'any')} here, so "
                "each uses its own; declare it alike in both"
            )
        elif not others:
            why = f"flow '{node.calls}' has no variable of the name of one here; delete it"
        else:
            continue
        message = f"node {node} data.variables: {why}"
        yield Finding("unshared_variables", message, "warning", node=node.id)


def _is_typed(node: Node, name: str, value: Any) -> bool:
    is_plain = not has_secret(secrets_in(value))
    return is_plain and accepts(parse_type(node.constants[name]["type"]), value)


def control_secret(flow: ResolvedFlow) -> Iterator[Finding]:
    """No secret is wired or written into a control node, whose decision would tell of it."""
    for node in flow.nodes.values():
        if not node.is_control or node.calls:
            continue
        for what, name, value in _values(flow, node):
            if has_secret(secrets_in(value)):
                yield Finding(
                    "control_secret",
                    f"node {node} {what} '{name}': it has a secret, and a control node takes none; "
                    "let a node of yours decide",
                    node=node.id,
                    port=name,
                )


def _values(flow: ResolvedFlow, node: Node) -> Iterator[tuple[str, str, Any]]:
    for name, value in node.values.items():
        yield "constant" if name in node.constants else "input", name, value
    for edge in flow.data_into(node.id):
        source = flow.nodes[edge.source]
        if source.is_start:
            yield "input", edge.target_port, source.defaults.get(edge.source_port)


def sequence_order(flow: ResolvedFlow) -> Iterator[Finding]:
    """What one output of a sequence starts waits for nothing that a later one starts."""
    for sequence, output, node_id, later in flow.timing.misordered:
        node, last = flow.nodes[node_id], flow.nodes[later]
        yield Finding(
            "sequence_order",
            f"node {flow.nodes[sequence]} exec output '{output}': it leads to node {last}, which "
            f"starts when node {node} has settled, and {node} waits for {last}; swap the outputs, "
            "or wire both nodes behind one",
            node=sequence,
            port=output,
        )


def sequence_width(flow: ResolvedFlow) -> Iterator[Finding]:
    """The nodes of an output that wait for those of another are not too many."""
    for sequence, output in flow.timing.crowded:
        yield Finding(
            "sequence_width",
            f"node {flow.nodes[sequence]} exec output '{output}': each node that it leads to would "
            f"wait for each last node of what goes before, and a flow has at most {MAX_EDGES:,} "
            "such waits; lead the output to one node, and that to the others",
            node=sequence,
            port=output,
        )


CONTROL = (
    control_constants, one_wait, wait_time, impossible_case, control_secret, called_flow,
    unshared_variables,
)  # fmt: skip
SEQUENCES = (sequence_order, sequence_width)
"""They take one level of a flow."""
