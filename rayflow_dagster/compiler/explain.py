"""A valid flow in; of each of its nodes when it runs, what it waits for and where it runs, out.

Nothing is decided here: bodies are those of ``regions``, conditions those of the validator's
findings (``rules/liveness.py``), and the rest stands in the compiled graph.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rayflow_dagster.control_node import VALUE
from rayflow_dagster.types import GraphNode, RegionKind, every_node

from .callees import levelled
from .flat import why_not_open
from .fusing import has_items_side_by_side, why_not_fused
from .graph import GraphBuilder
from .levels import by_level
from .loader import NodeLoader
from .places import RunsOn, is_control, is_of_run, runs_on
from .regions import Scopes
from .resolved import Edge, Node, ResolvedFlow, named_variable
from .rules.conditions import FALSE, TRUE
from .rules.runs import Judge, uncertain_inputs

Runs = Literal["always", "sometimes", "never", "unknown"]
"""In how many of the runs, or of the iterations of the body that it is in, in which nothing fails
that is not handled; ``unknown`` where that is too hard to work out."""
Place = Literal["run", "run if small", "fused"] | RunsOn
"""Where a node runs: ``run`` is the run's own process, ``run if small`` that one where the inputs
are small plain values and else a worker, ``fused`` the worker that runs the whole body around it.
"""


class End(NamedTuple):
    """An output of a node."""

    node: str
    output: str


@dataclass(frozen=True, slots=True)
class Explained:
    """What can be said of one node."""

    id: str
    label: str
    class_path: str
    region: RegionKind | None
    calls: str
    """The flow that it calls; "" where it calls none."""
    bodies: tuple[str, ...]
    """The regions in whose bodies it is, the innermost first."""

    runs: Runs
    is_start: bool
    fired_by: tuple[End, ...]
    """The exec outputs of which at least one has to fire; none for a node that values drive."""
    join: int | None
    """How many of ``fired_by`` have to fire, of a node that waits for no more than those."""
    read_for: tuple[str, ...]
    """Of a variable's read that no exec edge leads to: the nodes that need it."""
    needs: Mapping[str, tuple[End, ...]]
    """Of a node that values drive: its inputs without which it is skipped, with their sources."""
    decided_by: End | None
    """The exec output, further up than ``fired_by``, that fires exactly where the node runs."""
    is_disabled: bool
    switched_off_by: tuple[str, ...]
    """The nodes that it would have to run after, and that are disabled, or so themselves."""
    is_overtaken: bool
    """Whether a RETURN that does not wait for it may end the flow first, or come in its place."""
    ended_by: tuple[str, ...]
    """The nodes that may end an iteration before it has begun."""

    waits_for: tuple[str, ...]
    """The nodes of its own body, or of the drawing, that have to settle first."""
    waits_unwired: tuple[str, ...]
    """Those of ``waits_for`` from which no wire leads to it, nor to what is in its body."""
    computed: Mapping[str, str]
    """The inputs whose value an expression gives, with that."""
    from_outside: tuple[str, ...]
    """The nodes outside of its body that it reads from."""
    stands_in: Mapping[str, tuple[End, ...]]
    """The inputs whose constant or default stands in where a wired source was skipped."""

    place: Place
    fused_by: str | None
    """The region whose body one worker runs whole, this node with it."""
    ray_options: Mapping[str, Any]
    why_not_fused: str | None
    """Of a region, or a flow that is called: what keeps its body from being run by one worker,
    after "because".
    """
    timeout: float | None
    """Seconds that an attempt may take."""
    waits_until: str
    """Of a node that is there to wait: for what, after "it waits"; "" for any other."""
    is_open: bool
    """Whether it is a call whose nodes are steps in Dagster, those of a nested graph."""
    why_not_open: str | None
    """Of a call outside of any body: what keeps it from being open, after "because"."""
    items_side_by_side: bool
    """Of a region: whether several of its iterations may run at the same time."""

    @property
    def step(self) -> str:
        """The node whose step in Dagster it is part of: itself, or the outermost region."""
        return self.bodies[-1] if self.bodies else self.id

    @property
    def waits_for_wired(self) -> tuple[str, ...]:
        return tuple(each for each in self.waits_for if each not in self.waits_unwired)


