"""When variable nodes that no exec edge leads to read and write: edges and waits that make it so.

A data-driven read happens when the first exec-driven node that needs it is about to run: it gets
that node's exec edges, and waits for what else that node waits for. A data-driven write happens as
soon as its values are there, and before every other use of the variable that no wire orders with
it. What waits without a wire only waits: it runs whether or not what it waits for was skipped.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

from rayflow_dagster.types import EXEC_IN, GET_VARIABLE_CLASS

from .resolved import (
    Edge,
    Node,
    ResolvedFlow,
    Timing,
    circle_of,
    is_variable_node,
    named_variable,
)

Waits = dict[str, list[str]]
"""Node id -> the nodes that it waits for without a wire."""
Bits = dict[str, int]
"""Node id -> a set of nodes as a number: a node's bit stands at its place in the order."""
MAX_WRITES = 100
"""With how many data-driven writes of its variable a node is ordered, the last ones first. More can
be without an order only if one run never has two of them.
"""


def variable_of(node: Node) -> str | None:
    """The variable that a node reads or writes; None if it is no variable node, or names none."""
    if not is_variable_node(node):
        return None
    name = named_variable(node)
    return name if isinstance(name, str) else None


def schedule_variables(flow: ResolvedFlow) -> ResolvedFlow:
    """``flow`` with the times of its data-driven reads and writes.

    A flow with a circle comes back as it is, and so does one whose times would make a circle:
    ``timing.circle`` has it.
    """
    uses = _uses(flow)
    if not flow.is_acyclic or all(flow.exec_into(id_) for ids in uses.values() for id_ in ids):
        return flow
    scheduled, pairs = _order_writes(flow, uses)
    if scheduled.is_acyclic:
        pairs = _unordered(scheduled, pairs)
        scheduled = _Reads(scheduled).scheduled()
    if scheduled.is_acyclic:
        scheduled = _order_unneeded(scheduled, uses)
    if not scheduled.is_acyclic:
        return replace(flow, timing=Timing(circle=circle_of(scheduled.dependencies)))
    return replace(scheduled, timing=replace(scheduled.timing, writes=tuple(pairs)))


def _uses(flow: ResolvedFlow) -> Mapping[str, list[str]]:
    """Variable -> the nodes that read or write it, sources first. A disabled one does neither."""
    uses: defaultdict[str, list[str]] = defaultdict(list)
    for node_id in flow.order:
        name = variable_of(flow.nodes[node_id])
        if name is not None and not flow.nodes[node_id].is_disabled:
            uses[name].append(node_id)
    return uses


def _order_writes(
    flow: ResolvedFlow, uses: Mapping[str, list[str]]
) -> tuple[ResolvedFlow, list[tuple[str, str]]]:
    """The flow in which data-driven writes come before what no wire orders with them, and the
    pairs of such writes that no wire orders.
    """
    waits: Waits = {}
    pairs: list[tuple[str, str]] = []
    bits, before, settled = _bits(flow), _before(flow), _settled(flow)
    for ids in uses.values():
        so_far = 0
        writes = [id_ for id_ in ids if not _reads_only(flow, id_) and not flow.exec_into(id_)]
        for write in writes:
            unordered = _named(flow, so_far & ~settled[write])
            pairs += [(earlier, write) for earlier in islice(unordered, MAX_WRITES)]
            so_far |= bits[write]
        for other in ids:
            if not so_far & bits[other]:
                late = _named(flow, so_far & ~settled[other])
                free = (write for write in late if not before[write] & bits[other])
                waits[other] = list(islice(free, MAX_WRITES))
    return _with_waits(flow, waits), pairs


