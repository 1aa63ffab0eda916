"""Which nodes can run in one and the same run.

Every branching node is a choice; each node's condition says under which choices it runs, and each
output's condition under which choices it brings a value. The rules are those of the run itself
(an exec edge fires or is dead, a join runs if one edge fired, a data-driven node runs if its
values came), with one simplification that only ever adds runs: nothing fails unless its ``error``
output is wired, and no RETURN ends a run early.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from rayflow_dagster.compiler.callees import exits_of
from rayflow_dagster.compiler.levels import ends_of
from rayflow_dagster.compiler.resolved import Edge, Node, ResolvedFlow
from rayflow_dagster.types import ALWAYS, ERROR_PORT, ExecFires

from .conditions import FALSE, TRUE, Condition, Conditions


class _Inside(NamedTuple):
    """What can happen in the body of a group, which runs once where the group does."""

    live: "Liveness"
    leaves: Mapping[str, tuple[str, str]]
    """What leaves it, by its port of the group -> (node, output) in it."""


@dataclass
class Liveness:
    """Conditions of an acyclic flow.

    ``runs``: node id -> when it runs. ``fires``: (node id, exec output) -> when that fires.
    ``begins``: when the flow runs at all, if it is the body of a group.
    """

    conditions: Conditions = field(default_factory=Conditions)
    runs: dict[str, Condition] = field(default_factory=dict)
    fires: dict[tuple[str, str], Condition] = field(default_factory=dict)
    succeeds: dict[str, Condition] = field(default_factory=dict)
    gives_error: set[str] = field(default_factory=set)
    """Nodes that declare a data output named ``error``."""
    groups: set[str] = field(default_factory=set)
    """Groups: their ``error`` comes only where they have failed."""
    begins: Condition = TRUE
    returned: dict[tuple[str, str], Condition] = field(default_factory=dict)
    """(call, data output) -> when the RETURN that it reached has taken it."""
    inside: dict[str, _Inside] = field(default_factory=dict)
    """The bodies of groups that something else depends on."""

    @classmethod
    def of(
        cls,
        flow: ResolvedFlow,
        last: Iterable[str] | None = None,
        conditions: Conditions | None = None,
    ) -> "Liveness":
        """The conditions of the nodes ``last`` and of all that they depend on; of every node, if
        ``last`` is left out. Where one is too hard to work out, a guess stands for it.
        """
        liveness = cls(conditions or Conditions())
        for node_id in depth_first(flow, reversed(flow.order) if last is None else last):
            liveness._add(flow, node_id)
        return liveness

    def present(self, edge: Edge) -> Condition:
        """When the data edge brings a value."""
        return self._comes(edge.source, edge.source_port)

    def _comes(self, node_id: str, output: str) -> Condition:
        inside = self.inside.get(node_id)
        if inside is not None and output in inside.leaves:
            return inside.live._comes(*inside.leaves[output])
        if (node_id, output) in self.returned:
            return self.returned[node_id, output]
        came = self.succeeds[node_id]
        # A data output that the class itself calls so comes when the node succeeds.
        tells = node_id in self.groups or came != TRUE  # of another node, a rule tells
        if output == ERROR_PORT and tells and node_id not in self.gives_error:
            came = self.conditions.negate(came)
        return self.conditions.both(self.runs[node_id], came)

    def any_present(self, edges: Iterable[Edge]) -> Condition:
        return self.conditions.any_of(self.present(edge) for edge in edges)

    def fired(self, edge: Edge) -> Condition:
        return self.fires.get((edge.source, edge.source_port), FALSE)

    def _add(self, flow: ResolvedFlow, node_id: str) -> None:
        runs = self.conditions.attempt(lambda: self._runs(flow, node_id))
        self.runs[node_id] = runs
        # The START of a body has the id of its region, whose failure is another matter.
        handles_error = flow.handles_error(node_id) and not flow.nodes[node_id].is_start
        # What hangs on `always` runs also where a failure is not handled.
        may_fail = handles_error or ALWAYS in flow.nodes[node_id].exec_outputs
        self.succeeds[node_id] = self.conditions.choice() if may_fail else TRUE
        normal = self.conditions.both(runs, self.succeeds[node_id])
        callee = flow.callees.get(flow.nodes[node_id].calls)
        called = callee.flow if callee is not None else None
        if flow.nodes[node_id].region_kind == "group" and flow.bodies[node_id].is_acyclic:
            self._add_group(flow, node_id, normal)
        elif called is not None:
            self._add_call(flow.nodes[node_id], called, normal)
        else:
            outputs = flow.nodes[node_id].exec_outputs
            shares = self._shares(len(outputs), flow.nodes[node_id].exec_fires)
            for name, chosen in zip(outputs, shares, strict=True):
                self.fires[node_id, name] = self.conditions.both(normal, chosen)
        node = flow.nodes[node_id]
        if node.region_kind == "group":
            self.groups.add(node_id)
        elif ERROR_PORT in node.outputs:
            self.gives_error.add(node_id)
        if handles_error:
            failed = self.conditions.negate(self.succeeds[node_id])
            self.fires[node_id, ERROR_PORT] = self.conditions.both(runs, failed)

    def _add_group(self, flow: ResolvedFlow, node_id: str, normal: Condition) -> None:
        """A group fires ``always`` when it has run, and else ``done`` or what ended its body."""
        conditions, body = self.conditions, flow.bodies[node_id]
        inner = Liveness(conditions, begins=normal)
        leaves, ends = flow.specs[node_id]["leaves"], ends_of(body)
        if leaves or ends:
            for each in depth_first(body, reversed(body.order)):
                inner._add(body, each)
            self.inside[node_id] = _Inside(inner, leaves)
        ended = FALSE
        for output, ids in ends.items():
            cases = [inner.runs[each] for each in ids]
            fired = conditions.attempt(partial(conditions.any_of, cases))
            self.fires[node_id, output] = fired
            ended = conditions.attempt(partial(conditions.either, ended, fired))
        done = conditions.attempt(partial(conditions.without, normal, ended))
        self.fires |= {(node_id, "done"): done, (node_id, ALWAYS): self.runs[node_id]}

    def _add_call(self, node: Node, called: ResolvedFlow, normal: Condition) -> None:
        """A call fires and brings what one of the RETURNs of its flow says."""
        conditions, exits = self.conditions, exits_of(called)
        shares = self._shares(len(exits), "one")
        reached = {
            id_: conditions.both(normal, share) for id_, share in zip(exits, shares, strict=True)
        }
        for output in node.exec_outputs:
            cases = [reached[id_] for id_, name in exits.items() if name == output]
            self.fires[node.id, output] = conditions.any_of(cases)
        for output in node.outputs:
            cases = [case for id_, case in reached.items() if output in called.nodes[id_].inputs]
            self.returned[node.id, output] = conditions.any_of(cases)

    def _runs(self, flow: ResolvedFlow, node_id: str) -> Condition:
        if flow.nodes[node_id].is_disabled:
            return FALSE
        exec_edges = flow.exec_into(node_id)
        if exec_edges:
            fired = (self.fired(edge) for edge in exec_edges)
            return self.conditions.at_least(flow.join_of(node_id) or 1, fired)
        runs = self.begins
        node = flow.nodes[node_id]
        for port, edges in flow.wired_inputs(node_id).items():
            if not node.has_value(port):
                runs = self.conditions.both(runs, self.any_present(edges))
        return runs

    def _shares(self, count: int, fires: ExecFires) -> list[Condition]:
        """When each of ``count`` exec outputs is chosen, given that the node succeeded."""
        if count == 1 or fires == "all":
            return [TRUE] * count
        if fires == "any":
            return [self.conditions.choice() for _ in range(count)]
        if fires == "some_or_last":
            some = [self.conditions.choice() for _ in range(count - 1)]
            return [*some, self.conditions.negate(self.conditions.any_of(some))]
        shares, rest = [], TRUE
        for _ in range(count - 1):
            choice = self.conditions.choice()
            shares.append(self.conditions.both(rest, choice))
            rest = self.conditions.both(rest, self.conditions.negate(choice))
        return [*shares, rest] if shares else []


def depth_first(flow: ResolvedFlow, last: Iterable[str]) -> list[str]:
    """``last`` and what it depends on, each behind what it depends on itself and, unlike in
    ``flow.order``, next to it: conditions stay small where choices that belong together do.
    """
    order: list[str] = []
    seen: set[str] = set()
    for end in last:
        stack = [(end, False)]
        while stack:
            node_id, is_through = stack.pop()
            if is_through:
                order.append(node_id)
            elif node_id not in seen:
                seen.add(node_id)
                stack.append((node_id, True))
                stack.extend((source, False) for source in reversed(flow.dependencies[node_id]))
    return order
