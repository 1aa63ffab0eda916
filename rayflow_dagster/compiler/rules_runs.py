"""The rules about what can happen in a run: merges, skipped sources, ends that reach no RETURN.

They hold for acyclic flows only and take, beside the flow, its ``Liveness``; None means that the
flow has too many branches to decide.
"""

from collections.abc import Iterator
from typing import TypeVar

from .conditions import FALSE, Condition, TooComplexError
from .findings import Finding
from .liveness import Liveness
from .resolved import Edge, Node, ResolvedFlow

T = TypeVar("T")


def merges_exclusive(flow: ResolvedFlow, live: Liveness | None) -> Iterator[Finding]:
    """Several data edges into one input: no run may fire more than one of their sources."""
    for node, port, wires in _wired_inputs(flow):
        # The same wire drawn twice is what the rule repeated_edges reports.
        edges = list({(wire.source, wire.source_port): wire for wire in reversed(wires)}.values())
        edges.reverse()
        pair = (edges[0], edges[-1]) if live is None else _both_present(edges, live)
        if len(edges) > 1 and pair is not None:
            yield _merge_finding(node, port, *pair, proven=live is not None)


def _both_present(edges: list[Edge], live: Liveness) -> tuple[Edge, Edge] | None:
    """The first two edges that one run can bring values over."""
    return _first_overlap([(edge, live.present(edge)) for edge in edges], live)


def _first_overlap(cases: list[tuple[T, Condition]], live: Liveness) -> tuple[T, T] | None:
    """The first two cases that one run can meet both."""
    so_far = FALSE
    for number, (case, condition) in enumerate(cases):
        if live.conditions.can_both(so_far, condition):
            earlier = (
                c for c, other in cases[:number] if live.conditions.can_both(other, condition)
            )
            return next(earlier), case
        so_far = live.conditions.either(so_far, condition)
    return None


def _merge_finding(node: Node, port: str, one: Edge, two: Edge, *, proven: bool) -> Finding:
    why = (
        "one run can fire both, and then it would not be clear which value counts"
        if proven
        else "the flow has too many branches to prove that no run fires both"
    )
    return Finding(
        "two_data_edges",
        f"node {node} input '{port}': edges '{one.id}' (from '{one.source}') and '{two.id}' "
        f"(from '{two.source}') both lead into it, and {why}; merge only the two sides of one "
        "if/else (a node class whose exec outputs exclude each other says exec_exclusive = True)",
        node=node.id,
        port=port,
        edge=two.id,
    )


def skipped_sources(flow: ResolvedFlow, live: Liveness | None) -> Iterator[Finding]:
    """An input whose source may be skipped while its node runs needs a constant or default."""
    if live is None:
        return  # the run itself then says which branch brought no value
    for node, port, edges in _wired_inputs(flow):
        if node.has_value(port) or not flow.exec_into(node.id):
            continue
        if not live.conditions.implies(live.runs[node.id], live.any_present(edges)):
            sources = ", ".join(f"'{edge.source}'" for edge in edges)
            yield Finding(
                "skipped_source",
                f"node {node} input '{port}': its source {sources} may be skipped while the node "
                "runs, and the input has no constant or default; set one, or wire the other "
                "branch into the input too",
                node=node.id,
                port=port,
                edge=edges[0].id,
            )


def several_returns(flow: ResolvedFlow, live: Liveness | None) -> Iterator[Finding]:
    """Two RETURNs that one run can reach: whichever comes first gives the result."""
    if live is None:
        return
    pair = _first_overlap([(node, live.runs[node.id]) for node in flow.returns], live)
    if pair is not None:
        yield Finding(
            "several_returns",
            f"nodes {pair[0]} and {pair[1]}: one run can reach both of these RETURNs, and the "
            "first one reached ends the flow; branch before them or keep one",
            severity="warning",
            node=pair[1].id,
        )


def loose_exec_outputs(flow: ResolvedFlow, live: Liveness | None) -> Iterator[Finding]:
    """An exec output that may fire into nothing, so that the run reaches no RETURN."""
    if live is None or not flow.returns:
        return
    reached = live.conditions.any_of([live.runs[node.id] for node in flow.returns])
    for node in flow.nodes.values():
        wired = {edge.source_port for edge in flow.edges_from[node.id] if edge.is_exec}
        for port in node.exec_outputs:
            if port in wired:
                continue
            if not live.conditions.implies(live.fires[node.id, port], reached):
                yield Finding(
                    "loose_exec_output",
                    f"node {node} exec output '{port}': it leads nowhere, and a run that takes it "
                    "may reach no RETURN and fail; wire it to a RETURN",
                    severity="warning",
                    node=node.id,
                    port=port,
                )


def _wired_inputs(flow: ResolvedFlow) -> Iterator[tuple[Node, str, list[Edge]]]:
    """(node, input, the data edges into it) for every wired input."""
    for node in flow.nodes.values():
        for port, edges in flow.wired_inputs(node.id).items():
            yield node, port, edges


def liveness_of(flow: ResolvedFlow) -> Liveness | None:
    """The conditions of an acyclic flow; None where there are too many to decide."""
    try:
        return Liveness.of(flow)
    except (TooComplexError, RecursionError):
        return None


RUNS = (merges_exclusive, skipped_sources, several_returns, loose_exec_outputs)


def check_runs(flow: ResolvedFlow) -> Iterator[Finding]:
    """Every rule of this module; a flow with too many branches to decide is told so."""
    live = liveness_of(flow)
    undecided = live is None
    for rule in RUNS:
        try:
            yield from list(rule(flow, live))
        except (TooComplexError, RecursionError):
            undecided = True
            yield from rule(flow, None)
    if undecided:
        yield Finding(
            "too_many_branches",
            "the flow has too many independent branches to work out which nodes can run together, "
            "so inputs whose source may be skipped were not checked; split the flow, or give such "
            "inputs a constant",
            severity="warning",
        )


def uncertain_inputs(flow: ResolvedFlow) -> frozenset[tuple[str, str]]:
    """(node, input) whose wired sources may all be skipped while the node runs."""
    live = liveness_of(flow)
    return frozenset(
        (node.id, port)
        for node, port, edges in _wired_inputs(flow)
        if not _surely_comes(live, node, edges)
    )


def _surely_comes(live: Liveness | None, node: Node, edges: list[Edge]) -> bool:
    if live is None:
        return False
    try:
        return live.conditions.implies(live.runs[node.id], live.any_present(edges))
    except (TooComplexError, RecursionError):
        return False