def _unordered(flow: ResolvedFlow, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs of which neither waits for the other."""
    if not pairs:
        return pairs
    bits, settled = _bits(flow), _settled(flow)
    return [
        (one, two)
        for one, two in pairs
        if not (settled[one] & bits[two] or settled[two] & bits[one])
    ]


def _order_unneeded(flow: ResolvedFlow, uses: Mapping[str, list[str]]) -> ResolvedFlow:
    """A data-driven read that no exec-driven node needs happens at the start of the run: before
    the exec-driven writes that nothing orders with it.
    """
    waits: Waits = {}
    bits, before, settled = _bits(flow), _before(flow), _settled(flow)
    for ids in uses.values():
        reads = [id_ for id_ in ids if _reads_only(flow, id_) and not flow.exec_into(id_)]
        for write in ids if reads else ():
            if not _reads_only(flow, write) and flow.exec_into(write):
                free = [id_ for id_ in reads if not before[id_] & bits[write]]
                waits[write] = [id_ for id_ in free if not settled[write] & bits[id_]]
    return _with_waits(flow, waits)


@dataclass(frozen=True)
class _Reads:
    """The data-driven reads of a flow, and the nodes at whose moments they happen."""

    flow: ResolvedFlow
    _known: dict[str, list[str]] = field(default_factory=dict)
    """What ``_others`` has found."""

    def scheduled(self) -> ResolvedFlow:
        """The flow with the edges and waits of every data-driven read."""
        edges: list[Edge] = []
        waits: Waits = {}
        moments: dict[str, tuple[str, ...]] = {}
        nodes = dict(self.flow.nodes)
        for node in self.flow.nodes.values():
            if self._is_read(node):
                moments[node.id], found, waits[node.id] = self._moments(node.id)
                edges += found
                joins = [self.flow.nodes[id_].data.get("join") for id_ in moments[node.id]]
                if any(joins):  # of several moments one only is right, and a rule tells
                    nodes[node.id] = replace(node, data={**node.data, "join": joins[0]})
        timed = replace(self.flow, nodes=nodes, edges=(*self.flow.edges, *edges))
        return _with_waits(replace(timed, timing=replace(timed.timing, reads=moments)), waits)

    def _moments(self, read: str) -> tuple[tuple[str, ...], list[Edge], list[str]]:
        """The nodes that need the read, one for each moment; its edges; what else it waits for."""
        needed_by = self._needed_by[read]
        first = [
            node_id
            for node_id in reversed([*_named(self.flow, needed_by)])
            if not self._surely[node_id] & needed_by & ~self._bits[node_id]
        ]
        moments: dict[tuple[frozenset[tuple[str, str]], frozenset[str]], str] = {}
        for node_id in first:
            into = [e for e in self.flow.exec_into(node_id) if not self._is_behind(e.source, read)]
            ends = frozenset((edge.source, edge.source_port) for edge in into)
            others = (id_ for id_ in self._others(node_id) if not self._is_behind(id_, read))
            moments.setdefault((ends, frozenset(others)), node_id)
        ends_of_all = sorted({end for ends, _ in moments for end in ends})
        edges = [
            Edge(f"{source}.{port} starts {read}", source, read, port, EXEC_IN, "exec")
            for source, port in ends_of_all
        ]
        return tuple(moments.values()), edges, sorted({id_ for _, ids in moments for id_ in ids})

    def _others(self, node_id: str) -> list[str]:
        """What a node waits for beside its exec edges, as far as these do not wait for it, too.
        For data-driven nodes behind a read, that is what they wait for.
        """
        if node_id in self._known:
            return self._known[node_id]
        settled = 0
        waits_for_all = self.flow.join_of(node_id) is None
        for edge in self.flow.exec_into(node_id) if waits_for_all else ():
            settled |= self._bits[edge.source] | self._settled[edge.source]
        found, queue = {node_id}, [node_id]
        others = []
        while queue:
            here = queue.pop()
            data = [edge.source for edge in self.flow.data_into(here)]
            for source in {*data, *self.flow.timing.after.get(here, ())} - found:
                found.add(source)
                if source in self._lazy:
                    queue.append(source)
                elif not settled & self._bits[source]:
                    others.append(source)
        self._known[node_id] = others
        return others

    def _is_read(self, node: Node) -> bool:
        """Whether the node is a data-driven read. A disabled one reads at no time."""
        is_get = node.class_path == GET_VARIABLE_CLASS and not node.is_disabled
        return is_get and not self.flow.exec_into(node.id)

    def _is_behind(self, node_id: str, read: str) -> bool:
        return bool((self._before[node_id] | self._bits[node_id]) & self._bits[read])

    @cached_property
    def _bits(self) -> Bits:
        return _bits(self.flow)

    @cached_property
    def _before(self) -> Bits:
        return _before(self.flow)

    @cached_property
    def _settled(self) -> Bits:
        return _settled(self.flow)

    @cached_property
    def _lazy(self) -> set[str]:
        """The data-driven reads, and the data-driven nodes behind them."""
        lazy: set[str] = set()
        for node_id in self.flow.order:
            is_behind = not lazy.isdisjoint(self.flow.dependencies[node_id])
            is_driven = bool(self.flow.exec_into(node_id))
            if self._is_read(self.flow.nodes[node_id]) or (is_behind and not is_driven):
                lazy.add(node_id)
        return lazy

    @cached_property
    def _needed_by(self) -> Bits:
        """The exec-driven nodes that wait for a node, through data-driven ones only."""
        needed_by = dict.fromkeys(self.flow.nodes, 0)
        for node_id in reversed(self.flow.order):
            is_driven = bool(self.flow.exec_into(node_id))
            passed_on = self._bits[node_id] if is_driven else needed_by[node_id]
            for source in self.flow.dependencies[node_id]:
                needed_by[source] |= passed_on
        return needed_by

    @cached_property
    def _surely(self) -> Bits:
        """The nodes that have run in every run in which a node runs, and itself."""
        surely: Bits = {}
        for node_id in self.flow.order:
            into = self.flow.exec_into(node_id)
            groups = [into] if into else []
            for port, edges in self.flow.wired_inputs(node_id).items():
                if not self.flow.nodes[node_id].has_value(port):
                    groups.append(edges)
            surely[node_id] = self._bits[node_id]
            for edges in groups:
                common = -1
                for edge in edges:
                    common &= surely[edge.source]
                surely[node_id] |= common
        return surely


def _reads_only(flow: ResolvedFlow, node_id: str) -> bool:
    return flow.nodes[node_id].class_path == GET_VARIABLE_CLASS


def _with_waits(flow: ResolvedFlow, waits: Waits) -> ResolvedFlow:
    after = dict(flow.timing.after)
    for node_id, sources in waits.items():
        if sources:
            after[node_id] = tuple(dict.fromkeys((*after.get(node_id, ()), *sources)))
    return replace(flow, timing=replace(flow.timing, after=after))


def _bits(flow: ResolvedFlow) -> Bits:
    return {node_id: 1 << at for at, node_id in enumerate(flow.order)}


def _before(flow: ResolvedFlow) -> Bits:
    """All that leads to a node, directly or not."""
    return _gathered(flow, flow.dependencies)


def _settled(flow: ResolvedFlow) -> Bits:
    """All that has settled before a node runs: a join may not wait for what leads to it."""
    return _gathered(flow, flow.awaited)


def _gathered(flow: ResolvedFlow, sources: Mapping[str, list[str]]) -> Bits:
    bits, before = _bits(flow), Bits()
    for node_id in flow.order:
        before[node_id] = 0
        for source in sources[node_id]:
            before[node_id] |= before[source] | bits[source]
    return before


def _named(flow: ResolvedFlow, nodes: int) -> Iterator[str]:
    """The ids of a set of nodes, sources last."""
    while nodes:
        at = nodes.bit_length() - 1
        yield flow.order[at]
        nodes ^= 1 << at
