"""A flow of the largest size is validated in little time, whatever is wrong with it.

Every rule that can find something is provoked as often as a flow of that size lets it. What grows
with the square of the flow's size takes minutes here and runs into the time limit.
"""

import ast
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rayflow_dagster.compiler
from rayflow_dagster.compiler.callees import FlowFolder
from rayflow_dagster.compiler.flow_form import MAX_EDGES, MAX_NODES
from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.validator import FlowValidator

MANY = 10_000
NODES = MAX_NODES - 10
EDGES = MAX_EDGES - NODES - 10
SOME = 2_000  # of what takes long each, however many there are
CONSTANT = "flow_nodes.constant.ConstantNode"
IDENTITY = "flow_nodes.identity.IdentityNode"
COLLECT = "flow_nodes.collect.CollectNode"
GET = "variables.get_variable"
Flow = dict[str, Any]


def node(node_id: str, kind: str = CONSTANT, **data: Any) -> Flow:
    return {"id": node_id, "type": kind, "data": data}


def exec_edge(source: str, target: str, port: str = "exec_out") -> Flow:
    ends = {"source": source, "target": target}
    return {**ends, "sourceHandle": port, "targetHandle": "exec_in", "type": "exec"}


def data_edge(source: str, target: str, port: str = "value", into: str = "value") -> Flow:
    ends = {"source": source, "target": target}
    return {**ends, "sourceHandle": port, "targetHandle": into, "type": "any"}


def flow(nodes: list[Flow], edges: list[Flow], start: Flow | None = None, **keys: Any) -> Flow:
    """START, the nodes, RETURN; each node that no edge leads to gets an exec edge from START."""
    start = start or {}
    led_to = {edge["target"] for edge in edges}
    exec_edges = [exec_edge("s", each["id"]) for each in nodes if each["id"] not in led_to]
    ends = [node("s", "start", inputs=start), node("r", "return")]
    return {"nodes": [*ends, *nodes], "edges": [exec_edge("s", "r"), *exec_edges, *edges], **keys}


def each_node(kind: str = CONSTANT, **data: Any) -> Flow:
    return flow([node(f"n{at}", kind, **data) for at in range(NODES)], [])


def many_edges(make: Callable[[int], Flow], kind: str = CONSTANT, edges: int = MANY) -> Flow:
    nodes = [node(f"n{at}", kind) for at in range(NODES)]
    led = [exec_edge("s", each["id"]) for each in nodes]
    return flow(nodes, [*led, *(make(at) for at in range(edges))])


def ports(count: int, prefix: str = "p", kind: Any = "int") -> dict[str, Any]:
    return {f"{prefix}{at}": kind for at in range(count)}


def scheduled(count: int = MANY, *, start: dict[str, Any] | None = None, **schedule: Any) -> Flow:
    """As many schedules with a name of their own."""
    every = [{"cron": "0 0 * * *", "name": f"t{at}", **schedule} for at in range(count)]
    return flow([], [], start, schedules=every)


def sensors(**sensor: Any) -> Flow:
    every = [{"name": f"t{at}", **sensor} for at in range(MANY)]
    return flow([], [], sensors=every)


def badly_optioned() -> Flow:
    """Nodes of which each option is wrong."""
    return each_node(
        "math.add",
        asset={"key": "a b", "metadata": {"dagster/x": 1}},
        constantValues={"x": "a"},
        labl="x",
        ray={"cpus": 1, "runtime_env": {}, "max_concurrency": 2},
        retry={"maxx": 1},
    )


def drawings() -> Flow:
    """Boxes beside the flow."""
    made = flow([], [])
    return {**made, "nodes": [*made["nodes"], *(node(f"n{at}", "note") for at in range(NODES))]}


def wrong_zones() -> Flow:
    made = scheduled(SOME)
    for at, schedule in enumerate(made["schedules"]):
        schedule["timezone"] = f"Europe/Madri{at}"
    return made


def values_of(name: str) -> list[Flow]:
    return [node(f"n{at}", GET, constantValues={"VARIABLE": f"{name}{at}"}) for at in range(NODES)]


def circle() -> Flow:
    """A circle of all nodes."""
    edges = [exec_edge(f"n{at}", f"n{(at + 1) % NODES}") for at in range(NODES)]
    return flow([node(f"n{at}") for at in range(NODES)], edges)


