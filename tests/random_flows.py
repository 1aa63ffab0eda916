"""Random valid flows of the dull nodes in ``flow_nodes``, with inputs for one run.

A flow grows node by node. Beside it grows, for each node, the set of *worlds* in which it runs: a
world is one way in which all branching nodes decide, and a set of worlds is an int with one bit
for each. That is enough to draw only what the validator has to accept: a wire whose value may be
absent gets a fallback, two wires merge into one input only where no world has both.

``race_free`` flows come to the same end in whatever order parallel nodes finish: every RETURN
waits for all other nodes, and a node that may fail either leaves the rest alone (``on_error:
continue``) or has nothing beside it (a *barrier*: it waits for all before it, and all after it
wait for it).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from graphlib import CycleError, TopologicalSorter
from keyword import iskeyword
from operator import or_
from random import Random
from typing import Any

from flow_nodes.raises import ERRORS
from hypothesis import strategies as st

from rayflow_dagster.types import FLOW_CLASS

CHOICES = 6
WORLDS = 2**CHOICES
EVERY = 2**WORLDS - 1
"""The set of all worlds."""

EXEC_OUTPUTS = {
    "branch": ("true", "false"), "choose": ("a", "b"), "switch": ("low", "high"),
    "logic.switch": (), "logic.choose": (), "control.parallel": (), "control.fail": (),
    "control.sequence": (),
}  # fmt: skip
"""Of the nodes that exec wires lead to; those of the built-ins follow from their constants."""
PORTS: dict[str, tuple[str, ...]] = {
    "identity": ("value",), "async_identity": ("value",), "fragile": ("value",),
    "boom": ("value",), "raises": ("value",), "sleep": ("value",), "add": ("x", "y"),
    "constant": (), "collect": ("a", "b", "c"), "branch": (), "choose": (), "switch": (),
    "logic.switch": (), "logic.choose": (), "logic.assert": (), "control.parallel": (),
    "control.fail": (), "control.sequence": (),
}  # fmt: skip
OUTPUT = {
    "add": "result", "collect": "values", "branch": None, "choose": None, "logic.switch": None,
    "logic.choose": None, "logic.assert": None, "control.parallel": None, "control.fail": None,
    "control.sequence": None,
}  # fmt: skip
DEFAULTED = {"collect", "boom", "sleep"}
FAILING = {"fragile", "boom", "raises", "logic.assert"}
CASES = ["a", "in progress", 0, 1, 2]
EXPRESSIONS = ["n > 3", "n < 12 && n != 5", "n == 7 || n > 15", "n >= 0"]
RETRIED = ["crash", "timeout", "Exception", "OSError", "errors.ClusterError", "builtins.ValueError"]
ENDING = ("RunEndedError", "TimeIsOverError")
HANDLED = sorted(name for name in ERRORS if not name.endswith(ENDING))
"""The errors that a wired ``error`` output takes."""


@dataclass(frozen=True, slots=True)
class RandomFlow:
    """A canonical flow, the inputs of one run, and the flows that it may call, by name."""

    flow: dict[str, Any]
    inputs: dict[str, Any]
    called: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(slots=True)
class _Output:
    """An exec or data output and the worlds in which it fires or brings a value."""

    node: str
    port: str
    worlds: int
    is_number: bool = False


@dataclass
class _Drawing:
    rng: Random
    race_free: bool
    failures: bool
    nodes: list[dict[str, Any]] = field(default_factory=list)
    edges: list[dict[str, Any]] = field(default_factory=list)
    declared: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    fires: list[_Output] = field(default_factory=list)
    brings: list[_Output] = field(default_factory=list)
    after_barrier: set[str] | None = None
    early: set[str] = field(default_factory=set)
    """The joins that do not wait for all that leads to them by exec edges."""
    choices: int = 0
    on_error: str = "stop"
    settings: dict[str, Any] = field(default_factory=dict)

    # --- words ---

    def node(self, node_id: str, kind: str, **data: Any) -> str:
        self.nodes.append({"id": node_id, "type": class_path(kind), "data": data})
        return node_id

    def wire(self, source: str, output: str, target: str, port: str, kind: str) -> None:
        self.edges.append(
            {
                "id": f"e{len(self.edges)}", "source": source, "target": target,
                "sourceHandle": output, "targetHandle": port, "type": kind,
            }
        )  # fmt: skip

    def exec_wire(self, output: _Output, target: str) -> None:
        self.wire(output.node, output.port, target, "exec_in", "exec")

    def data_wire(self, output: _Output, target: str, port: str) -> None:
        self.wire(output.node, output.port, target, port, "any")

    def maybe(self, chance: float) -> bool:
        return self.rng.random() < chance

    def choice(self) -> int:
        """The worlds in which one more decision comes out one way."""
        bit = 1 << self.choices
        self.choices += 1
        return sum(1 << world for world in range(WORLDS) if world & bit)

    def data_of_start(self, kind: str, value: Any) -> _Output:
        name = f"{kind}_{len(self.declared)}"
        if self.maybe(0.5):
            self.declared[name] = {"type": kind, "default": value}
        else:
            self.declared[name] = kind
            self.inputs[name] = value
        output = _Output("start", name, EVERY, is_number=kind == "int")
        self.brings.append(output)
        return output

    # --- growing ---

    def grow(self, size: int) -> None:
        self.node("start", "start", inputs=self.declared)
        self.fires.append(_Output("start", "exec_out", EVERY))
        self.data_of_start("int", self.rng.randint(0, 20))
        barrier_at = self.rng.randrange(size) if self.failures and self.maybe(0.4) else None
        if self.failures and (barrier_at is None or not self.race_free):
            self.on_error = "continue" if self.race_free else self.rng.choice(["stop", "continue"])
        for number in range(size):
            if number == barrier_at:
                self.add_barrier(f"n{number}")
            else:
                self.add_node(f"n{number}", self.pick_kind())
        self.give_ends_a_value()
        self.add_returns()

    def pick_kind(self) -> str:
        kinds = ["identity", "identity", "async_identity", "add", "add", "constant", "collect"]
        kinds += ["control.parallel", "control.sequence", "control.sequence"]
        if not self.race_free:
            kinds.append("sleep")
        if self.choices + 2 < CHOICES:
            kinds += ["branch", "branch", "switch", "choose", "handled", "handled"]
            kinds += ["logic.switch", "logic.choose"]
        if self.failures and (not self.race_free or self.on_error == "continue"):
            kinds += ["fragile", "boom", "raises"]
            kinds.append(self.rng.choice(["raises", "logic.assert", "control.fail"]))
        return self.rng.choice(kinds)

    def add_node(self, node_id: str, kind: str) -> None:
        is_handled = kind == "handled"
        kind = self.rng.choice([*sorted(FAILING), "raises"]) if is_handled else kind
        data: dict[str, Any] = {"constantValues": {}}
        if kind == "constant":
            data["constantValues"]["VALUE"] = self.rng.randint(0, 9)
        if kind in FAILING and self.maybe(0.4):
            data["retry"] = {"max": 1, "delay": 0}
            if self.maybe(0.5):
                data["retry"]["retry_on"] = self.rng.sample(RETRIED, self.rng.randint(1, 3))
        data["constantValues"] |= self.cases(kind)
        if kind == "raises":
            self.add_error(node_id, data["constantValues"], HANDLED if is_handled else list(ERRORS))
        if self.maybe(0.3):
            data["label"] = f"{kind} {node_id}"
        self.node(node_id, kind, **data)
        runs = self.exec_into(node_id) if kind in EXEC_OUTPUTS or self.maybe(0.75) else None
        runs = self.fill_ports(node_id, kind, data["constantValues"], runs)
        if all(edge["target"] != node_id for edge in self.edges):
            runs = self.exec_into(node_id)
        self.decide(node_id, kind, data["constantValues"])
        self.add_outputs(node_id, kind, runs, is_handled=is_handled)

    def cases(self, kind: str) -> dict[str, Any]:
        """The constants of a built-in that decides."""
        count = self.rng.randint(1, 3)
        match kind:
            case "logic.switch":
                return {"CASES": self.rng.sample(CASES, count)}
            case "logic.choose":
                match = self.rng.choice(["first", "all"])
                names = ["x", "y", "z"][: min(count, 2) if match == "all" else count]
                return {"CASES": {n: self.rng.choice(EXPRESSIONS) for n in names}, "MATCH": match}
            case "control.parallel":
                return {"BRANCHES": count}
            case "control.sequence":
                return {"THEN": count}
            case "logic.assert":
                return {"CONDITION": self.rng.choice(EXPRESSIONS), "MESSAGE": "{n} is wrong"}
            case "control.fail":
                if self.race_free:  # nothing can wait for it, so the flow has to
                    self.settings["ends"] = "all_settled"
                return {"MESSAGE": "failed with {n}"}
        return {}

    def add_error(self, node_id: str, values: dict[str, Any], names: list[str]) -> None:
        """Choose what the node raises, and in how many attempts."""
        counter = f"attempts_{node_id}"
        self.variables[counter] = {"type": "int", "default": 0}
        values |= {"ERROR": self.rng.choice(names), "COUNTER": counter}
        values["TIMES"] = self.rng.choice([0, 1, 1, 1, 2])

    def add_barrier(self, node_id: str) -> None:
        """A node that may fail, with nothing beside it."""
        kind = self.rng.choice(["fragile", "boom", "fragile"])
        fails = self.maybe(0.5)
        values = {"value": 1, "fail": fails} if kind == "fragile" else {"value": 1}
        ends = list(self.ends()) or [self.rng.choice(self.fires).node]
        self.node(node_id, kind, constantValues=values)
        runs = 0
        for end in ends:
            output = self.rng.choice([out for out in self.fires if out.node == end])
            self.exec_wire(output, node_id)
            runs |= output.worlds
        self.after_barrier = {node_id}
        self.fires.clear()
        self.add_outputs(node_id, kind, runs, is_handled=False)

    def exec_into(self, node_id: str) -> int:
        """Draw exec edges into a node, which may be a join of some of them; the worlds in which it
        runs.
        """
        outputs = self.rng.sample(self.fires, min(len(self.fires), self.rng.choice([1, 1, 2, 3])))
        for output in outputs:
            self.exec_wire(output, node_id)
        met = [EVERY, *[0] * len(outputs)]
        """By number: the worlds in which so many of them fire, or more."""
        for output in outputs:
            for number in range(len(outputs), 0, -1):
                met[number] |= met[number - 1] & output.worlds
        possible = [number for number in range(1, len(met)) if met[number]]
        if not possible or self.maybe(0.6):
            return met[1]
        count = self.rng.choice(possible)
        join = "any" if count == 1 and self.maybe(0.7) else {"at_least": count}
        next(node for node in self.nodes if node["id"] == node_id)["data"]["join"] = join
        if len(outputs) > 1 or count > 1:
            self.early.add(node_id)
        return met[count]

    def fill_ports(self, node_id: str, kind: str, values: dict[str, Any], runs: int | None) -> int:
        """Give every input a wire, a value or its default; the worlds in which the node runs."""
        is_driven = runs is None
        runs = EVERY if runs is None else runs
        must_follow = is_driven and self.after_barrier is not None
        for port in PORTS[kind]:
            if not is_driven and self.maybe(0.1):
                self.add_side_constant(node_id, port)
                continue
            sources = self.sources_for(kind, runs if not is_driven else None, must_follow)
            if not sources or not (self.maybe(0.8) or must_follow):
                if kind not in DEFAULTED or self.maybe(0.3):
                    values[port] = self.rng.randint(0, 9)
                continue
            must_follow = False
            came = 0
            for output in sources:
                self.data_wire(output, node_id, port)
                came |= output.worlds
            if kind in DEFAULTED:
                continue
            if (not is_driven and runs & ~came) or self.maybe(0.15):
                values[port] = self.rng.randint(10, 19)
            elif is_driven:
                runs &= came
        if must_follow:  # nothing wired it behind the barrier
            runs &= self.exec_into(node_id)
        return runs

    def add_side_constant(self, node_id: str, port: str) -> None:
        """A node that nothing leads to, for one input."""
        constant = f"{node_id}_{port}"
        self.node(constant, "constant", constantValues={"VALUE": self.rng.randint(0, 9)})
        self.data_wire(_Output(constant, "value", EVERY), node_id, port)

    def sources_for(self, kind: str, runs: int | None, must_follow: bool) -> list[_Output]:
        """One data output, or several of which no world has two."""
        fitting = [
            output
            for output in self.brings
            if (output.is_number or kind != "add")
            and (not must_follow or output.node in (self.after_barrier or ()))
        ]
        if not fitting:
            return []
        chosen = [self.rng.choice(fitting)]
        for output in self.rng.sample(fitting, min(3, len(fitting))):
            overlaps = any(output.worlds & other.worlds for other in chosen)
            if (
                output not in chosen
                and not overlaps
                and self.maybe(0.8)
                and (runs is None or output.worlds & runs)
            ):
                chosen.append(output)
        return chosen

    def decide(self, node_id: str, kind: str, values: dict[str, Any]) -> None:
        """Wire or set the input by which a branching or fragile node decides."""
        if kind == "branch":
            self.decision("bool", self.maybe(0.5), node_id, "condition", values)
        elif kind == "choose":
            fired = self.rng.choice(["a", "b", ["a", "b"], ["b"], []])
            self.decision("any", fired, node_id, "which", values)
        elif kind == "switch":
            self.decision("int", self.rng.randint(0, 20), node_id, "value", values)
        elif kind == "logic.switch":
            self.decision("any", self.rng.choice([*CASES, True, 9]), node_id, "value", values)
        elif kind in ("logic.choose", "logic.assert", "control.fail"):
            self.data_wire(self.data_of_start("int", self.rng.randint(0, 20)), node_id, "n")
        elif kind == "fragile" and self.maybe(0.8):
            self.decision("bool", self.maybe(0.5), node_id, "fail", values)

    def decision(
        self, kind: str, value: Any, node_id: str, port: str, values: dict[str, Any]
    ) -> None:
        if self.maybe(0.7):
            self.data_wire(self.data_of_start(kind, value), node_id, port)
        else:
            values[port] = value

    def add_outputs(self, node_id: str, kind: str, runs: int, *, is_handled: bool) -> None:
        good = runs
        if is_handled:
            good = runs & self.choice()
            failed = runs & ~good
            handlers = [f"{node_id}_h{n}" for n in range(self.rng.choice([1, 1, 2]))]
            self.fires.append(_Output(node_id, "error", failed))
            self.brings.append(_Output(node_id, "error", failed))
            for handler in handlers:
                self.node(handler, "identity", constantValues={"value": 7})
                self.exec_wire(_Output(node_id, "error", failed), handler)
                self.add_outputs(handler, "identity", failed, is_handled=False)
        names = EXEC_OUTPUTS.get(kind, ("exec_out",))
        match kind:
            case "control.fail":
                names, shares = (), []
            case "control.parallel" | "control.sequence":
                names = numbered_outputs(self.nodes[-1])
                shares = [good] * len(names)
            case "logic.switch" | "logic.choose":
                names, shares = self.shares_of_cases(good)
            case "branch" | "switch":
                side = self.choice()
                shares = [good & side, good & ~side]
            case "choose":
                shares = [good & self.choice(), good & self.choice()]
            case _:
                shares = [good]
        self.fires += [
            _Output(node_id, name, share) for name, share in zip(names, shares, strict=True)
        ]
        output = OUTPUT.get(kind, "value")
        if output is not None:
            is_number = kind in ("add", "switch", "constant")
            self.brings.append(_Output(node_id, output, good, is_number))
        if self.after_barrier is not None:
            self.after_barrier.add(node_id)

    def shares_of_cases(self, good: int) -> tuple[tuple[str, ...], list[int]]:
        """The exec outputs of the built-in that was drawn last, each with its worlds."""
        values = self.nodes[-1]["data"]["constantValues"]
        names = (*map(str, values["CASES"]), "default")
        one, other = self.choice(), self.choice()
        shares = [good & one & other, good & one & ~other, good & ~one & other]
        if values.get("MATCH") == "all":
            shares = [good & one, good & other]
        shares = shares[: len(names) - 1]
        return names, [*shares, good & ~reduce(or_, shares)]

    # --- ending ---

    def ends(self) -> Iterator[str]:
        """The nodes that nothing waits for, though it can."""
        sources = {
            edge["source"]
            for edge in self.edges
            if edge["type"] != "exec" or edge["target"] not in self.early
        }
        sources |= {n["id"] for n in self.nodes if n["type"] == class_path("control.fail")}
        return (node["id"] for node in self.nodes if node["id"] not in sources)

    def give_ends_a_value(self) -> None:
        """Put a node with a value behind every end that has none: RETURN can wait for that."""
        for end in list(self.ends()):
            if not any(output.node == end for output in self.brings):
                output = self.rng.choice([out for out in self.fires if out.node == end])
                follower = self.node(f"{end}_end", "constant", constantValues={"VALUE": 5})
                self.exec_wire(output, follower)
                self.add_outputs(follower, "constant", output.worlds, is_handled=False)

    def add_returns(self) -> None:
        ends = [end for end in self.ends() if end != "start"]
        returned = 0
        for number in range(self.rng.choice([1, 1, 2, 3])):
            free = [out for out in self.fires if out.worlds]
            if self.race_free:
                free = [out for out in free if not out.worlds & returned]
            if not free and number:
                break
            output = self.rng.choice(free or self.fires)
            returned |= output.worlds
            self.add_return(
                f"return_{number}", output, ends if self.race_free or not number else ends[:1]
            )

    def add_return(self, node_id: str, output: _Output, ends: list[str]) -> None:
        ports: dict[str, Any] = {}
        self.node(node_id, "return", inputs=ports)
        self.exec_wire(output, node_id)
        waits = [next(out for out in self.brings if out.node == end) for end in ends]
        if not self.race_free:
            waits = self.rng.sample(waits, self.rng.randint(0, len(waits)))
        for source in [*waits, self.rng.choice(self.brings)]:
            port = f"{source.node}_{source.port}"
            if port not in ports:
                ports[port] = {"type": "any", "default": None}
                self.data_wire(source, node_id, port)


def class_path(kind: str) -> str:
    """``start``, ``branch``, ``logic.switch``, or the name of one of ``flow_nodes``."""
    if kind == "base.flow":
        return FLOW_CLASS
    kind = {"start": "base.start", "return": "base.return", "branch": "logic.branch"}.get(
        kind, kind
    )
    category, _, module = kind.rpartition(".")
    name = "".join(part.capitalize() for part in module.split("_"))
    if not category:
        return f"flow_nodes.{module}.{name}Node"
    module = f"{module}_" if iskeyword(module) else module
    return f"rayflow_dagster.nodes.{category}.{module}.{name}Node"


def make_flow(
    rng: Random, size: int = 8, *, race_free: bool = True, failures: bool = True
) -> RandomFlow:
    """A random flow of about ``size`` nodes besides START and RETURN."""
    drawing = _Drawing(rng, race_free, failures)
    drawing.grow(max(1, size))
    flow = {
        "name": "random", "nodes": drawing.nodes, "edges": drawing.edges,
        "on_error": drawing.on_error, "variables": drawing.variables,
        "settings": drawing.settings,
    }  # fmt: skip
    if not can_wait(flow):
        unordered(flow)
    return RandomFlow(flow, drawing.inputs)


def numbered_outputs(node: dict[str, Any]) -> tuple[str, ...]:
    """The exec outputs of a ``control.parallel`` or ``control.sequence``."""
    ((constant, count),) = node["data"]["constantValues"].items()
    word = {"BRANCHES": "branch", "THEN": "then"}[constant]
    return tuple(f"{word}_{number + 1}" for number in range(count))


def waits_of_sequences(flow: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(earlier, later): what only one output of a sequence leads to, and what a later one does."""
    into = {node["id"]: 0 for node in flow["nodes"]}
    for edge in flow["edges"]:
        into[edge["target"]] += edge["type"] == "exec"
    roots = {node_id for node_id, count in into.items() if not count}
    every = exec_reached(flow, roots, [])
    for node in flow["nodes"]:
        if node["type"] != class_path("control.sequence"):
            continue
        wires = [
            [e for e in flow["edges"] if (e["source"], e["sourceHandle"]) == (node["id"], output)]
            for output in numbered_outputs(node)
        ]
        for number, own in enumerate(wires):
            earlier = every - exec_reached(flow, roots, own)
            later = {edge["target"] for after in wires[number + 1 :] for edge in after}
            yield from ((one, other) for one in earlier for other in later)


