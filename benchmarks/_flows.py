"""The flows of the benchmarks, in the JSON that an editor saves."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

BUMP = "bench_nodes.bump.BumpNode"
SLEEP = "bench_nodes.sleep.SleepNode"
WAIT = "bench_nodes.wait.WaitNode"
MAKE_ARRAY = "bench_nodes.arrays.MakeArrayNode"
PASS_ARRAY = "bench_nodes.arrays.PassArrayNode"
NEW_ARRAY = "bench_nodes.arrays.NewArrayNode"

Flow = dict[str, Any]


def chain(length: int, *, durable: bool = True) -> Flow:
    """START, ``length`` trivial nodes one after the other (exec and data), RETURN."""
    names = [f"n{number}" for number in range(length)]
    line = ["start", *names, "return"]
    edges = [
        edge
        for source, target in itertools.pairwise(line)
        for edge in (exec_edge(source, target), data_edge(source, "value", target, "value"))
    ]
    return flow({name: node(BUMP) for name in names}, edges, {"value": 0}, durable=durable)


def wide_bumps(count: int, *, durable: bool = True) -> Flow:
    """START, ``count`` independent trivial nodes that read its value, RETURN after all of them."""
    nodes = {f"n{number}": node(BUMP) for number in range(count)}
    edges = [data_edge("start", "value", name, "value") for name in nodes]
    return flow(nodes, [*edges, *around(nodes)], {"value": 0}, durable=durable)


def wide(count: int, kind: str, *, durable: bool = True, **constants: Any) -> Flow:
    """START, ``count`` independent nodes of ``kind`` without inputs, RETURN after all of them."""
    nodes = {f"n{number}": node(kind, **constants) for number in range(count)}
    return flow(nodes, around(nodes), {}, durable=durable)


def task_graph(seconds: Mapping[str, float], parents: Mapping[str, Sequence[str]]) -> Flow:
    """A blocking sleep for each task, exec edges from its parents, RETURN after the last ones."""
    names = {task: f"n{number}" for number, task in enumerate(seconds)}
    nodes = {names[task]: node(SLEEP, SECONDS=length) for task, length in seconds.items()}
    edges = [exec_edge(names[parent], names[task]) for task in seconds for parent in parents[task]]
    has_child = {parent for task in seconds for parent in parents[task]}
    edges += [exec_edge("start", names[task]) for task in seconds if not parents[task]]
    edges += [exec_edge(names[task], "return") for task in seconds if task not in has_child]
    return flow(nodes, edges, {}, durable=False)


def arrays(megabytes: int, then: str = PASS_ARRAY) -> Flow:
    """START, a node that makes an array, three of ``then`` in a row, RETURN without it."""
    kinds = [node(MAKE_ARRAY, MEGABYTES=megabytes), *[node(then)] * 3]
    nodes = {f"n{number}": kind for number, kind in enumerate(kinds)}
    names = list(nodes)
    line = ["start", *names, "return"]
    edges = [exec_edge(source, target) for source, target in itertools.pairwise(line)]
    edges += [data_edge(a, "array", b, "array") for a, b in itertools.pairwise(names)]
    return flow(nodes, edges, {}, durable=False)


def loop(length: int, kind: str = BUMP, *, durable: bool = True, **settings: Any) -> Flow:
    """START with the list ``xs``, a loop over it whose body is a chain of ``length`` nodes, RETURN
    with what they gave. ``settings`` are the loop's; ``retry`` is that of the nodes in it.
    """
    of_nodes = {"retry": settings.pop("retry")} if "retry" in settings else {}
    names = [f"n{number}" for number in range(length)]
    nodes = {name: {"type": kind, "data": of_nodes} for name in names}
    nodes["loop"] = {"type": "control.for_each", "data": settings}
    value = "value" if kind == BUMP else "done"
    edges = [
        exec_edge("start", "loop"),
        data_edge("start", "xs", "loop", "items"),
        _edge("loop", "body", names[0], "exec_in", "exec"),
        _edge("loop", "done", "return", "exec_in", "exec"),
        data_edge(names[-1], value, "return", "out"),
        *(exec_edge(a, b) for a, b in itertools.pairwise(names)),
    ]
    if kind == BUMP:
        edges.append(data_edge("loop", "item", names[0], "value"))
        edges += [data_edge(a, "value", b, "value") for a, b in itertools.pairwise(names)]
    whole = flow(nodes, edges, {}, durable=durable)
    whole["nodes"][0]["data"]["inputs"] = {"xs": "list"}
    return whole


def around(nodes: Mapping[str, Any]) -> list[dict[str, str]]:
    """Exec edges from START into every node, and from every node into RETURN."""
    into = [exec_edge("start", name) for name in nodes]
    return [*into, *[exec_edge(name, "return") for name in nodes]]


def node(kind: str, **constants: Any) -> dict[str, Any]:
    """A node of ``kind`` with these constants."""
    return {"type": kind, "data": {"constantValues": constants} if constants else {}}


def flow(
    nodes: Mapping[str, Mapping[str, Any]],
    edges: Sequence[Mapping[str, str]],
    inputs: Mapping[str, int],
    *,
    durable: bool,
) -> Flow:
    """START with ``inputs``, the nodes, RETURN."""
    declared = {name: {"type": "int", "default": value} for name, value in inputs.items()}
    drawn: list[dict[str, Any]] = [
        {"id": "start", "type": "start", "data": {"inputs": declared}},
        *({"id": name, **about} for name, about in nodes.items()),
        {"id": "return", "type": "return", "data": {}},
    ]
    numbered = [{"id": f"e{number}", **edge} for number, edge in enumerate(edges)]
    whole: Flow = {"name": "benchmark", "nodes": drawn, "edges": numbered}
    return whole if durable else {**whole, "settings": {"durable": False}}


def exec_edge(source: str, target: str) -> dict[str, str]:
    """When: from ``exec_out`` to ``exec_in``."""
    return _edge(source, "exec_out", target, "exec_in", "exec")


def data_edge(source: str, output: str, target: str, into: str) -> dict[str, str]:
    """What: from an output to an input."""
    return _edge(source, output, target, into, "any")


def _edge(source: str, output: str, target: str, into: str, kind: str) -> dict[str, str]:
    ends = {"source": source, "sourceHandle": output, "target": target, "targetHandle": into}
    return {**ends, "type": kind}
