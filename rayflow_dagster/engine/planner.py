"""``ExecutionPlanner``: which nodes run next, decided from the graph and the state alone.

Every exec edge ends *fired* or *dead*. A node waits until every exec edge into it and the source
of every data edge into it are settled; then it runs if at least one exec edge fired, and is
skipped if all are dead. A join that asks for a number of exec edges waits for no more of them: it
runs when so many have fired, and is skipped when so many cannot. A node without exec edges is
data-driven: it is skipped only if a wired value did not come and the input has no constant or
default. The edges of a failed node are neither fired nor dead, so what depends on it stays pending;
but for the ``always`` of a group, which fires then too.
"""

from collections import deque
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from rayflow_dagster.types import ALWAYS, EXEC_OUT, ExecutionGraph, ExecutionState, NodeResult

Decision = Literal["wait", "run", "skip"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows: nodes to start now, in this order, and nodes that will never run."""

    ready: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Incoming:
    """The edges into one node: (source, handle) of exec edges, and of data edges by input."""

    sources: tuple[str, ...]
    """The nodes that it waits for until they have settled, each once."""
    exec_edges: tuple[tuple[str, str], ...]
    join: int | None
    """How many of them have to fire; None where it waits until all are settled."""
    data_edges: Mapping[str, tuple[tuple[str, str], ...]]
    always: frozenset[str]
    """Those of ``sources`` whose ``always`` leads to it."""
    needed: tuple[str, ...]
    """Wired inputs that have neither a constant nor a default."""


class Count:
    """How far the exec edges into a join have been counted."""

    def __init__(self, exec_edges: tuple[tuple[str, str], ...]) -> None:
        self.fired = 0
        self.still_open = len(exec_edges)
        self.left: dict[str, list[str]] = {}
        """The sources that have not settled, and their exec outputs."""
        for source, handle in exec_edges:
            self.left.setdefault(source, []).append(handle)


Counts = dict[str, Count]
"""Node id -> how far a run has counted the exec edges into it, of joins."""


class ExecutionPlanner:
    """Plans which nodes to execute next. Keeps no state of its own, but where to look first."""

    def __init__(self, execution_graph: ExecutionGraph) -> None:
        self._graph = execution_graph
        self.returns = frozenset(execution_graph["return_nodes"])
        self._look_first: dict[str, int] = {}
        """Node id -> which of its sources was open when last looked at."""
        self._incoming = _incoming_edges(execution_graph)
        self._exec_targets = _exec_targets(execution_graph)
        self._rank = drawn_rank(execution_graph)

    def get_next_nodes(
        self, current_state: ExecutionState, last_result: NodeResult | None
    ) -> list[str]:
        """All nodes that can start now, in the order in which they start: as they are drawn.

        ``last_result`` counts even if it is not stored in ``current_state`` yet. Nothing can start
        once a RETURN was reached or, unless the flow says ``on_error: continue``, a node failed. In
        a flow that ends when all has settled, only no other RETURN can.
        """
        results = _Results(current_state, last_result)
        order = self._graph["execution_order"]
        if any(self._ends_flow(results.get(node_id)) for node_id in order):
            return []
        ready = self._plan(current_state, results, order).ready
        returned = any(_is_success(results.get(node_id)) for node_id in self.returns)
        return [node_id for node_id in ready if not (returned and node_id in self.returns)]

    def plan(
        self,
        current_state: ExecutionState,
        candidates: Iterable[str],
        settled: str | None = None,
        counts: Counts | None = None,
        among: Container[str] | None = None,
    ) -> Plan:
        """What can be said now of these nodes: which start, which will never run, and then the same
        of what depends on those; only of nodes ``among`` some, where that is given. Whether the
        flow is over is not asked.

        ``settled``: the node on which the candidates depend, and ``counts`` those of the run, empty
        at first. Whoever names it names each node that settles in the run, once it has, and all
        that depends on it.
        """
        results = _Results(current_state)
        if settled is None or counts is None:
            return self._plan(current_state, results, candidates, among=among)
        return self._plan(current_state, results, candidates, settled, counts, among)

    def leftovers(self, current_state: ExecutionState) -> list[str]:
        """The nodes that have not started."""
        states = current_state["node_states"]
        return [
            node_id
            for node_id in self._graph["execution_order"]
            if states[node_id]["status"] in ("pending", "ready")
        ]

    def lacks_data(self, node_id: str, current_state: ExecutionState) -> bool:
        """Whether a data-driven node is to be skipped, because a value it needs did not come."""
        incoming = self._incoming[node_id]
        if incoming.exec_edges:
            return False
        cache = current_state["data_cache"]
        return any(
            not any(source in cache for source in incoming.data_edges[port])
            for port in incoming.needed
        )

    def behind(self, node_ids: Iterable[str]) -> set[str]:
        """These nodes and all that wires lead to from them."""
        targets: dict[str, list[str]] = {}
        for edge in self._graph["edges"].values():
            if edge["edge_type"] != "order":
                targets.setdefault(edge["source"], []).append(edge["target"])
        found: set[str] = set()
        queue = list(node_ids)
        while queue:
            node_id = queue.pop()
            if node_id not in found:
                found.add(node_id)
                queue.extend(targets.get(node_id, ()))
        return found

    def led_to(self, node_id: str, exec_output: str) -> list[str]:
        """The nodes that an exec output leads to."""
        return self._targets(node_id, exec_output)

    def loose_ends(self, current_state: ExecutionState) -> list[tuple[str, str]]:
        """(node, exec output) of every exec output that fired and leads nowhere."""
        ends: list[tuple[str, str]] = []
        for node_id, node in current_state["node_states"].items():
            result = node["result"]
            is_return = node_id in self.returns
            if result is not None and result["status"] == "success" and not is_return:
                fired = fired_outputs(result, self._exec_outputs(node_id))
                ends += [(node_id, name) for name in fired if not self._targets(node_id, name)]
        return ends

    def silent_nodes(self, current_state: ExecutionState) -> list[str]:
        """The nodes that ran, have exec outputs, and fired none of them."""
        found = []
        for node_id, node in current_state["node_states"].items():
            result, outputs = node["result"], self._exec_outputs(node_id)
            ran = result is not None and result["status"] == "success"
            if ran and outputs and result and not fired_outputs(result, outputs):
                found.append(node_id)
        return found

    def _plan(
        self,
        state: ExecutionState,
        results: "_Results",
        candidates: Iterable[str],
        settled: str = "",
        counts: Counts | None = None,
        among: Container[str] | None = None,
    ) -> Plan:
        ready: dict[str, None] = {}
        skipped: dict[str, None] = {}
        nodes, states = self._graph["nodes"], state["node_states"]
        queue = deque([(settled, candidates)])
        while queue:
            source, dependents = queue.popleft()
            for node_id in dependents:
                is_decided = node_id in ready or results.get(node_id) is not None
                is_asked = among is None or node_id in among
                if is_decided or not is_asked or states[node_id]["status"] == "running":
                    continue
                match self._decide(node_id, results, source, counts):
                    case "run":
                        ready[node_id] = None
                    case "skip":
                        skipped[node_id] = None
                        results.add(skipped_result(node_id))
                        queue.append((node_id, nodes[node_id]["dependents"]))
        return Plan(tuple(sorted(ready, key=self._rank.__getitem__)), tuple(skipped))

    def _ends_flow(self, result: NodeResult | None) -> bool:
        """Whether nothing may start after this result: a RETURN, or a failure that stops."""
        if result is None:
            return False
        if result["status"] == "error":
            return self._graph.get("on_error", "stop") == "stop"
        is_reached = _is_success(result) and result["node_id"] in self.returns
        return is_reached and ends_at_return(self._graph)

    def _decide(
        self, node_id: str, results: "_Results", settled: str = "", counts: Counts | None = None
    ) -> Decision:
        if self._is_waiting(node_id, results):
            return "wait"
        incoming = self._incoming[node_id]
        if incoming.join is not None:
            return self._decide_join(node_id, results, settled, counts)
        if incoming.exec_edges:
            return (
                "run" if any(self._fired(*end, results) for end in incoming.exec_edges) else "skip"
            )
        came = all(
            any(_brings(results.get(source), name) for source, name in incoming.data_edges[port])
            for port in incoming.needed
        )
        return "run" if came else "skip"

    def _decide_join(
        self, node_id: str, results: "_Results", settled: str, counts: Counts | None
    ) -> Decision:
        """Counts the exec edges anew, or from the last time on, where it is known which one of
        their sources has settled since: a join of a thousand is looked at a thousand times.
        """
        asked = self._incoming[node_id].join or 1
        count = None if counts is None else counts.get(node_id)
        if count is None:
            count = Count(self._incoming[node_id].exec_edges)
            for source in [*count.left]:
                self._count(count, source, results)
            if counts is not None:
                counts[node_id] = count
        elif settled in count.left:
            self._count(count, settled, results)
        if count.fired >= asked:
            return "run"
        return "wait" if count.fired + count.still_open >= asked else "skip"

    def _count(self, count: Count, source: str, results: "_Results") -> None:
        """Count the edges of a source that has settled; of a failed one those that fired."""
        result = results.get(source)
        if result is None:
            return
        for handle in count.left.pop(source):
            fired = self._fired(source, handle, results)
            count.fired += fired
            count.still_open -= fired or not _is_open(result)

    def _is_waiting(self, node_id: str, results: "_Results") -> bool:
        """Whether a source is still open.

        Begins with the source that was open the last time: a join of a thousand nodes is looked
        at a thousand times, and looking at all of its sources each time would take minutes.
        """
        sources, always = self._incoming[node_id].sources, self._incoming[node_id].always
        first = self._look_first.get(node_id, 0)
        for at in chain(range(first, len(sources)), range(first)):
            result = results.get(sources[at])
            if _is_open(result) and not (result is not None and sources[at] in always):
                self._look_first[node_id] = at
                return True
        return False

    def _fired(self, source: str, handle: str, results: "_Results") -> bool:
        """Whether an exec output of a settled node fired."""
        result = results.get(source)
        if result is None or result["status"] == "skipped":
            return False
        if result["status"] == "error":
            return handle in result.get("exec_fired", ())
        return handle in fired_outputs(result, self._exec_outputs(source))

    def _exec_outputs(self, node_id: str) -> tuple[str, ...]:
        return self._graph["nodes"][node_id]["metadata"].get("exec_outputs", (EXEC_OUT,))

    def _check_node_ready(self, node_id: str, execution_state: ExecutionState) -> bool:
        """Whether a node can start: it has not yet, and all it waits for is settled."""
        if execution_state["node_states"][node_id]["status"] not in ("pending", "ready"):
            return False
        return self._decide(node_id, _Results(execution_state)) == "run"

    def _get_exec_successors(self, node_id: str, exec_output: str) -> list[str]:
        """The nodes that the exec output leads to."""
        return self._targets(node_id, exec_output)

    def _targets(self, node_id: str, exec_output: str) -> list[str]:
        return self._exec_targets.get((node_id, exec_output), [])


def drawn_rank(graph: ExecutionGraph) -> dict[str, tuple[int, int]]:
    """What goes first of the nodes that are ready: priority, then the order of the drawing."""
    return {
        node_id: (-node.get("priority", 0), number)
        for number, (node_id, node) in enumerate(graph["nodes"].items())
    }


def ends_at_return(graph: ExecutionGraph) -> bool:
    """Whether nothing starts any more once a RETURN was reached."""
    return graph.get("ends", "first_return") == "first_return"


def skipped_result(node_id: str, reason: str | None = None) -> NodeResult:
    """The result of a node that does not run."""
    return {
        "node_id": node_id,
        "status": "skipped",
        "outputs": {},
        "error": reason,
        "exec_next": None,
        "exec_fired": [],
    }


def fired_outputs(result: NodeResult, exec_outputs: tuple[str, ...]) -> list[str]:
    """The exec outputs that fired. A result that says nothing of it fired ``exec_out``."""
    if "exec_fired" in result:
        return result["exec_fired"]
    if result["exec_next"] is not None:
        return [result["exec_next"]]
    return [EXEC_OUT] if EXEC_OUT in exec_outputs else []


class _Results:
    """The results in a state, and those that are known but not stored in it yet."""

    def __init__(self, state: ExecutionState, *extra: NodeResult | None) -> None:
        self._states = state["node_states"]
        self._extra = {result["node_id"]: result for result in extra if result is not None}

    def get(self, node_id: str) -> NodeResult | None:
        return self._extra.get(node_id) or self._states[node_id]["result"]

    def add(self, result: NodeResult) -> None:
        self._extra[result["node_id"]] = result


def _is_open(result: NodeResult | None) -> bool:
    return result is None or result["status"] == "error"


def _is_success(result: NodeResult | None) -> bool:
    return result is not None and result["status"] == "success"


def _brings(result: NodeResult | None, output: str) -> bool:
    return result is not None and result["status"] == "success" and output in result["outputs"]


def _incoming_edges(graph: ExecutionGraph) -> dict[str, _Incoming]:
    exec_edges: dict[str, list[tuple[str, str]]] = {node_id: [] for node_id in graph["nodes"]}
    data_edges: dict[str, dict[str, list[tuple[str, str]]]] = {id_: {} for id_ in graph["nodes"]}
    always: dict[str, set[str]] = {node_id: set() for node_id in graph["nodes"]}
    awaited = awaited_sources(graph)
    for edge in graph["edges"].values():
        end = (edge["source"], edge["source_handle"])
        if edge["edge_type"] == "exec" and edge["source_handle"] == ALWAYS:
            always[edge["target"]].add(edge["source"])
        if edge["edge_type"] == "exec":
            exec_edges[edge["target"]].append(end)
        elif edge["edge_type"] == "data":
            data_edges[edge["target"]].setdefault(edge["target_handle"], []).append(end)
    return {
        node_id: _Incoming(
            awaited[node_id],
            tuple(exec_edges[node_id]),
            graph["nodes"][node_id].get("join"),
            {port: tuple(ends) for port, ends in data_edges[node_id].items()},
            frozenset(always[node_id]),
            tuple(port for port in data_edges[node_id] if not has_fallback(graph, node_id, port)),
        )
        for node_id in graph["nodes"]
    }


def awaited_sources(graph: ExecutionGraph) -> dict[str, tuple[str, ...]]:
    """Node id -> the nodes that it waits for until they have settled: all that it depends on, but
    for those of which a join needs no more than that some of their exec edges fire.
    """
    others: dict[str, dict[str, None]] = {
        node_id: {} if "join" in node else dict.fromkeys(node["dependencies"])
        for node_id, node in graph["nodes"].items()
    }
    for edge in graph["edges"].values():
        if edge["edge_type"] != "exec":
            others[edge["target"]][edge["source"]] = None
    return {node_id: tuple(sources) for node_id, sources in others.items()}


def has_fallback(graph: ExecutionGraph, node_id: str, port: str) -> bool:
    """Whether an input has a constant or default that stands in for a value that did not come, or
    is of a region whose body alone reads it.
    """
    node = graph["nodes"][node_id]
    return (
        ("region" in node and port in node["region"]["seen"])
        or port in node.get("values", {})
        or port in node["metadata"].get("defaults", {})
    )


def _exec_targets(graph: ExecutionGraph) -> dict[tuple[str, str], list[str]]:
    targets: dict[tuple[str, str], list[str]] = {}
    for edge in graph["edges"].values():
        if edge["edge_type"] == "exec":
            targets.setdefault((edge["source"], edge["source_handle"]), []).append(edge["target"])
    return targets
