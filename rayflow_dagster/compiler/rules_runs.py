"""The rules about what can happen in a run: merges, skipped sources, ends that reach no RETURN.

They hold for acyclic flows only and take, beside the flow, its ``Liveness``; None means that the
flow has too many branches to decide.
"""

from collections.abc import Iterator
from itertools import combinations

from rayflow_dagster.types import FlowData

from .conditions import TooComplex
from .findings import Finding
from .liveness import Liveness
from .resolved import Edge, Node, ResolvedFlow
from .variable_reads import unscheduled_reads

MAX_PAIRS = 500


def merges_exclusive(flow: ResolvedFlow, live: Liveness | None) -> Iterator[Finding]:
    """Several data edges into one input: no run may fire more than one of their sources."""
    merged = [(node, port, edges) for node, port, edges in _wired_inputs(flow) if len(edges) > 1]
    for node, port, edges in merged:
        for one, two in list(combinations(edges, 2))[:MAX_PAIRS]:
            if live is None or live.conditions.can_both(live.present(one), live.present(two)):
                yield _merge_finding(node, port, one, two, proven=live is not None)


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
    for one, two in list(combinations(flow.returns, 2))[:MAX_PAIRS]:
        if live.conditions.can_both(live.runs[one.id], live.runs[two.id]):
            yield Finding(
                "several_returns",
                f"nodes {one} and {two}: one run can reach both of these RETURNs, and the first "
                "one reached ends the flow; branch before them or keep one",
                severity="warning",
                node=two.id,
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


def variable_reads_have_one_moment(
    flow: ResolvedFlow, live: Liveness | None
) -> Iterator[Finding]:
    data: FlowData = flow.data
    for reader, consumers in unscheduled_reads(data).items():
        if len(consumers) > 1 and reader in flow.nodes:
            names = ", ".join(f"'{name}'" for name in consumers)
            yield Finding(
                "variable_read_moment",
                f"node {flow.nodes[reader]}: it has no exec edges and several consumers ({names}), "
                "so there is no one moment to read the variable; wire exec edges through it, or "
                "use one reader per consumer",
                node=reader,
            )


def _wired_inputs(flow: ResolvedFlow) -> Iterator[tuple[Node, str, list[Edge]]]:
    """(node, input, the data edges into it) for every wired input."""
    for node in flow.nodes.values():
        by_port: dict[str, list[Edge]] = {}
        for edge in flow.data_into(node.id):
            by_port.setdefault(edge.target_port, []).append(edge)
        for port, edges in by_port.items():
            yield node, port, edges


def liveness_of(flow: ResolvedFlow) -> Liveness | None:
    """The conditions of an acyclic flow; None where there are too many to decide."""
    try:
        return Liveness.of(flow)
    except (TooComplex, RecursionError):
        return None


RUNS = (
    merges_exclusive, skipped_sources, several_returns, loose_exec_outputs,
    variable_reads_have_one_moment,
)  # fmt: skip
