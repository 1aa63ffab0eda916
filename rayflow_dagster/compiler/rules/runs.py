"""The rules about what can happen in a run: merges, skipped sources, ends that reach no RETURN.

They hold for acyclic flows only and take, beside the flow, a ``Judge`` of what its runs can meet.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations, permutations
from typing import NamedTuple

from rayflow_dagster.compiler.findings import Finding
from rayflow_dagster.compiler.resolved import Edge, Node, ResolvedFlow
from rayflow_dagster.compiler.variable_reads import variable_of
from rayflow_dagster.suggest import listed
from rayflow_dagster.types import ALWAYS, ERROR_PORT

from .conditions import FALSE, TRUE, Condition, Conditions
from .liveness import Liveness

PART_STEPS = 50_000
"""For the conditions of the part of a flow that one node depends on."""

MOST_PAIRED = 20
"""Exec edges into a join of which two are looked for that exclude each other."""

SHOWN = 3
"""Nodes that a finding about many of them names."""


class Verdict(NamedTuple):
    """Whether some run meets a condition; None where that is too hard to tell."""

    can_be: bool | None
    live: Liveness
    """What it was told from."""


@dataclass
class Judge:
    """What the runs of a flow can meet."""

    flow: ResolvedFlow
    live: Liveness
    parts_left: int = 16
    """How many nodes may be judged by themselves: each costs the time of a small flow."""

    @classmethod
    def of(cls, flow: ResolvedFlow) -> "Judge":
        return cls(flow, Liveness.of(flow))

    def judge(self, node_ids: Sequence[str], condition: Callable[[Liveness], Condition]) -> Verdict:
        """Whether some run meets a condition that depends on what leads to some nodes.

        What is too hard in the order of the whole flow may be easy in the nodes' own.
        """
        verdict = _verdict(self.live, condition)
        if verdict.can_be is None and self.parts_left:
            self.parts_left -= 1
            own = Liveness.of(self.flow, node_ids, Conditions(PART_STEPS))
            verdict = _verdict(own, condition)
        return verdict

    def surely(self, condition: Callable[[Liveness], Condition]) -> bool:
        """Whether some run meets a condition for certain."""
        return _verdict(self.live, condition).can_be is True


def _verdict(live: Liveness, condition: Callable[[Liveness], Condition]) -> Verdict:
    made = live.conditions.attempt(lambda: condition(live))
    return Verdict(None if live.conditions.is_guess(made) else made != FALSE, live)


def two_data_edges(flow: ResolvedFlow, judge: Judge) -> Iterator[Finding]:
    """Several data edges into one input: no run may fire more than one of their sources."""
    for node, port, wires in (*_wired_inputs(flow), *_inner_inputs(flow)):
        # The same wire drawn twice is what the rule repeated_edge reports.
        edges = list({(wire.source, wire.source_port): wire for wire in reversed(wires)}.values())
        edges.reverse()
        if len(edges) < 2:
            continue
        sources = [edge.source for edge in edges]
        verdict = judge.judge(sources, partial(_several_come, edges))
        if verdict.can_be is None:
            pair = edges[0], edges[-1]
            yield _merge_finding(flow, node, port, pair, proven=False)
        elif verdict.can_be:
            one, two = _first_overlap(verdict.live, _cases(verdict.live, edges))
            yield _merge_finding(flow, node, port, (edges[one], edges[two]), proven=True)


def _several_come(edges: list[Edge], live: Liveness) -> Condition:
    return _overlap(live, _cases(live, edges))


def _cases(live: Liveness, edges: Iterable[Edge]) -> list[Condition]:
    return [live.present(edge) for edge in edges]


def _overlap(live: Liveness, cases: list[Condition]) -> Condition:
    """When more than one of the cases is met."""
    conditions, several, so_far = live.conditions, FALSE, FALSE
    for case in sorted(cases, key=conditions.latest):
        several = conditions.either(several, conditions.both(so_far, case))
        so_far = conditions.either(so_far, case)
    return several


def _first_overlap(live: Liveness, cases: list[Condition]) -> tuple[int, int]:
    """The numbers of two of the cases, of which some run meets several, that one run can meet."""
    order = sorted(range(len(cases)), key=lambda at: live.conditions.latest(cases[at]))
    so_far = FALSE
    for met, at in enumerate(order):
        case = cases[at]
        if live.conditions.both(so_far, case) != FALSE:
            earlier = (o for o in order[:met] if live.conditions.both(cases[o], case) != FALSE)
            one, two = sorted((next(earlier), at))
            return one, two
        so_far = live.conditions.either(so_far, case)
    raise ValueError("no two of the cases overlap")


def _merge_finding(
    flow: ResolvedFlow, node: Node, port: str, pair: tuple[Edge, Edge], *, proven: bool
) -> Finding:
    one, two = pair
    why = (
        "one run can fire both, and then it would not be clear which value counts"
        if proven
        else "too many branches lead to it to prove that no run fires both"
    )
    return Finding(
        "two_data_edges",
        f"node {node} input '{port}': edges '{one.id}' (from '{_drawn_source(flow, one)}') and "
        f"'{two.id}' (from '{_drawn_source(flow, two)}') both lead into it, and {why}; merge only "
        "the two sides of one if/else (a node class whose exec outputs exclude each other says "
        "exec_exclusive = True)",
        node=node.id,
        port=port,
        edge=two.id,
    )


def skipped_source(flow: ResolvedFlow, judge: Judge) -> Iterator[Finding]:
    """An input whose source may be skipped while its node runs needs a constant or default."""
    for node, port, edges in _wired_inputs(flow):
        if node.has_value(port) or not flow.exec_into(node.id):
            continue
        user = _user(flow, node, port)
        if user is None:
            continue
        lacks = _lacks_value(judge, node, edges)
        if lacks is not False:
            sources = listed([f"'{_drawn_source(flow, edge)}'" for edge in edges])
            may_fail = any(flow.handles_error(edge.source) for edge in edges)
            gap = "may fail or be skipped" if may_fail else "may be skipped"
            if not all(_is_of_every_return(flow, edge) for edge in edges):
                gap += ", or end at a RETURN that does not take it,"
            told = _skip_finding if lacks else _unchecked
            yield told(*user, f"{sources} {gap}", edges[0])


def _drawn_source(flow: ResolvedFlow, edge: Edge) -> str:
    """Where a wire begins in the drawing: of one from a region, the node in its body, if it is."""
    source, port = edge.source, edge.source_port
    while source in flow.bodies and port in flow.specs[source]["leaves"]:
        inner, inner_port = flow.specs[source]["leaves"][port]
        flow, source, port = flow.bodies[source], inner, inner_port
    return source


def _is_of_every_return(flow: ResolvedFlow, edge: Edge) -> bool:
    """Whether a call, from which the edge leads, brings the value whichever RETURN it reaches."""
    returns = chain.from_iterable(flow.nodes[edge.source].brings.values())
    return all(edge.source_port in takes for takes in returns)


def _user(flow: ResolvedFlow, node: Node, port: str) -> tuple[Node, str] | None:
    """Whose input it is: of what only the body of a region reads, a node of that which cannot do
    without; None where all can.
    """
    body = flow.bodies.get(node.id)
    if body is None or port not in flow.specs[node.id]["seen"]:
        return node, port
    for edge in body.edges_from[node.id]:
        target = body.nodes[edge.target]
        if edge.source_port == port and not target.has_value(edge.target_port):
            found = _user(body, target, edge.target_port)
            if found is not None:
                return found
    return None


def _lacks_value(judge: Judge, node: Node, edges: list[Edge]) -> bool | None:
    """Whether the node can run without a value over one of the edges; None: too hard to tell."""

    def gap(live: Liveness) -> Condition:
        return live.conditions.without(live.runs[node.id], live.any_present(edges))

    return judge.judge([node.id], gap).can_be


def _skip_finding(node: Node, port: str, gap: str, edge: Edge) -> Finding:
    return Finding(
        "skipped_source",
        f"node {node} input '{port}': its source {gap} while the node "
        "runs, and the input has no constant or default; set one, or wire the other "
        "branch into the input too",
        node=node.id,
        port=port,
        edge=edge.id,
    )


def _unchecked(node: Node, port: str, gap: str, edge: Edge) -> Finding:
    return Finding(
        "too_many_branches",
        f"node {node} input '{port}': too many branches lead to it to work out whether its source "
        f"{gap} while the node runs; give the input a constant, or split the "
        "flow",
        severity="warning",
        node=node.id,
        port=port,
        edge=edge.id,
    )


def several_returns(flow: ResolvedFlow, judge: Judge) -> Iterator[Finding]:
    """Two RETURNs that one run can reach: whichever comes first gives the result."""
    live = judge.live
    cases = [live.runs[node.id] for node in flow.returns]
    if judge.surely(lambda live: _overlap(live, cases)):
        one, two = (flow.returns[at] for at in _first_overlap(live, cases))
        yield Finding(
            "several_returns",
            f"nodes {one} and {two}: one run can reach both of these RETURNs, and the "
            "first one reached ends the flow; branch before them or keep one",
            severity="warning",
            node=two.id,
        )


def unawaited_nodes(flow: ResolvedFlow, judge: Judge) -> Iterator[Finding]:
    """Nodes that are left out where a RETURN that does not wait for them comes first."""
    if flow.settings.get("ends") == "all_settled" or len(flow.starts) != 1:
        return
    left = _left_out(flow, judge)
    if left:
        names = ", ".join(str(node) for node in left[:SHOWN]) + (", ..." if left[SHOWN:] else "")
        yield Finding(
            "unawaited_nodes",
            f"nodes {names}: a RETURN that does not wait for them may end the flow before they "
            'have run, and what has not started is skipped; wire them to it, or set "ends": '
            '"all_settled" in the flow\'s settings',
            severity="warning",
            node=left[0].id,
        )


def _left_out(flow: ResolvedFlow, judge: Judge) -> list[Node]:
    """Nodes that surely run in some run whose RETURN does not wait for them."""
    conditions, live, awaited = judge.live.conditions, judge.live, _awaited(flow, judge.live)
    ended = conditions.attempt(
        lambda: conditions.any_of(live.runs[node.id] for node in flow.returns)
    )
    reached = flow.behind(flow.starts[0].id)

    def beside(node: Node) -> Condition:
        return conditions.attempt(lambda: conditions.both(live.runs[node.id], ended))

    return [
        node
        for node in flow.nodes.values()
        if node.id in reached and judge.surely(partial(_exceeds, beside(node), awaited[node.id]))
    ]


def _awaited(flow: ResolvedFlow, live: Liveness) -> dict[str, Condition]:
    """Node id -> when a RETURN runs that waits for the node, or is it."""
    conditions = live.conditions
    awaited = dict.fromkeys(flow.nodes, FALSE) | {r.id: live.runs[r.id] for r in flow.returns}
    for node_id in reversed(flow.order):
        for source in flow.dependencies[node_id]:
            either = partial(conditions.either, awaited[source], awaited[node_id])
            awaited[source] = conditions.attempt(either)
    return awaited


def loose_exec_output(flow: ResolvedFlow, judge: Judge) -> Iterator[Finding]:
    """An exec output that may fire into nothing, so that the run reaches no RETURN."""
    if not flow.returns:
        return
    conditions, live = judge.live.conditions, judge.live
    reached = conditions.attempt(
        lambda: conditions.any_of(live.runs[node.id] for node in flow.returns)
    )
    for node, port in _loose_outputs(flow):
        if judge.surely(partial(_exceeds, live.fires[node.id, port], reached)):
            yield Finding(
                "loose_exec_output",
                f"node {node} exec output '{port}': it leads nowhere, and a run that takes it "
                "may reach no RETURN and fail; wire it to a RETURN",
                severity="warning",
                node=node.id,
                port=port,
            )


def _exceeds(a: Condition, b: Condition, live: Liveness) -> Condition:
    """FALSE where ``a`` implies ``b``; as uncertain as they are."""
    guesses = [each for each in (a, b) if live.conditions.is_guess(each)]
    return guesses[0] if guesses else TRUE if live.conditions.exceeds(a, b) else FALSE


def _loose_outputs(flow: ResolvedFlow) -> Iterator[tuple[Node, str]]:
    """(node, exec output) for every one without an edge."""
    for node in flow.nodes.values():
        wired = {edge.source_port for edge in flow.edges_from[node.id] if edge.is_exec}
        extra = {ALWAYS} if node.region_kind == "group" else set()  # fires beside another
        yield from ((node, p) for p in node.exec_outputs if p not in wired and p not in extra)


def join(flow: ResolvedFlow, judge: Judge) -> Iterator[Finding]:
    """So many exec edges as a join asks for can fire in one run."""
    for node in flow.nodes.values():
        edges = flow.exec_into(node.id)
        if node.join is None or any(edge.source in flow.switched_off for edge in edges):
            continue  # what is disabled for now is no fault
        problem = None
        if len(edges) < node.join:
            problem = f"and {len(edges) or 'none'} lead to it; wire more, or ask for less"
        elif judge.judge([node.id], partial(_when_runs, node.id)).can_be is False:
            problem = f"and no run fires so many{_exclusion(flow, judge.live, edges)}; ask for less"
        if problem:
            asked = f"{node.join} exec edge{'s' * (node.join > 1)}"
            yield Finding(
                "join",
                f"node {node} data.join: it asks for {asked} to fire, {problem}",
                node=node.id,
            )


def _when_runs(node_id: str, live: Liveness) -> Condition:
    return live.runs[node_id]


def _exclusion(flow: ResolvedFlow, live: Liveness, edges: list[Edge]) -> str:
    """Which branch keeps two of the edges from firing in one run, if that can be told."""
    for one, other in combinations(edges[:MOST_PAIRED], 2):
        cases = live.fired(one), live.fired(other)
        if live.conditions.both(*cases) == FALSE:
            parts = _branch(flow, live, (one, other), cases)
            if parts:
                node, *outputs = parts
                ends = " or ".join(f"'{output}'" for output in outputs)
                return f", as node {flow.nodes[node]} fires {ends}, never both"
    return ""


def _branch(
    flow: ResolvedFlow, live: Liveness, edges: tuple[Edge, Edge], cases: tuple[Condition, Condition]
) -> tuple[str, str, str] | None:
    """A node and two of its exec outputs, of which each edge needs one."""
    behind, queue = set[str](), [edge.source for edge in edges]
    while queue:
        node_id = queue.pop()
        if node_id not in behind:
            behind.add(node_id)
            queue += flow.dependencies[node_id]
    for node_id in reversed([node_id for node_id in flow.order if node_id in behind]):
        outputs = [*flow.nodes[node_id].exec_outputs, ERROR_PORT]
        fires = [
            (name, live.fires[node_id, name]) for name in outputs if (node_id, name) in live.fires
        ]
        for (one, first), (other, second) in permutations(fires, 2):
            if FALSE in (first, second) or live.conditions.both(first, second) != FALSE:
                continue
            if not any(map(live.conditions.exceeds, cases, (first, second))):
                return node_id, one, other
    return None


def variable_read_moment(flow: ResolvedFlow, judge: Judge) -> Iterator[Finding]:
    """A data-driven read happens once, so one run may have only one moment for it."""
    for reader, needed_by in flow.timing.reads.items():
        joins = any(flow.nodes[node_id].join for node_id in needed_by)
        # A join starts before all that leads to it has settled, so no moment is that of all.
        pair = needed_by[:2] if joins and needed_by[1:] else _both_run(needed_by, judge)
        if pair is not None:
            yield Finding(
                "variable_read_moment",
                f"node {flow.nodes[reader]}: no exec edge leads to it, and nodes "
                f"{flow.nodes[pair[0]]} and {flow.nodes[pair[1]]} need it at different moments of "
                "one run, so it is not clear when to read the variable; wire exec edges through "
                "it, or use one reader for each of them",
                node=reader,
            )


def variable_write_order(flow: ResolvedFlow, judge: Judge) -> Iterator[Finding]:
    """Two data-driven writes of one variable in one run need a wire that says which is first."""
    told: set[str] = set()
    for pair in flow.timing.writes:
        if pair[1] not in told and _both_run(pair, judge) is not None:
            told.add(pair[1])
            yield Finding(
                "variable_write_order",
                f"nodes {flow.nodes[pair[0]]} and {flow.nodes[pair[1]]} both write variable "
                f"'{variable_of(flow.nodes[pair[1]])}' as soon as their values are there, and no "
                "wire says which comes first; wire exec edges through them",
                node=pair[1],
            )


def _both_run(nodes: Sequence[str], judge: Judge) -> tuple[str, str] | None:
    """Two of these nodes that one run can run both, or for which that is too hard to tell."""
    if len(nodes) < 2:
        return None
    cases = [judge.live.runs[node_id] for node_id in nodes]
    verdict = _verdict(judge.live, lambda live: _overlap(live, cases))
    if verdict.can_be is None:
        return nodes[0], nodes[-1]
    if not verdict.can_be:
        return None
    one, two = _first_overlap(judge.live, cases)
    return nodes[one], nodes[two]


def _wired_inputs(flow: ResolvedFlow) -> Iterator[tuple[Node, str, list[Edge]]]:
    """(node, input, the data edges into it) for every wired input."""
    for node in flow.nodes.values():
        for port, edges in flow.wired_inputs(node.id).items():
            yield node, port, edges


def _inner_inputs(flow: ResolvedFlow) -> Iterator[tuple[Node, str, list[Edge]]]:
    """(region, inner input, the data edges into it) for every one that a body hands something."""
    by_port: dict[str, list[Edge]] = {}
    for edge in flow.handed:
        by_port.setdefault(edge.target_port, []).append(edge)
    for port, edges in by_port.items():
        yield flow.nodes[edges[0].target], port, edges


ANYWHERE = (two_data_edges, skipped_source, join, variable_read_moment, variable_write_order)
OF_RETURNS = (several_returns, unawaited_nodes, loose_exec_output)
"""What is asked of a drawing, and not of a body: it has no RETURN."""


def check_runs(flow: ResolvedFlow, *, is_body: bool = False) -> Iterator[Finding]:
    """Every rule of this module."""
    judge = Judge.of(flow)
    for rule in ANYWHERE if is_body else (*ANYWHERE, *OF_RETURNS):
        yield from rule(flow, judge)


def uncertain_inputs(flow: ResolvedFlow, judge: Judge | None = None) -> frozenset[tuple[str, str]]:
    """(node, input) whose wired sources may all be skipped while the node runs."""
    judge = judge or Judge.of(flow)
    return frozenset(
        (node.id, port)
        for node, port, edges in _wired_inputs(flow)
        if _lacks_value(judge, node, edges) is not False
    )