def exec_reached(flow: dict[str, Any], roots: set[str], cut: list[dict[str, Any]]) -> set[str]:
    """The nodes that exec edges lead to from ``roots``, where some edges are cut."""
    found, queue = set(roots), list(roots)
    while queue:
        here = queue.pop()
        for edge in flow["edges"]:
            leads = edge["type"] == "exec" and edge["source"] == here and edge not in cut
            if leads and edge["target"] not in found:
                found.add(edge["target"])
                queue.append(edge["target"])
    return found


def can_wait(flow: dict[str, Any]) -> bool:
    """Whether no sequence makes its nodes wait in a circle."""
    sources: dict[str, set[str]] = {node["id"]: set() for node in flow["nodes"]}
    wires = [(edge["source"], edge["target"]) for edge in flow["edges"]]
    for source, target in (*wires, *waits_of_sequences(flow)):
        sources[target].add(source)
    try:
        TopologicalSorter(sources).prepare()
    except CycleError:
        return False
    return True


def unordered(flow: dict[str, Any]) -> None:
    """Make each sequence a node that fires all of its outputs at the same time."""
    for node in flow["nodes"]:
        if node["type"] == class_path("control.sequence"):
            node["type"] = class_path("control.parallel")
            values = node["data"]["constantValues"]
            values["BRANCHES"] = values.pop("THEN")
            for edge in flow["edges"]:
                if edge["source"] == node["id"]:
                    edge["sourceHandle"] = edge["sourceHandle"].replace("then", "branch")


@st.composite
def random_flows(
    draw: st.DrawFn, size: int = 8, *, race_free: bool = True, failures: bool = True
) -> RandomFlow:
    """Random flows of at most about ``size`` nodes, for ``@given``.

    ``race_free``: how the run ends does not depend on timing. ``failures``: nodes may fail without
    a handler.
    """
    rng = draw(st.randoms(use_true_random=False))
    count = draw(st.integers(1, size))
    return make_flow(rng, count, race_free=race_free, failures=failures)
