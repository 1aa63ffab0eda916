"""The sequences of a flow in, what their later outputs lead to waits for out.

A ``control.sequence`` fires all its outputs at once. What ``then_2`` leads to waits, without a
wire, for the last nodes of what only ``then_1`` leads to, and so on. What several outputs lead to
is a join as any other, and no output waits for it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from rayflow_dagster.types import ALWAYS, SEQUENCE_CLASS

from .flow_form import MAX_EDGES
from .resolved import Misordered, Node, ResolvedFlow, circle_of

Bits = dict[str, int]
"""Node id -> a set of nodes as a number: a node's bit stands at its place in the order."""


class _Wait(NamedTuple):
    """``target``, which ``output`` of a sequence leads to, waits for ``sources``."""

    sequence: str
    output: str
    target: str
    sources: tuple[str, ...]


def order_sequences(flow: ResolvedFlow) -> ResolvedFlow:
    """``flow`` with what the later outputs of its sequences wait for.

    A flow with a circle comes back as it is; one in which an output would wait for what waits for
    it, or too many nodes for too many, comes back with that in ``timing``.
    """
    if not flow.is_acyclic or not any(_is_sequence(node) for node in flow.nodes.values()):
        return flow
    sequences = _Sequences(flow)
    misordered = tuple(sequences.misordered())
    if misordered:
        return replace(flow, timing=replace(flow.timing, misordered=misordered))
    for with_data in (True, False):
        waits = list(sequences.waits(with_data=with_data))
        if sum(len(wait.sources) for wait in waits) > MAX_EDGES:
            most = max(waits, key=lambda wait: len(wait.sources))
            crowded = ((most.sequence, most.output),)
            return replace(flow, timing=replace(flow.timing, crowded=crowded))
        ordered = _with_waits(flow, waits)
        if ordered.is_acyclic:
            return ordered
    misordered = (_crossing(ordered, waits),)
    return replace(flow, timing=replace(flow.timing, misordered=misordered))


def _with_waits(flow: ResolvedFlow, waits: list[_Wait]) -> ResolvedFlow:
    after = dict(flow.timing.after)
    for wait in waits:
        after[wait.target] = tuple(dict.fromkeys((*after.get(wait.target, ()), *wait.sources)))
    return replace(flow, timing=replace(flow.timing, after=after))


def _is_sequence(node: Node) -> bool:
    return node.class_path == SEQUENCE_CLASS


def _crossing(ordered: ResolvedFlow, waits: list[_Wait]) -> Misordered:
    """Of sequences whose waits make a circle together, one that is in it."""
    circle = circle_of(ordered.dependencies)
    follows = set(zip(circle, (*circle[1:], circle[0]), strict=True))
    return next(
        Misordered(wait.sequence, wait.output, source, wait.target)
        for wait in waits
        for source in wait.sources
        if (source, wait.target) in follows
    )