def explain(drawn: ResolvedFlow, loader: NodeLoader) -> list[Explained]:
    """What can be said of each node, in the order of the drawing.

    Args:
        drawn: a flow in which the validator finds no error.
        loader: knows its node classes.

    Raises:
        GraphBuildError: the flow is not valid after all.
    """
    flow = by_level(drawn)
    graph = GraphBuilder({}).compile(levelled(drawn))
    scopes = Scopes(drawn, drawn.scopes or dict.fromkeys(drawn.nodes))
    explainer = _Explainer(drawn, scopes, every_node(graph), loader)
    found = {each.id: each for each in explainer.of_level(flow)}
    return [found[node_id] for node_id in drawn.nodes]


@dataclass
class _Level:
    """The drawing without its bodies, or one body, with what its runs can meet."""

    flow: ResolvedFlow
    region: str | None
    judge: Judge
    uncertain: frozenset[tuple[str, str]]
    overtaken: frozenset[str]
    ancestors: Mapping[str, set[str]]
    """Of each node that ends an iteration early: the nodes that it waits for, however indirectly.
    """


@dataclass(frozen=True)
class _Explainer:
    drawn: ResolvedFlow
    scopes: Scopes
    compiled: Mapping[str, GraphNode]
    loader: NodeLoader

    def of_level(self, flow: ResolvedFlow, region: str | None = None) -> Iterator[Explained]:
        """The nodes of one level, and of those in it; ``region`` is whose body it is."""
        judge = Judge.of(flow)
        enders = [node.id for node in flow.nodes.values() if node.ends_body]
        level = _Level(
            flow,
            region,
            judge,
            uncertain_inputs(flow, judge),
            frozenset(_overtaken(flow, judge)),
            {ender: _before(flow.awaited, ender) for ender in enders},
        )
        for node in flow.nodes.values():
            # A body's START is the region itself, and what passes a break on is nobody's drawing.
            if node.id != region and node.id in self.drawn.nodes:
                yield self._of_node(level, self.drawn.nodes[node.id])
        for inner, body in flow.bodies.items():
            yield from self.of_level(body, inner)

    def _of_node(self, level: _Level, node: Node) -> Explained:
        flow, node_id = level.flow, node.id
        compiled = self.compiled[node_id]
        bodies = self._bodies(node_id)
        is_off = node_id in flow.switched_off
        fired_by = tuple(End(e.source, e.source_port) for e in flow.exec_into(node_id))
        wires = self.drawn.wired_inputs(node_id)
        needed = {port for port in wires if not node.has_value(port)} if not fired_by else set()
        waits = [each for each in flow.awaited[node_id] if each != level.region]
        wired = {edge.source for edge in flow.edges_into[node_id]}
        fused_by = next((each for each in reversed(bodies) if self._is_fused(each)), None)
        return Explained(
            id=node_id,
            label=compiled.get("label", ""),
            class_path=node.class_path,
            region=node.region_kind,
            calls=node.calls,
            bodies=tuple(bodies),
            runs=_runs(level, node_id),
            is_start=node.is_start,
            fired_by=() if node_id in flow.timing.reads else fired_by,
            join=flow.join_of(node_id),
            read_for=flow.timing.reads.get(node_id, ()),
            needs={port: _ends(wires[port]) for port in wires if port in needed},
            decided_by=_decided_by(level, node_id, fired_by),
            is_disabled=node.is_disabled,
            switched_off_by=tuple(
                each for each in flow.dependencies[node_id] if is_off and each in flow.switched_off
            ),
            is_overtaken=node_id in level.overtaken,
            ended_by=tuple(self._ended_by(level, node_id)),
            waits_for=tuple(waits),
            waits_unwired=tuple(each for each in waits if each not in wired),
            computed={port: each.text for port, each in node.computed.items()},
            from_outside=tuple(self._from_outside(node_id)),
            stands_in={
                port: _ends(edges)
                for port, edges in wires.items()
                if port not in needed and (node_id, port) in level.uncertain
            },
            place="fused" if fused_by is not None else self._place(compiled),
            fused_by=fused_by,
            ray_options=compiled.get("ray_options", {}),
            why_not_fused=(
                why_not_fused(compiled["body"], compiled["region"]) if "body" in compiled else None
            ),
            timeout=compiled.get("timeout"),
            waits_until=_waits_until(node, wires) if node.waits else "",
            is_open=bool(node.calls) and not bodies and why_not_open(compiled) is None,
            why_not_open=why_not_open(compiled) if node.calls and not bodies else None,
            items_side_by_side=(
                "region" in compiled and has_items_side_by_side(compiled["region"])
            ),
        )

    def _bodies(self, node_id: str) -> list[str]:
        return [each for each in self.scopes.chain(self.scopes.of[node_id]) if each is not None]

    def _is_fused(self, node_id: str) -> bool:
        node = self.compiled[node_id]
        return "region" in node and node["region"]["fused"]

    def _place(self, node: GraphNode) -> Place:
        if is_of_run(node["class_path"], node["metadata"]):
            return "run"
        place = runs_on(node)
        is_light = place == "worker" and is_control(node["class_path"], self.loader)
        return "run if small" if is_light else place

    def _from_outside(self, node_id: str) -> Iterator[str]:
        """The nodes around its body that a node reads from, regions' inner sides not among them."""
        sources = {
            edge.source: None
            for edge in self.drawn.data_into(node_id)
            if self.scopes.entered(edge) and not edge.leads_back
        }
        around = self._bodies(node_id)
        yield from (source for source in sources if source not in around)

    def _ended_by(self, level: _Level, node_id: str) -> Iterator[str]:
        """The nodes that may end an iteration before a node of it has begun, as they are drawn."""
        for ender, before in level.ancestors.items():
            if node_id == ender or node_id in before:
                continue
            if _can_both_run(level.judge, node_id, ender):
                yield from self._as_drawn(level.flow, ender)

    def _as_drawn(self, flow: ResolvedFlow, ender: str) -> Iterator[str]:
        """A node that ends an iteration; of one that passes that on, those of the group in it."""
        if ender in self.drawn.nodes:
            yield ender
            return
        for group in {edge.source for edge in flow.exec_into(ender)}:
            body = flow.bodies[group]
            for node in body.nodes.values():
                if node.ends_body and node.class_path == flow.nodes[ender].class_path:
                    yield from self._as_drawn(body, node.id)


