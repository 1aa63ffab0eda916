"""Flows to measure with, and the plain description of a job from which it is built by hand."""

import random
from typing import Any

from _by_hand import PlainOp

from rayflow_dagster.defs.compiled import CompiledFlow

MATH = ("add", "subtract", "multiply")


def node(node_id: str, kind: str, label: str = "", **data: Any) -> dict[str, Any]:
    """A drawn node, as an editor saves it."""
    position = {"x": 80.0, "y": 220.0}
    return {"id": node_id, "type": kind, "data": {"label": label, **data}, "position": position}


class Drawing:
    """A flow that grows node by node. The first node is START, with an int input ``a``."""

    def __init__(self, name: str) -> None:
        self.name = name
        declared = {"a": {"type": "int", "default": 1, "description": "a number"}}
        self.nodes = [node("start", "start", "Start", inputs=declared)]
        self.edges: list[dict[str, Any]] = []

    def add(self, kind: str, **values: Any) -> str:
        """A node with its label; ``values`` are those of its unwired inputs."""
        number = len(self.nodes)
        label = f"{kind.rpartition('.')[2].capitalize()} {number}"
        self.nodes.append(node(f"n{number}", kind, label, constantValues=values))
        return f"n{number}"

    def wire(self, source: str, output: str, target: str, port: str) -> None:
        """A data edge, or an exec edge where ``port`` is ``exec_in``."""
        kind = "exec" if port == "exec_in" else "any"
        ends = {"source": source, "target": target, "sourceHandle": output, "targetHandle": port}
        self.edges.append({"id": f"e{len(self.edges)}", **ends, "type": kind})

    def finish(self, last: list[str], values: list[tuple[str, str]]) -> dict[str, Any]:
        """The flow, with a RETURN after the nodes ``last`` that takes ``values``."""
        self.nodes.append(node("return", "return", "Return"))
        for source in last:
            self.wire(source, "exec_out", "return", "exec_in")
        for source, output in values:
            self.wire(source, output, "return", f"{source}_{output}")
        return {"name": self.name, "nodes": self.nodes, "edges": self.edges}


def chain(count: int, name: str = "chain") -> dict[str, Any]:
    """``count`` nodes one after the other, each with the value of the one before."""
    drawing = Drawing(name)
    before, output = "start", "a"
    for number in range(count - 2):
        added = drawing.add(f"math.{MATH[number % 3]}", y=1)
        drawing.wire(before, "exec_out", added, "exec_in")
        drawing.wire(before, output, added, "x")
        before, output = added, "result"
    return drawing.finish([before], [(before, output)])


def wide(count: int, name: str = "wide") -> dict[str, Any]:
    """START, then ``count - 2`` nodes side by side that RETURN waits for."""
    drawing = Drawing(name)
    added = [drawing.add(f"math.{MATH[number % 3]}", y=1) for number in range(count - 2)]
    for each in added:
        drawing.wire("start", "exec_out", each, "exec_in")
        drawing.wire("start", "a", each, "x")
    return drawing.finish(added, [(added[0], "result")])


def ladder(count: int, name: str = "ladder") -> dict[str, Any]:
    """If/else after if/else: compare, branch, one node on either side, and a join of both."""
    drawing = Drawing(name)
    before, output = "start", "a"
    for _ in range((count - 2) // 5):
        compare = drawing.add("logic.compare", b=5, OPERATOR=">")
        branch = drawing.add("logic.branch")
        sides = drawing.add("math.add", y=1), drawing.add("math.subtract", y=1)
        join = drawing.add("math.multiply", y=2)
        drawing.wire(before, "exec_out", compare, "exec_in")
        drawing.wire(before, output, compare, "a")
        drawing.wire(compare, "exec_out", branch, "exec_in")
        drawing.wire(compare, "result", branch, "condition")
        for fired, side in zip(("true", "false"), sides, strict=True):
            drawing.wire(branch, fired, side, "exec_in")
            drawing.wire(before, output, side, "x")
            drawing.wire(side, "exec_out", join, "exec_in")
            drawing.wire(side, "result", join, "x")
        before, output = join, "result"
    for _ in range((count - 2) % 5):
        added = drawing.add("math.add", y=1)
        drawing.wire(before, "exec_out", added, "exec_in")
        drawing.wire(before, output, added, "x")
        before, output = added, "result"
    return drawing.finish([before], [(before, output)])


def web(count: int, name: str = "web", seed: int = 1) -> dict[str, Any]:
    """Any node after one to three earlier ones, with both values from earlier ones."""
    rng = random.Random(seed)
    drawing = Drawing(name)
    made = [("start", "a")]
    for number in range(count - 2):
        added = drawing.add(f"math.{MATH[number % 3]}")
        for source, _ in rng.sample(made, min(len(made), rng.randint(1, 3))):
            drawing.wire(source, "exec_out", added, "exec_in")
        for port in ("x", "y"):
            drawing.wire(*rng.choice(made[-50:]), added, port)
        made.append((added, "result"))
    return drawing.finish([made[-1][0]], [made[-1]])


SHAPES = {"chain": chain, "wide": wide, "if/else ladder": ladder, "web": web}


def plain_ops(flow: CompiledFlow) -> dict[str, PlainOp]:
    """The ops of the job that a flow becomes, to build them by hand."""
    return {flow.steps[node_id]: _plain_op(flow, node_id) for node_id in flow.steps}


def _plain_op(flow: CompiledFlow, node_id: str) -> PlainOp:
    metadata, ports = flow.graph["nodes"][node_id]["metadata"], flow.ports[node_id]
    outs: dict[str, str | None] = dict.fromkeys(ports.exec_outputs.values())
    outs |= {name: metadata["outputs"].get(port, "dict") for port, name in ports.outputs.items()}
    exec_wires = [
        (flow.steps[source], flow.ports[source].exec_outputs[port])
        for source, port in flow.exec_wires[node_id]
    ]
    wires = {
        ports.inputs[port]: [
            (flow.steps[source], flow.ports[source].outputs[output]) for source, output in ends
        ]
        for port, ends in flow.wires[node_id].items()
    }
    op: PlainOp = {
        "ins": {"exec_in": None}
        | {name: metadata["inputs"][port] for port, name in ports.inputs.items()},
        "outs": outs,
        "wires": ({"exec_in": exec_wires} if exec_wires else {}) | wires,
        "fan_ins": ["exec_in", *(ports.inputs[port] for port in flow.fan_ins[node_id])],
    }
    if node_id == flow.graph["start_node"]:
        op["config"] = ["a"]
    return op