def pairs_in_circles() -> Flow:
    """As many circles of two nodes each."""
    edges = [exec_edge(f"n{at}", f"n{at ^ 1}") for at in range(NODES)]
    return flow([node(f"n{at}") for at in range(NODES)], edges)


def assets_in_a_circle() -> Flow:
    """Assets of all nodes, each made from the next by its ``deps``."""
    every = [{"key": f"a{at}", "deps": [f"a{(at + 1) % NODES}"]} for at in range(NODES)]
    return flow([node(f"n{at}", asset=each) for at, each in enumerate(every)], [])


def assets_behind_a_hub() -> Flow:
    """Half of the nodes are assets, made from one node behind a row of the other half."""
    half = NODES // 2
    nodes = [node("n0"), *(node(f"n{at}", IDENTITY) for at in range(1, half))]
    nodes += [node(f"n{at}", IDENTITY, asset={"key": f"a{at}"}) for at in range(half, NODES)]
    edges = [data_edge(f"n{at}", f"n{at + 1}") for at in range(half - 1)]
    edges += [data_edge(f"n{half - 1}", f"n{at}") for at in range(half, NODES)]
    repeated = [node("twice", asset={"key": f"a{half}"})]
    return flow(nodes + repeated, edges)


def merges() -> Flow:
    """Two values for each of half the nodes."""
    half = NODES // 2
    nodes = [node("a"), node("b"), *(node(f"n{at}", COLLECT) for at in range(half))]
    edges = [data_edge(x, f"n{at}", into=p) for at in range(half) for x in "ab" for p in "abc"]
    return flow(nodes, [*edges, *(exec_edge("a", f"n{at}") for at in range(half))])


def one_wide_merge() -> Flow:
    """A value from every node for one input."""
    nodes = [node("m", COLLECT), *(node(f"n{at}") for at in range(NODES))]
    return flow(nodes, [data_edge(f"n{at}", "m", into="a") for at in range(NODES)])


def skipped() -> Flow:
    """Each node takes a value of a node that may be skipped."""
    half = NODES // 2
    nodes = [node("b", "logic.branch", constantValues={"condition": True})]
    nodes += [node(f"v{at}") for at in range(half - 5)]
    nodes += [node(f"n{at}", IDENTITY) for at in range(half - 5)]
    edges = [exec_edge("b", f"v{at}", "true") for at in range(half - 5)]
    edges += [data_edge(f"v{at}", f"n{at}") for at in range(half - 5)]
    return flow(nodes, [*edges, *(exec_edge("b", f"n{at}", "false") for at in range(half - 5))])


def in_sequence(*wires: Flow) -> Flow:
    """Half of the nodes behind each output of a sequence."""
    half = NODES // 2
    nodes = [node("q", "control.sequence")]
    nodes += [node(f"{name}{at}", IDENTITY) for name in "ab" for at in range(half - 5)]
    edges = [exec_edge("q", f"a{at}", "then_1") for at in range(half - 5)]
    return flow(nodes, [*edges, *wires])


def misordered() -> Flow:
    """Nodes behind the first output that need a value each of one behind the second."""
    half = NODES // 2 - 5
    edges = [exec_edge("q", f"b{at}", "then_2") for at in range(half)]
    return in_sequence(*edges, *(data_edge(f"b{at}", f"a{at}") for at in range(half)))