def _runs(level: _Level, node_id: str) -> Runs:
    live = level.judge.live
    condition = live.runs[node_id]
    if live.conditions.is_guess(condition):
        return "unknown"
    if condition == TRUE:
        return "always"
    return "never" if condition == FALSE else "sometimes"


def _overtaken(flow: ResolvedFlow, judge: Judge) -> Iterator[str]:
    """The nodes that a RETURN which does not wait for them may leave no room for: where it lets
    all settle, the other RETURNs.
    """
    is_first = flow.settings.get("ends") != "all_settled"
    waited_for = {node.id: {node.id, *_before(flow.awaited, node.id)} for node in flow.returns}
    for node in flow.nodes.values():
        if is_first or node.is_return:
            others = (each for each, before in waited_for.items() if node.id not in before)
            if any(_can_both_run(judge, node.id, each) for each in others):
                yield node.id


def _can_both_run(judge: Judge, one: str, other: str) -> bool:
    """Whether one run can run both of two nodes, or that is too hard to tell."""
    conditions, runs = judge.live.conditions, judge.live.runs
    return conditions.attempt(lambda: conditions.both(runs[one], runs[other])) != FALSE


def _decided_by(level: _Level, node_id: str, fired_by: tuple[End, ...]) -> End | None:
    """The first exec output whose firing is proven to be the same as that the node runs."""
    live = level.judge.live
    condition = live.runs[node_id]
    if condition in (TRUE, FALSE) or live.conditions.is_guess(condition):
        return None
    same = (End(*end) for end, fires in live.fires.items() if fires == condition)
    # What hangs on the node itself fires so too, and says nothing of it.
    before = _before(level.flow.dependencies, node_id)
    found = next((end for end in same if end.node in before), None)
    return None if found in fired_by else found


def _before(sources: Mapping[str, list[str]], node_id: str) -> set[str]:
    """The sources of a node, theirs, and so on."""
    found: set[str] = set()
    queue = list(sources[node_id])
    while queue:
        source = queue.pop()
        if source not in found:
            found.add(source)
            queue += sources[source]
    return found


def _waits_until(node: Node, wires: Mapping[str, list[Edge]]) -> str:
    name = named_variable(node)
    if name:
        condition = node.values.get("CONDITION", VALUE)
        return f"until '{condition}' holds for the value of variable '{name}'"
    if "until" in wires or node.values.get("until") is not None:
        return f"until {node.values.get('until', 'the time that is wired in')}"
    seconds = node.values.get("seconds")
    return "as many seconds as are wired in" if seconds is None else f"{seconds} s"


def _ends(edges: list[Edge]) -> tuple[End, ...]:
    return tuple(End(edge.source, edge.source_port) for edge in edges)
