"""The flows of a folder in; those that a flow calls, each whole at the node that calls it, out.

A node of class ``flow`` names a file beside the one that it stands in. That flow gives the node its
ports, and becomes its body: its nodes get ids of their own, ``<calling node>.<node>``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from rayflow_dagster.errors import FlowFormatError
from rayflow_dagster.port_types import parse_type, union
from rayflow_dagster.suggest import did_you_mean, listed
from rayflow_dagster.types import (
    ERROR_PORT,
    EXEC_OUT,
    FLOW_CLASS,
    CallSpec,
    FlowData,
    RegionSpec,
)
from rayflow_dagster.variables.store import kept_declarations

from .flow import parse_flow, read_flow
from .levels import by_level
from .regions import brought_type
from .resolved import Callee, Node, ResolvedFlow

MAX_NODES = 10_000
"""The most nodes that a flow has with all that it calls."""
MAX_DEPTH = 20
"""How deep calls may stand in each other."""
SHARED = "shared"
Resolve = Callable[[FlowData, Mapping[str, Callee]], ResolvedFlow]
"""Looks up every name of a canonical flow, which calls these flows."""


@dataclass(frozen=True)
class FlowFolder:
    """The flows that flows of a folder can call, by the names of their files without ``.json``.

    ``contents`` are the files as they were when the folder was loaded; without them, as they are.
    """

    path: Path
    contents: Mapping[str, bytes] | None = None

    @cached_property
    def names(self) -> list[str]:
        """The flows that there are."""
        if self.contents is not None:
            return sorted(self.contents)
        return sorted(file.stem for file in self.path.glob("*.json"))

    def file(self, name: str) -> Path:
        """The file of a flow."""
        return self.path / f"{name}.json"

    def read(self, name: str) -> dict[str, Any]:
        """A flow of the folder, as it is written.

        Raises:
            FlowFormatError: its file is not readable as a flow.
        """
        if self.contents is not None:
            return parse_flow(self.contents[name], str(self.file(name)))
        return read_flow(self.file(name))


class Callees:
    """Finds the flows that a flow calls.

    Args:
        folder: has them.
        canonical: makes a flow as it is written canonical; raises ``FlowFormatError``.
        first_error: the first error of a flow, or None.
    """

    def __init__(
        self,
        folder: FlowFolder,
        canonical: Callable[[Any], FlowData],
        resolve: Resolve,
        first_error: Callable[[ResolvedFlow], str | None],
    ) -> None:
        self._folder = folder
        self._canonical = canonical
        self._resolve = resolve
        self._first_error = first_error
        self._known: dict[str, Callee] = {}

    def of(self, flow: FlowData, path: tuple[str, ...] = ()) -> dict[str, Callee]:
        """The flows that a canonical flow calls, by name; ``path`` are the calls that led to it."""
        return self.named(called_names(flow), path)

    def named(self, names: Iterable[str], path: tuple[str, ...] = ()) -> dict[str, Callee]:
        """The flows of these names."""
        return {name: self._callee(name, path) for name in names}

    def _callee(self, name: str, path: tuple[str, ...]) -> Callee:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            return Callee(
                name,
                f"flow '{name}' calls itself ({circle}), and so would never end; draw what is to "
                "run again and again as the body of a 'control.while'",
                leads_back=True,
            )
        if len(path) >= MAX_DEPTH:
            return Callee(name, f"more than {MAX_DEPTH} flows call each other in a row")
        if name not in self._known:
            self._known[name] = self._found(name, (*path, name))
        return self._known[name]

    def _found(self, name: str, path: tuple[str, ...]) -> Callee:
        known = self._folder.names
        if name not in known:
            stem = name.rpartition("/")[2].removesuffix(".json")
            hint = did_you_mean(stem, known)
            if stem in known:
                hint = f"; did you mean '{stem}'? A flow is named without folder and '.json'"
            return Callee(
                name,
                f"there is no flow '{name}' in {self._folder.path.name} (flows: {listed(known)})"
                f"{hint}",
            )
        try:
            data = self._canonical(self._folder.read(name))
            callees = self.of(data, path)
            circle = next((each for each in callees.values() if each.leads_back), None)
            if circle is not None:
                return replace(circle, name=name)
            flow = self._resolve(data, callees)
            problem = self._first_error(flow) or _why_not_called(flow)
        except FlowFormatError as error:
            problem = error.findings[0]
        if problem:
            file = self._folder.file(name).name
            return Callee(name, f"flow '{name}' ({file}) cannot be called: {problem}")
        return Callee(
            name,
            flow=flow,
            ports=_ports(name, flow),
            again=lambda moved: self._resolve(moved, callees),
        )


def called_names(flow: FlowData) -> list[str]:
    """The flows that a canonical flow calls, by name."""
    named = (node["data"].get("flow") for node in flow["nodes"] if node["type"] == FLOW_CLASS)
    return list(dict.fromkeys(name for name in named if isinstance(name, str) and name))


def _ports(name: str, flow: ResolvedFlow) -> dict[str, Any]:
    """The ports of a node that calls a flow."""
    start: Mapping[str, Any] = flow.starts[0].metadata or {}
    return {
        "name": str(flow.data.get("name") or name),
        "inputs": dict(start["outputs"]),
        "defaults": dict(start.get("defaults", {})),
        "input_descriptions": dict(start.get("input_descriptions", {})),
        "outputs": _returned(flow),
        "exec_outputs": tuple(dict.fromkeys(exits_of(flow).values())),
        "exec_exclusive": True,
        "exec_fires": "one",
        "brings": _brings(flow),
        "description": str(flow.data.get("description") or f"Run flow '{name}'."),
    }


def _brings(flow: ResolvedFlow) -> dict[str, list[list[str]]]:
    """Exec output of a node that calls a flow -> what each RETURN takes that fires it."""
    found: dict[str, list[list[str]]] = {}
    for node_id, output in exits_of(flow).items():
        found.setdefault(output, []).append([*flow.nodes[node_id].inputs])
    return found


def size_of(flow: ResolvedFlow) -> int:
    """How many nodes a flow has, with those of the flows that it calls."""
    calls = (node.calls for node in flow.nodes.values() if node.calls in flow.callees)
    called = (flow.callees[name].flow for name in calls)
    return len(flow.nodes) + sum(size_of(callee) for callee in called if callee is not None)


def whole(flow: ResolvedFlow) -> FlowData:
    """The canonical flow with all that it calls, under ``flows``: what a run of it runs."""
    calls = _all_called(flow)
    return flow.data if not calls else cast(FlowData, {**flow.data, "flows": calls})


def _all_called(flow: ResolvedFlow) -> dict[str, FlowData]:
    found: dict[str, FlowData] = {}
    for name, callee in flow.callees.items():
        if callee.flow is not None:
            found |= {name: callee.flow.data, **_all_called(callee.flow)}
    return found


def levelled(flow: ResolvedFlow) -> ResolvedFlow:
    """A flow as drawn, level by level, with the flows that it calls as bodies."""
    return _with_calls(by_level(flow), flow.callees)


def exits_of(flow: ResolvedFlow) -> dict[str, str]:
    """RETURN -> the exec output of a node that calls the flow: ``exec_out`` where all are one, else
    the label, or the id of a RETURN without one.
    """
    returns = [node for node in flow.returns if node.id not in flow.switched_off]
    names = {node.id: node.label or node.id for node in returns}
    is_one = len(set(names.values())) == 1
    return {node_id: EXEC_OUT if is_one else name for node_id, name in names.items()}


def _with_calls(flow: ResolvedFlow, callees: Mapping[str, Callee]) -> ResolvedFlow:
    bodies = {region: _with_calls(body, callees) for region, body in flow.bodies.items()}
    specs = dict(flow.specs)
    for node in flow.nodes.values():
        callee = callees.get(node.calls) if node.calls else None
        if callee is not None and callee.flow is not None:
            bodies[node.id] = _under(node.id, callee)
            specs[node.id] = _spec(node, callee.flow, flow.variables)
    return replace(flow, bodies=bodies, specs=specs)


def _under(node_id: str, callee: Callee) -> ResolvedFlow:
    """A flow level by level, as the body of a node that calls it."""
    if callee.flow is None or callee.again is None:
        raise ValueError(callee.problem)
    return levelled(callee.again(_moved(callee.flow.data, f"{node_id}.")))


def _spec(
    node: Node, called: ResolvedFlow, of_caller: Mapping[str, Mapping[str, Any]]
) -> RegionSpec:
    shares = node.data.get("variables") == SHARED
    own = {
        name: dict(spec)
        for name, spec in called.variables.items()
        if not (shares and is_same(spec, of_caller.get(name)))
    }
    exits = {f"{node.id}.{id_}": output for id_, output in exits_of(called).items()}
    call: CallSpec = {
        "flow": node.calls, "exits": exits, "own": own, "shares": shares,
    }  # fmt: skip
    return {
        "kind": "flow", "carry": [], "inner": {}, "leaves": {}, "fused": False, "exhausted": False,
        "seen": [], "parallel": None, "batch": None, "on_item_error": "fail", "aligned": False,
        "max_iterations": None, "interval": 0.0, "time_limit": None, "call": call,
    }  # fmt: skip


def is_same(one: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    """Whether two declarations are of one type."""
    return other is not None and one.get("type", "any") == other.get("type", "any")


def _why_not_called(flow: ResolvedFlow) -> str | None:
    """What of a flow that can run keeps others from calling it."""
    if size_of(flow) > MAX_NODES:
        return f"with all that it calls it has more than {MAX_NODES:,} nodes"
    kept = kept_declarations(flow.variables)
    if kept:
        name = next(iter(kept))
        return (
            f"it keeps variable '{name}' between its runs, and a call is none; delete the "
            'variable\'s "scope": "flow", or hand its value in by START and out by RETURN'
        )
    if ERROR_PORT in exits_of(flow).values():
        return f"a RETURN has the label '{ERROR_PORT}', by which a call that fails goes on"
    return None


def _returned(flow: ResolvedFlow) -> dict[str, str]:
    """What the RETURNs of a flow take, with the types that are declared, or that wires bring."""
    kinds: dict[str, list[str]] = {}
    for node in flow.returns:
        wired = flow.wired_inputs(node.id)
        for name in node.own_inputs:
            declared = node.inputs[name]
            brought = [brought_type(flow, edge) or "any" for edge in wired.get(name, ())]
            found = [declared] if declared != "any" or not brought else brought
            kinds.setdefault(name, []).extend(found)
    return {name: _any_of(found) for name, found in kinds.items()}


def _any_of(kinds: Iterable[str]) -> str:
    different = list(dict.fromkeys(kinds))
    if len(different) == 1:
        return different[0]
    return "any" if "any" in different else str(union(*map(parse_type, different)))


def _moved(flow: FlowData, prefix: str) -> FlowData:
    """A canonical flow whose nodes and edges have ids that begin so."""
    nodes = [{**node, "id": f"{prefix}{node['id']}"} for node in flow["nodes"]]
    edges = [
        {**edge, **{key: f"{prefix}{edge[key]}" for key in ("id", "source", "target")}}
        for edge in flow["edges"]
    ]
    return cast(FlowData, {**flow, "nodes": nodes, "edges": edges})