def crowded() -> Flow:
    return in_sequence(*(exec_edge("q", f"b{at}", "then_2") for at in range(NODES // 2 - 5)))


def wide_sequence() -> Flow:
    """One node waits for all those before it, and all others behind it wait for that one."""
    first, *others = (f"b{at}" for at in range(NODES // 2 - 5))
    return in_sequence(exec_edge("q", first, "then_2"), *(exec_edge(first, to) for to in others))


def long_sequences() -> Flow:
    """A chain of sequences, each behind the last output of the one before it."""
    nodes, edges = [], []
    for at in range(NODES // 3):
        nodes += [node(f"q{at}", "control.sequence"), node(f"a{at}"), node(f"b{at}")]
        edges += [exec_edge(f"q{at}", f"a{at}", "then_1"), exec_edge(f"q{at}", f"b{at}", "then_2")]
        edges += [exec_edge(f"q{at}", f"q{at + 1}", "then_2")] if at + 1 < NODES // 3 else []
    return flow(nodes, edges)


def joins_of_both_sides() -> Flow:
    """Joins that ask for both sides of one branch."""
    nodes = [node("b", "logic.branch", constantValues={"condition": True})]
    nodes += [node(f"n{at}", join={"at_least": 2}) for at in range(NODES - 1)]
    sides = [
        exec_edge("b", f"n{at}", side) for at in range(NODES - 1) for side in ("true", "false")
    ]
    return flow(nodes, sides)


def wide_joins() -> Flow:
    """Joins of hundreds of branches each."""
    names = [f"n{at}" for at in range(300)]
    nodes = [node(name, "logic.branch", constantValues={"condition": True}) for name in names]
    nodes += [node(f"j{at}", join={"at_least": 150}) for at in range(100)]
    return flow(nodes, [exec_edge(a, b["id"], "true") for a in names for b in nodes[300:]])


def undecided() -> Flow:
    """A condition that is too hard, and inputs that depend on it."""
    from test_wide_flows import too_hard

    hard = too_hard()
    for at in range(NODES - len(hard["nodes"])):
        hard["nodes"].append(node(f"n{at}", IDENTITY))
        hard["edges"] += [exec_edge("join", f"n{at}"), data_edge("v1", f"n{at}")]
    for number, edge in enumerate(hard["edges"]):
        edge["id"] = f"e{number}"
    return hard


def misfits() -> Flow:
    """A number for a list, from each node to the next ones."""

    def edge(at: int) -> Flow:
        to = (at + 1 + at // NODES) % NODES
        return data_edge(f"n{at % NODES}", f"n{to}", "length", "items")

    return many_edges(edge, "data.list_length")


def returns(count: int = NODES) -> Flow:
    return flow([node(f"n{at}", "return") for at in range(count)], [])


def loose() -> Flow:
    """Two rows of nodes of two exec outputs each, of which none is wired to the end."""
    given = {"condition": True}
    half = NODES // 2
    nodes = [node(f"n{at}", "logic.branch", constantValues=given) for at in range(half)]
    edges = [exec_edge(f"n{at}", f"n{at + 1}", "true") for at in range(half - 1)]
    made = flow(nodes, edges)
    return {**made, "edges": [*made["edges"][1:], exec_edge(f"n{half - 1}", "r", "true")]}


def unhandled() -> Flow:
    return many_edges(lambda at: data_edge(f"n{at % NODES}", "r", "error", f"x{at}"), edges=EDGES)


def deciding(**values: Any) -> Flow:
    """Each node decides, in the same way."""
    values = {"CASES": {"a": "oops > 1"}, **values}
    nodes = [node(f"n{at}", "logic.choose", constantValues=values) for at in range(NODES)]
    return flow(nodes, [exec_edge("s", f"n{at}") for at in range(NODES)])


def switching() -> Flow:
    """A switch between texts for each number."""
    made = each_node("logic.switch", constantValues={"CASES": ["1"]})
    made["edges"] += [data_edge("s", f"n{at}", "p0") for at in range(NODES)]
    made["nodes"][0]["data"]["inputs"] = ports(1)
    return made


def uncollected() -> Flow:
    """Loops whose failed items are read and never listed."""
    made = each_node(EACH, **ONCE)
    made["edges"] += [data_edge(f"n{at}", "r", "errors", f"x{at}") for at in range(NODES)]
    return made


def calling() -> Flow:
    """Each node calls a flow that is not there."""
    return flow([node(f"n{at}", "flow", flow=f"gone{at}") for at in range(NODES)], [])


def computing(value: dict[str, Any]) -> Flow:
    """Each node has an expression of its own; START has many inputs."""
    nodes = [node(f"n{at}", IDENTITY) for at in range(NODES)]
    for at, each in enumerate(nodes):
        each["data"]["constantValues"] = json.loads(json.dumps(value).replace("0", str(at)))
    return flow(nodes, [], {**ports(100), "key": {"type": "str", "default": {"$env": "NAME"}}})


def with_snapshot(edges: Callable[[int], Flow]) -> Flow:
    """Nodes of a class that is not there, of which the editor tells thousands of ports."""
    wide = node("wide", "gone.Wide", inputs=ports(MANY), outputs=ports(MANY, "o"))
    return flow([wide, node("n0")], [exec_edge("s", "wide"), *(edges(at) for at in range(MANY))])


def duplicates() -> Flow:
    made = each_node()
    made["nodes"][2:] = [node(f"N{at % 100}" if at % 2 else f"n{at % 100}") for at in range(NODES)]
    made["edges"] = [{**exec_edge("s", "r"), "id": f"e{at % MANY}"} for at in range(2 * MANY)]
    return made


def variable(node_id: str, kind: str) -> Flow:
    return node(node_id, f"variables.{kind}_variable", constantValues={"VARIABLE": "v"})


def with_variable(nodes: list[Flow], edges: list[Flow]) -> Flow:
    """No variable node gets an exec edge."""
    kept = {each["id"] for each in nodes if each["type"].startswith("variables.")}
    made = flow(nodes, edges, {"a": "any"}, variables={"v": {"type": "any"}})
    made["edges"] = [e for e in made["edges"] if e["type"] != "exec" or e["target"] not in kept]
    return made


def readers(count: int = NODES // 3) -> Flow:
    """Variable nodes without exec edges, of two consumers with different moments each."""
    nodes = [variable(f"n{at}", "get") for at in range(count)]
    nodes += [node(f"d{at}") for at in range(count)]
    nodes += [node(f"c{at}", COLLECT) for at in range(count)]
    edges = [exec_edge(f"d{at}", f"c{at}") for at in range(count)]
    edges += [data_edge(f"n{at}", f"c{at}", into="a") for at in range(count)]
    edges += [data_edge(f"n{at}", f"c{(at + 1) % count}", into="b") for at in range(count)]
    return with_variable(nodes, edges)


def writers(writes: int = NODES, reads: int = 0) -> Flow:
    """Writes of one variable without exec edges, which nothing orders, and reads of it."""
    nodes = [variable(f"n{at}", "set") for at in range(writes)]
    nodes += [variable(f"g{at}", "get") for at in range(reads)]
    edges = [data_edge("s", f"n{at}", "a") for at in range(writes)]
    return with_variable(
        nodes, [*edges, *(data_edge(f"g{at}", "r", into=f"x{at}") for at in range(reads))]
    )


def swapped() -> Flow:
    """Half of the nodes read what the other half writes, and write what those read."""
    half = NODES // 2
    nodes = [variable(f"g{at}", "get") for at in range(half)]
    nodes += [variable(f"n{at}", "set") for at in range(half)]
    for at, each in enumerate(nodes):
        each["data"]["constantValues"] = {"VARIABLE": f"v{at % half}"}
    edges = [data_edge(f"g{at}", f"n{at ^ 1}") for at in range(half)]
    made = with_variable(nodes, edges)
    return {**made, "variables": ports(half, "v", {"type": "any"})}


def written(spec: dict[str, Any]) -> Flow:
    kind, values = "variables.increment_variable", {"VARIABLE": "v"}
    return {**each_node(kind, constantValues=values), "variables": {"v": spec}}


EACH = "control.for_each"
ONCE = {"constantValues": {"items": [1]}}


def body_of_one(wired: list[Flow], **data: Any) -> Flow:
    """All nodes in the body of one loop; a node of it may be behind it, and may end it."""
    nodes = [node("loop", EACH, **ONCE, carry={"x": {"type": "any", "default": 0}})]
    nodes += [node(f"n{at}", IDENTITY, **data) for at in range(NODES - 10)]
    led_to = {edge["target"] for edge in wired if edge["type"] == "exec"}
    opens = [
        exec_edge("loop", each["id"], "body") for each in nodes[1:] if each["id"] not in led_to
    ]
    items = [data_edge("loop", each["id"], "item") for each in nodes[1:]]
    return flow(nodes, [exec_edge("s", "loop"), *opens, *items, *wired])


def in_body(make: Callable[[int], list[Flow]], **data: Any) -> Flow:
    """One loop around all nodes, and what is drawn wrongly at each of them."""
    return body_of_one([edge for at in range(NODES - 10) for edge in make(at)], **data)


def wrong_wires_in_body() -> Flow:
    """Wires into and out of the body that should be none, and options that nodes in it have not."""

    def edges(at: int) -> list[Flow]:
        return [data_edge("s", "loop", "q", "next.x"), data_edge("loop", "r", "index", f"x{at}")]

    return in_body(edges, asset={"key": "a"}, pool="p")


def loops(kind: str = EACH, *, body: str = CONSTANT, **data: Any) -> Flow:
    """As many loops as there can be with a body of one node each."""
    half = NODES // 2
    nodes = [node(f"n{at}", kind, **data) for at in range(half)]
    nodes += [node(f"b{at}", body) for at in range(half)]
    return flow(nodes, [exec_edge(f"n{at}", f"b{at}", "body") for at in range(half)])


def wrongly_set_groups() -> Flow:
    return loops("control.group", parallel=2, ray={"num_cpus": 1})


def wrongly_carrying() -> Flow:
    return loops(carry={"item": "int", "x": "int"}, parallel=2)


def between_loops() -> Flow:
    """Pairs of loops, and data-driven nodes that take a value of each."""
    some = NODES // 5
    nodes = [node(f"n{at}", EACH, **ONCE) for at in range(2 * some)]
    nodes += [node(f"b{at}") for at in range(2 * some)]
    nodes += [node(f"d{at}", COLLECT) for at in range(some)]
    edges = [exec_edge(f"n{at}", f"b{at}", "body") for at in range(2 * some)]
    for at in range(some):
        edges += [data_edge(f"b{2 * at + k}", f"d{at}", into="ab"[k]) for k in (0, 1)]
    return flow(nodes, edges)


def circles_through_loops() -> Flow:
    """Loops whose bodies read what comes behind them."""
    some = NODES // 3
    nodes = [node(f"n{at}", EACH, **ONCE) for at in range(some)]
    nodes += [node(f"b{at}", IDENTITY) for at in range(some)] + [
        node(f"c{at}") for at in range(some)
    ]
    edges = [exec_edge(f"n{at}", f"b{at}", "body") for at in range(some)]
    edges += [exec_edge(f"n{at}", f"c{at}", "done") for at in range(some)]
    return flow(nodes, [*edges, *(data_edge(f"c{at}", f"b{at}") for at in range(some))])


def whiles_left() -> Flow:
    made = loops("control.while", max_iterations=3)
    made["edges"] += [data_edge(f"b{at}", "r", into=f"x{at}") for at in range(NODES // 2)]
    return made


def nested(count: int, kind: str = "control.group", **data: Any) -> Flow:
    """Regions, each in the one before."""
    nodes = [node(f"n{at}", kind, **data) for at in range(count)]
    edges = [exec_edge(f"n{at}", f"n{at + 1}", "body") for at in range(count - 1)]
    return flow([*nodes, node("last")], [*edges, exec_edge(f"n{count - 1}", "last", "body")])


def drawn_elsewhere() -> Flow:
    """Bodies of which each node is drawn inside of another region."""
    made = loops(**ONCE)
    for at in range(NODES // 2):
        made["nodes"][2 + NODES // 2 + at]["parentId"] = f"n{at ^ 1}"
    return made


def breaking_groups(count: int) -> Flow:
    """Groups in one loop that may each break it."""
    nodes = [node("loop", EACH, **ONCE), *(node(f"n{at}", "control.group") for at in range(count))]
    nodes += [node(f"b{at}", "control.break") for at in range(count)]
    edges = [exec_edge("loop", f"n{at}", "body") for at in range(count)]
    return flow(nodes, [*edges, *(exec_edge(f"n{at}", f"b{at}", "body") for at in range(count))])


def groups_in_a_row(count: int) -> Flow:
    """Groups, each behind the one before, and a value of the first that the bodies of all read."""
    nodes = [node(f"n{at}", "control.group") for at in range(count)]
    nodes += [node(f"b{at}", IDENTITY) for at in range(count)]
    edges = [exec_edge(f"n{at}", f"n{at + 1}", "done") for at in range(count - 1)]
    edges += [exec_edge(f"n{at}", f"b{at}", "body") for at in range(count)]
    edges += [
        data_edge("b0" if at else "s", f"b{at}", "value" if at else "a") for at in range(count)
    ]
    return flow(nodes, edges, {"a": "any"})


def row_in_nested(count: int, depth: int) -> Flow:
    """A row of nodes in the innermost of many loops, each of which reads from outside."""
    made = nested(depth, EACH, **ONCE)
    made["nodes"] += [node(f"x{at}", COLLECT) for at in range(count)]
    for at in range(count):
        made["edges"] += [
            exec_edge(f"x{at - 1}" if at else "last", f"x{at}"),
            data_edge("s", f"x{at}", "a", "a"),
            data_edge(f"n{at % depth}", f"x{at}", "item", "b"),
            data_edge(f"x{at}", "r", "values", f"v{at}"),
        ]
    return {**made, "nodes": [node("s", "start", inputs={"a": "any"}), *made["nodes"][1:]]}


def constants_in_a_row(count: int) -> Flow:
    """Data-driven nodes in a row, for one node in a loop; each takes a constant of its own."""
    nodes = [node("loop", EACH, **ONCE), node("n0", COLLECT)]
    nodes += [node(f"d{at}", COLLECT) for at in range(count)]
    nodes += [node(f"k{at}") for at in range(count)]
    edges = [data_edge(f"k{at}", f"d{at}", into="b") for at in range(count)]
    edges += [data_edge(f"d{at}", f"d{at + 1}", "values", "a") for at in range(count - 1)]
    edges += [exec_edge("loop", "n0", "body"), data_edge(f"d{count - 1}", "n0", "values", "a")]
    made = flow(nodes, edges)
    unled = {f"k{at}" for at in range(count)}
    made["edges"] = [e for e in made["edges"] if e["type"] != "exec" or e["target"] not in unled]
    return made


# Finding rule -> (flow that provokes it, how often at the least).
MANY_OF: dict[str, tuple[Callable[[], Flow], int]] = {
    "expression": (lambda: computing({"value": {"$expr": "oops + 0"}}), NODES),
    "expression_place": (lambda: computing({"value": [{"$expr": "0"}]}), NODES),
    "expression_secret": (lambda: computing({"value": {"$expr": "key + '0'"}}), NODES),
    "called_flow": (calling, NODES),
    "actor_setting": (wrongly_set_groups, NODES // 2),
    "unshared_variables": (
        lambda: each_node("flow", flow="called", variables="shared"), NODES,
    ),
    "unknown_error": (lambda: each_node(retry={"max": 1, "retry_on": ["crsh"]}), NODES),
    "errors_not_collected": (uncollected, NODES),
    "impossible_case": (switching, NODES),
    "control_secret": (lambda: deciding(MATCH={"$env": "NAME"}), NODES),
    "all_nodes_reachable": (lambda: {**each_node(), "edges": []}, NODES),
    "asset": (badly_optioned, NODES),
    "asset_in_body": (wrong_wires_in_body, NODES - 10),
    "pool_in_body": (wrong_wires_in_body, NODES - 10),
    "between_bodies": (between_loops, NODES // 5),
    "carried_name": (wrongly_carrying, NODES // 2),
    "circle_through_region": (circles_through_loops, NODES // 3),
    "entered_from_two_sides": (
        lambda: in_body(lambda at: [exec_edge("s", f"n{at}"), exec_edge("loop", f"n{at}", "body")]),
        NODES - 10,
    ),
    "foreign_setting": (wrongly_set_groups, NODES // 2),
    "inner_input": (wrong_wires_in_body, NODES - 10),
    "inner_output": (wrong_wires_in_body, NODES - 10),
    "outer_output": (
        lambda: in_body(lambda at: [data_edge("loop", f"n{at}", "count")]), NODES - 10,
    ),
    "left_while": (whiles_left, NODES // 2),
    "loop_without_end": (whiles_left, NODES // 2),
    "max_iterations": (lambda: loops("control.while"), NODES // 2),
    "nested_too_deep": (lambda: nested(NODES - 10), 1),
    "outside_of_loop": (lambda: each_node("control.break"), NODES),
    "parallel_carry": (wrongly_carrying, NODES // 2),
    "parent_and_body": (drawn_elsewhere, NODES // 2 - 1),
    "region_without_body": (lambda: each_node(EACH), NODES),
    "return_in_body": (lambda: loops(body="return", **ONCE), NODES // 2),
    "asset_deps": (assets_in_a_circle, 1),
    "asset_key": (assets_behind_a_hub, 1),
    "at_least_one_return": (lambda: {**each_node(), "nodes": each_node()["nodes"][2:]}, 1),
    "constant_value": (badly_optioned, NODES),
    "cron": (lambda: scheduled(cron="0 0 99 * *"), MANY),
    "decoration": (drawings, NODES),
    "declared_default": (
        lambda: flow([], [], ports(MANY, kind={"type": "int", "default": "x"})),
        MANY,
    ),
    "declared_name": (lambda: flow([], [], ports(MANY, "not a name ")), MANY),
    "declared_type": (
        lambda: flow([], [], {f"p{at}": f"list[{at} nothing" for at in range(MANY)}),
        MANY,
    ),
    "disabled": (lambda: each_node(disabled=True), NODES),
    "duplicate_id": (duplicates, 100),
    "exec_wired_to_data": (
        lambda: many_edges(lambda at: exec_edge(f"n{at % NODES}", "n1", "value")),
        MANY,
    ),
    "flow_options": (lambda: {**flow([], []), "name": 1, "on_error": 2}, 2),
    "idle_option": (badly_optioned, NODES),
    "loose_exec_output": (loose, NODES // 2 - 10),
    "misspelled_option": (badly_optioned, NODES),
    "no_cycles": (pairs_in_circles, NODES // 2),
    "join": (joins_of_both_sides, NODES - 1),
    "node_class": (
        lambda: flow([node(f"n{at}", f"nodes.no{at}.NoNode{at}") for at in range(NODES)], []),
        NODES,
    ),
    "node_options": (badly_optioned, NODES),
    "one_wait": (lambda: each_node("control.wait"), NODES),
    "outline": (lambda: flow([{"id": 1, "type": 1} for _ in range(NODES)], []), 50),
    "partitions": (
        lambda: flow(
            [], [], {"p": "str"}, partitions={"kind": "static", "input": "p", "values": _parts()}
        ),
        MANY,
    ),
    "poll_check": (lambda: sensors(type="poll", check="nodes.shop.NewOrders"), MANY),
    "repeated_edge": (lambda: many_edges(lambda _: exec_edge("n0", "n1"), edges=EDGES), EDGES - 1),
    "required_input": (badly_optioned, NODES),
    "return_nodes_reachable": (lambda: {**returns(), "edges": []}, 1),
    "runtime_env": (badly_optioned, NODES),
    "secret": (
        lambda: flow([], [], ports(MANY, kind={"type": "any", "default": {"$env": "a=b"}})),
        MANY,
    ),
    "sequence_order": (misordered, NODES // 2 - 5),
    "sequence_width": (crowded, 1),
    "several_returns": (returns, 1),
    "sensor_files": (lambda: sensors(type="file", path="flows/*.json"), MANY),
    "single_start": (lambda: each_node("start"), 1),
    "skipped_source": (skipped, NODES // 2 - 5),
    "timezone": (wrong_zones, SOME),
    "too_many_branches": (undecided, 1000),
    "trigger": (lambda: sensors(type="inbox"), MANY - 1),
    "trigger_input": (
        lambda: flow(
            [],
            [],
            ports(MANY),
            schedules=[{"cron": "0 0 * * *", "inputs": ports(MANY, "q", 1), "name": "t"}],
        ),
        MANY,
    ),
    "trigger_name": (lambda: scheduled(SOME, name="same"), SOME - 1),
    "two_data_edges": (merges, NODES // 2),
    "type_compatibility": (misfits, MANY),
    "unawaited_nodes": (each_node, 1),
    "unhandled_error": (unhandled, MANY),
    "unknown_constant": (
        lambda: flow([node("n0", constantValues=ports(MANY)), node("n1")], []),
        MANY,
    ),
    "unknown_node": (lambda: many_edges(lambda at: exec_edge(f"x{at}", f"y{at}")), MANY),
    "unknown_port": (
        lambda: with_snapshot(lambda at: data_edge("wide", "wide", f"op{at}", f"pp{at}")),
        MANY,
    ),
    "wait_time": (lambda: each_node("control.wait", constantValues={"until": "6"}), NODES),
    "variable_declaration": (lambda: {**flow([], []), "variables": ports(MANY)}, MANY),
    "variable_declared": (
        lambda: flow(values_of("w"), [], variables=ports(MANY, kind={"type": "int"})),
        NODES,
    ),
    "variable_derived": (
        lambda: {**flow([], []), "variables": ports(MANY, kind={"derived": True})},
        MANY,
    ),
    "unlisted_storage": (lambda: {**flow([], []), "settings": {"storage": "/x"}}, 1),
    "variable_circle": (swapped, 1),
    "variable_read_moment": (readers, NODES // 3),
    "variable_write_order": (writers, NODES - 1),
    "variable_readonly": (lambda: written({"type": "int", "default": 0, "readonly": True}), NODES),
}  # fmt: skip

# Shapes that the rules above meet in other ways: the flow is answered, whatever the answer is.
SHAPES: list[Callable[[], Flow]] = [
    circle,
    one_wide_merge,
    lambda: computing({"value": {"$expr": "[x1, x2, x3, 0]"}}),
    lambda: loops(**ONCE),
    lambda: nested(20, EACH, **ONCE),
    lambda: row_in_nested(3000, 45),
    lambda: breaking_groups(NODES // 2 - 10),
    lambda: groups_in_a_row(NODES // 2 - 10),
    lambda: constants_in_a_row(NODES // 2 - 10),
    wide_sequence,
    wide_joins,
    long_sequences,
    lambda: writers(NODES // 2, NODES // 2),
    lambda: scheduled(start=ports(MANY)),
    lambda: flow([], [], schedules=[{"cron": "0 0 * * *"} for _ in range(SOME)]),
    lambda: sensors(type="file", path="inbox/*.csv", inputs={"x": "{{ fil.path }} {{ file.pth }}"}),
    lambda: many_edges(
        lambda at: data_edge(f"n{at % 100}", f"n{at % 7}", into=f"x{at}"), edges=EDGES
    ),
]


def _parts() -> list[str]:
    return [f"part{at}" for at in range(MANY) for _ in range(2)]


def named_rules() -> set[str]:
    """The rules that the findings of the compiler's modules name."""
    folder = Path(rayflow_dagster.compiler.__file__).parent
    trees = [ast.parse(file.read_text()) for file in folder.rglob("*.py")]
    calls = [item for tree in trees for item in ast.walk(tree) if isinstance(item, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Name)]
    made = [call for call in named if ast.unparse(call.func) in ("Finding", "Problem")]
    firsts = [call.args[0] for call in made]
    return {first.value for first in firsts if isinstance(first, ast.Constant)}


def test_the_table_names_every_rule():
    assert set(MANY_OF) == named_rules()


COUNTED: dict[Callable[[], Flow], Counter[str]] = {}


def found_in(make: Callable[[], Flow], loader: NodeLoader, folder: Path) -> Counter[str]:
    """How often each rule finds something in the flow; rules with one flow share its validation."""
    if make not in COUNTED:
        (folder / "called.json").write_text(json.dumps(flow([], [])))
        validator = FlowValidator(loader, folder=folder, flows=FlowFolder(folder))
        validator.validate(make())
        assert sum(len(finding.message) for finding in validator.findings) < 50_000_000
        COUNTED[make] = Counter(finding.rule for finding in validator.findings)
    return COUNTED[make]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("rule", MANY_OF)
def test_a_large_flow_with_one_fault_many_times_is_answered_in_time(
    rule: str, loader: NodeLoader, tmp_path: Path
) -> None:
    make, least = MANY_OF[rule]
    found = found_in(make, loader, tmp_path)
    assert found[rule] >= least, found


@pytest.mark.timeout(60)
def test_a_large_flow_with_a_wrong_expression_in_every_node_is_answered_in_time(
    loader: NodeLoader,
) -> None:
    validator = FlowValidator(loader)
    validator.validate(deciding())
    assert Counter(each.rule for each in validator.findings)["expression"] == NODES


@pytest.mark.timeout(60)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_flow_of_an_odd_shape_is_answered_in_time(
    shape: Callable[[], Flow], loader: NodeLoader
) -> None:
    FlowValidator(loader).validate(shape())