@dataclass(frozen=True)
class _Sequences:
    """The sequences of an acyclic flow."""

    flow: ResolvedFlow

    def waits(self, *, with_data: bool) -> Iterator[_Wait]:
        """What the targets of later outputs wait for; ``with_data`` as in ``_by_output``."""
        hanging = self._by_output(with_data=with_data)
        for node in self._nodes:
            started = 0
            for at, output in enumerate(node.exec_outputs):
                targets = self._targets(node.id, output)
                last = self._last(started & ~self._late(node, at)) if targets else ()
                if last:
                    yield from (_Wait(node.id, output, target, last) for target in targets)
                own = hanging[node.id, output]
                if any(self._bits[target] & own for target in targets):
                    started = 0  # what waits for these waits for what they have waited for
                started |= own

    def misordered(self) -> Iterator[Misordered]:
        """What only one output leads to, and waits for what a later one leads to."""
        for node in self._nodes:
            for at, output in enumerate(node.exec_outputs):
                for later in node.exec_outputs[at + 1 :]:
                    for target in self._targets(node.id, later):
                        wrong = self._led_to[node.id, output] & self._wired[target]
                        if wrong:
                            first = next(_names(self.flow, wrong))
                            yield Misordered(node.id, later, first, target)

    @cached_property
    def _nodes(self) -> list[Node]:
        """Sources first."""
        nodes = (self.flow.nodes[node_id] for node_id in self.flow.order)
        return [node for node in nodes if _is_sequence(node)]

    def _targets(self, node_id: str, output: str) -> list[str]:
        edges = self.flow.edges_from[node_id]
        found = (edge.target for edge in edges if edge.is_exec and edge.source_port == output)
        return list(dict.fromkeys(found))

    def _late(self, node: Node, at: int) -> int:
        """What an output or one after it leads to, and all that waits for that."""
        late = 0
        for output in node.exec_outputs[at:]:
            for target in self._targets(node.id, output):
                late |= self._bits[target] | self._behind[target]
        return late

    def _last(self, nodes: int) -> tuple[str, ...]:
        """Those of the nodes that none of the others waits for."""
        return tuple(
            node_id for node_id in _names(self.flow, nodes) if not self._awaiting[node_id] & nodes
        )

    @cached_property
    def _bits(self) -> Bits:
        return {node_id: 1 << at for at, node_id in enumerate(self.flow.order)}

    @cached_property
    def _behind(self) -> Bits:
        """All that edges and waits lead to from a node."""
        return self._followers(self.flow.dependencies)

    @cached_property
    def _wired(self) -> Bits:
        """All that edges lead to from a node."""
        edges = self.flow.edges_into
        return self._followers({id_: [edge.source for edge in edges[id_]] for id_ in edges})

    @cached_property
    def _awaiting(self) -> Bits:
        """All that settles only after a node has, and well: a join may not wait for it, and what
        hangs on the ``always`` of a group runs where that has failed, too.
        """
        edges = self.flow.edges
        always = {(e.source, e.target) for e in edges if e.is_exec and e.source_port == ALWAYS}
        awaited = self.flow.awaited.items()
        return self._followers(
            {to: [f for f in ids if (f, to) not in always] for to, ids in awaited}
        )

    def _followers(self, sources: Mapping[str, list[str]]) -> Bits:
        behind = dict.fromkeys(self.flow.order, 0)
        for node_id in reversed(self.flow.order):
            for source in sources.get(node_id, ()):
                behind[source] |= behind[node_id] | self._bits[node_id]
        return behind

    @cached_property
    def _outputs(self) -> dict[tuple[str, str], int]:
        """A bit for each output of a sequence, higher than those that it hangs on."""
        outputs = [(node.id, output) for node in self._nodes for output in node.exec_outputs]
        return {output: 1 << at for at, output in enumerate(outputs)}

    @cached_property
    def _led_to(self) -> dict[tuple[str, str], int]:
        return self._by_output(with_data=False)

    def _by_output(self, *, with_data: bool) -> dict[tuple[str, str], int]:
        """Output -> the nodes that every way from START by exec edges leads to through it; in
        ``with_data`` also the data-driven ones that need something of those, and what only such
        lead to.
        """
        through: Bits = {}
        """Node id -> the outputs that the node hangs on."""
        for node_id in self.flow.order:
            edges = self.flow.exec_into(node_id)
            found = -1 if edges else 0
            for edge in edges:
                port = self._outputs.get((edge.source, edge.source_port), 0)
                found &= through[edge.source] | port
            if not edges and with_data:
                for edge in self.flow.data_into(node_id):
                    found |= through[edge.source]
            through[node_id] = found
        outputs = list(self._outputs)
        around = [through[node_id] | 1 << at for at, (node_id, _) in enumerate(outputs)]
        """By number of an output: all that hangs on it hangs on these, too."""
        nodes = dict.fromkeys(outputs, 0)

        def add(found: int, hanging: int) -> None:
            while found:
                innermost = found.bit_length() - 1
                nodes[outputs[innermost]] |= hanging
                found &= ~around[innermost]

        for node_id, found in through.items():
            add(found, self._bits[node_id])
        for output in reversed(outputs):  # inner ones first: the outer ones have all of theirs
            add(through[output[0]], nodes[output])
        return nodes


def _names(flow: ResolvedFlow, nodes: int) -> Iterator[str]:
    """The ids of a set of nodes, sources first."""
    return (flow.order[at] for at in _places(nodes))


def _places(bits: int) -> Iterator[int]:
    """Where the bits stand that are set, lowest first."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest
