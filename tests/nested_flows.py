"""Random flows of regions in regions, with inputs for one run.

A flow is drawn as a program is written: statement after statement, a region's body as a block of
its own. Beside it goes what the next statement may hang on (the exec outputs that one of which
fires), which whole numbers are there for sure, and which values may be there.

They come to the same end in whatever order things finish: only one of two parallel sides may fail,
none of them leaves a loop, a node that is driven by data starts with what the end of an iteration
waits for, and a loop of whose items the order matters runs them one by one. A call that shares
variables stands only where something may fail, so that none runs beside it that does so too.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import strategies as st
from random_flows import RandomFlow, class_path

Ref = tuple[str, str]
"""A node and one of its outputs."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Where a statement stands."""

    depth: int
    numbers: list[Ref]
    """What brings a whole number, for sure, to all that stands here."""
    values: list[Ref]
    """What may bring something."""
    region: str | None = None
    may_leave: bool = False
    """Whether ``break`` and ``continue`` may stand here."""
    may_fail: bool = True

    def side(self, **changes: Any) -> "_Block":
        """A part of the block that may not be run: what it brings is for itself."""
        kept = {name: getattr(self, name) for name in self.__slots__}
        return _Block(**{**kept, "numbers": [*self.numbers], **changes})


@dataclass(frozen=True, slots=True)
class _Called:
    """A flow that can be called."""

    flow: dict[str, Any]
    depth: int
    """How many more calls stand in each other in it."""
    may_fail: bool
    outputs: list[str]
    """The first one brings a whole number, for sure."""
    exits: list[str]


@dataclass
class _Nesting:
    rng: Random
    called: dict[str, _Called] = field(default_factory=dict)
    """The flows that have been drawn to be called, by name."""
    call_depth: int = 0
    """How many calls may stand in each other."""
    nodes: list[dict[str, Any]] = field(default_factory=list)
    edges: list[dict[str, Any]] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)
    driven_by_data: set[Ref] = field(default_factory=set)
    """What nodes bring that nothing leads to."""
    left: int = 14
    """How many more statements there may be."""
    is_ordered: bool = False
    """Whether the order of the items of the loop around matters."""
    has_parallel: bool = False
    """Whether something may fail beside something else."""

    # --- words ---

    def maybe(self, chance: float) -> bool:
        return self.rng.random() < chance

    def node(self, kind: str, after: list[Ref], wires: dict[str, Ref], **data: Any) -> str:
        """A node behind ``after`` (none: data-driven); ``wires``: input -> what is wired to it."""
        short = kind.rpartition(".")[2]
        node_id = f"{short}_{len(self.nodes)}"
        self.nodes.append({"id": node_id, "type": class_path(kind), "data": data})
        for output in after:
            self.wire(output, node_id, "exec_in", "exec")
        for port, output in wires.items():
            self.wire(output, node_id, port, "any")
        return node_id

    def wire(self, source: Ref, target: str, port: str, kind: str) -> None:
        self.edges.append(
            {
                "id": f"e{len(self.edges)}", "source": source[0], "target": target,
                "sourceHandle": source[1], "targetHandle": port, "type": kind,
            }
        )  # fmt: skip

    def number(self, block: _Block) -> Ref:
        """Rather one of the latest, which are of the innermost loop."""
        return self.rng.choice(block.numbers[-3:] if self.maybe(0.7) else block.numbers)

    def condition(self) -> str:
        return self.rng.choice(["n != 2", "n > 1", "n < 3", "n == 1 || n > 4", "n >= 0"])

    # --- statements: each takes and gives what the next one may hang on ---

    def block(self, block: _Block, tail: list[Ref], size: int) -> list[Ref]:
        for _ in range(size):
            if self.left > 0 and tail:
                self.left -= 1
                tail = getattr(self, self.statement(block))(block, tail)
        return tail

    def statement(self, block: _Block) -> str:
        kinds = ["work", "work", "collect", "driven", "branch"]
        if block.depth < 3:
            kinds += ["for_each", "for_each", "while_", "group", "parallel", "sequence", "join"]
        if self.call_depth:
            kinds += ["call", "call", "call"]
        if block.may_fail:
            kinds += ["risky", "flaky"]
        if block.may_leave:
            kinds += ["leave", "leave"]
        return self.rng.choice(kinds)

    def work(self, block: _Block, tail: list[Ref], number: Ref | None = None) -> list[Ref]:
        wires = {"x": number or self.number(block), "y": self.number(block)}
        added = self.node("add", tail, wires)
        self.brings(block, (added, "result"), is_number=True)
        return [(added, "exec_out")]

    def collect(self, block: _Block, tail: list[Ref]) -> list[Ref]:
        chosen = self.rng.sample(block.values, min(2, len(block.values)))
        collected = self.node("collect", tail, dict(zip("ab", chosen, strict=False)))
        self.brings(block, (collected, "values"))
        return [(collected, "exec_out")]

    def driven(self, block: _Block, tail: list[Ref]) -> list[Ref]:
        """A node that nothing leads to, where what it reads is, and one that waits for it.

        It reads nothing of its like: nothing waits for the first of two, so an end of the iteration
        or a failure could come before the second as well as behind it.
        """
        index = (block.region or "start_0", "n" if block.region is None else "index")
        if index in block.numbers:
            numbers = [ref for ref in block.numbers if ref not in self.driven_by_data]
            if self.call_depth and self.maybe(0.5):
                name, called = self.some_called(may_fail=False)
                call = self.node("base.flow", [], {"n": index}, flow=name)
                self.driven_by_data.add((call, called.outputs[0]))
                self.brings(block, (call, called.outputs[0]), is_number=True)
                return self.work(block, tail, (call, called.outputs[0]))
            added = self.node("add", [], {"x": index, "y": self.rng.choice(numbers[-3:])})
            self.driven_by_data.add((added, "result"))
            self.brings(block, (added, "result"), is_number=True)
            return self.work(block, tail, (added, "result"))
        return self.work(block, tail)

    def brings(self, block: _Block, ref: Ref, *, is_number: bool = False) -> None:
        block.values.append(ref)
        if is_number:
            block.numbers.append(ref)

    def branch(self, block: _Block, tail: list[Ref]) -> list[Ref]:
        choose = self.choice(block, tail)
        yes = self.block(block.side(), [(choose, "yes")], self.rng.randint(1, 2))
        return [*yes, (choose, "default")]

    def choice(self, block: _Block, tail: list[Ref]) -> str:
        cases = {"yes": self.condition()}
        wires = {"n": self.number(block)}
        return self.node("logic.choose", tail, wires, constantValues={"CASES": cases})

    def leave(self, block: _Block, tail: list[Ref]) -> list[Ref]:
        choose = self.choice(block, tail)
        kind = self.rng.choice(["break", "continue"])
        self.is_ordered |= kind == "break"
        self.node(f"control.{kind}", [(choose, "yes")], {})
        return [(choose, "default")]

    def risky(self, block: _Block, tail: list[Ref]) -> list[Ref]:
        values = {"CONDITION": self.condition(), "MESSAGE": "{n} is wrong"}
        wires = {"n": self.number(block)}
        risky = self.node("logic.assert", tail, wires, constantValues=values)
        return [(risky, "exec_out"), *self.handler(block, risky, 0.4)]

    def flaky(self, block: _Block, tail: list[Ref]) -> list[Ref]:
        counter = f"attempts_{len(self.nodes)}"
        self.variables[counter] = {"type": "int", "default": 0}
        self.is_ordered = True
        values = {"COUNTER": counter, "FAILURES": self.rng.choice([1, 1, 2])}
        retry = {"retry": {"max": 1, "delay": 0}} if self.maybe(0.7) else {}
        wires = {"value": self.number(block)}
        flaky = self.node("flaky", tail, wires, constantValues=values, **retry)
        block.values.append((flaky, "attempts"))
        return [(flaky, "exec_out"), *self.handler(block, flaky, 0.4)]

    def handler(self, block: _Block, node_id: str, chance: float) -> list[Ref]:
        """Perhaps handle a node's failure."""
        if not self.maybe(chance):
            return []
        handler = self.node("collect", [(node_id, "error")], {"a": (node_id, "error")})
        block.values.append((handler, "values"))
        return [(handler, "exec_out")]

    def parallel(self, block: _Block, tail: list[Ref]) -> list[Ref]:
        self.has_parallel |= block.may_fail
        both = self.node("control.parallel", tail, {}, constantValues={"BRANCHES": 2})
        one = block.side(may_leave=False)
        other = block.side(may_leave=False, may_fail=False)
        return [
            *self.block(one, [(both, "branch_1")], 2),
            *self.block(other, [(both, "branch_2")], 2),
        ]

    def sequence(self, block: _Block, tail: list[Ref]) -> list[Ref]:
        """Blocks one after another, of which one may be empty. Where the last may end an iteration,
        what follows hangs on that alone: else it would start beside the end.
        """
        count = self.rng.choice([2, 2, 3])
        each = self.node("control.sequence", tail, {}, constantValues={"THEN": count})
        ends = [
            self.block(block.side(), [(each, f"then_{number + 1}")], self.rng.randint(0, 2))
            for number in range(count)
        ]
        return ends[-1] if block.may_leave else [end for each_end in ends for end in each_end]

    def join(self, block: _Block, tail: list[Ref]) -> list[Ref]:
        """A node that starts when some of what leads to it has ended, and one that waits for all.

        A side of those that it hangs on may fail or not be run, and so it may be skipped.
        """
        self.has_parallel |= block.may_fail
        both = self.node("control.parallel", tail, {}, constantValues={"BRANCHES": 2})
        one, other = block.side(may_leave=False), block.side(may_leave=False, may_fail=False)
        choose = self.choice(block, [(both, "branch_2")])
        ends = [
            *self.block(one, [(both, "branch_1")], 2),
            *self.block(other, [(choose, "yes")], 1),
        ]
        early, output, exits = self.early(block, ends)
        block.values.append((early, output))
        after = [(early, exit_) for exit_ in exits]
        last = self.node("collect", [*ends, *after, (choose, "default")], {})
        return [(last, "exec_out")]

    def early(self, block: _Block, ends: list[Ref]) -> tuple[str, str, list[str]]:
        """A node that starts when some of what leads to it has ended; a value and the exec outputs
        of it."""
        join = self.rng.choice(["any", {"at_least": 1}, {"at_least": 2}])
        if self.call_depth and self.maybe(0.5):
            name, called = self.some_called(may_fail=False)
            call = self.node("base.flow", ends, {"n": self.number(block)}, flow=name, join=join)
            return call, called.outputs[0], called.exits
        wires = {"x": self.number(block), "y": self.number(block)}
        return self.node("add", ends, wires, join=join), "result", ["exec_out"]

    # --- calls ---

    def call(self, block: _Block, tail: list[Ref]) -> list[Ref]:
        name, called = self.some_called(may_fail=block.may_fail)
        wires = {port: self.number(block) for port in ("n", "m") if self.maybe(0.6)}
        data: dict[str, Any] = {"flow": name}
        if "m" not in wires and self.maybe(0.5):
            data["constantValues"] = {"m": self.rng.randint(0, 5)}
        if block.may_fail and self.maybe(0.4):
            data["variables"] = "shared"
            self.variables |= called.flow["variables"]
            self.is_ordered = True
        data |= {"retry": {"max": 1, "delay": 0}} if self.maybe(0.2) else {}
        call = self.node("base.flow", tail, wires, **data)
        handled = self.handler(block, call, 0.4 if called.may_fail else 0.1)
        first, *others = called.outputs
        self.brings(block, (call, first), is_number=not handled)
        block.values.extend((call, output) for output in others)
        ends = [(call, exit_) for exit_ in called.exits]
        if len(ends) > 1 and self.maybe(0.5):
            ends = [*self.block(block.side(), ends[:1], 1), *ends[1:]]
        return [*ends, *handled]

    def some_called(self, *, may_fail: bool) -> tuple[str, _Called]:
        """One that has been drawn, or a new one."""
        fitting = [
            name
            for name, called in self.called.items()
            if called.depth < self.call_depth and called.may_fail <= may_fail
        ]
        if fitting and self.maybe(0.4):
            name = self.rng.choice(fitting)
            return name, self.called[name]
        inner = _Nesting(self.rng, self.called, self.call_depth - 1, left=4)
        drawn = inner.draw_called(may_fail=may_fail)
        name = f"called_{len(self.called)}"
        self.called[name] = drawn
        return name, drawn

    def draw_called(self, *, may_fail: bool) -> _Called:
        declared = {name: {"type": "int", "default": at} for at, name in enumerate(("n", "m"), 1)}
        start = self.node("start", [], {}, inputs=declared)
        both = [(start, "n"), (start, "m")]
        block = _Block(2, [*both], [*both], may_fail=may_fail)
        tail = self.block(block, [(start, "exec_out")], 3)
        exits = self.returns(block, tail)
        outputs = [
            n["data"]["inputs"] for n in self.nodes if n["type"] == class_path("base.return")
        ]
        names = {node["data"].get("flow") for node in self.nodes}
        depths = [called.depth for name, called in self.called.items() if name in names]
        settings: dict[str, Any] = {"ends": self.rng.choice(["first_return", "all_settled"])}
        settings |= {"retry": {"max": 1, "delay": 0}} if self.maybe(0.2) else {}
        flow = self.flow() | {"settings": settings}
        ports = [port for each in outputs for port in each]
        return _Called(
            flow, 1 + max(depths, default=-1), may_fail, list(dict.fromkeys(ports)), exits
        )

    def returns(self, block: _Block, tail: list[Ref]) -> list[str]:
        """One RETURN, or one of two that is reached, or two of which one is reached first; the exec
        outputs of a call."""
        kinds = ["one", "either", "alike", "first"] + (["perhaps"] if block.may_fail else [])
        match self.rng.choice(kinds):
            case "either":
                choose = self.choice(block, tail)
                self.return_(block, [(choose, "yes")], label="high")
                self.return_(block, [(choose, "default")], label="low", more=self.number(block))
                return ["high", "low"]
            case "alike":
                choose = self.choice(block, tail)
                self.return_(block, [(choose, "yes")], label="end")
                self.return_(block, [(choose, "default")], label="end", more=self.number(block))
            case "first":
                steps = self.node("control.sequence", tail, {}, constantValues={"THEN": 2})
                first = self.return_(block, [(steps, "then_1")])
                late = self.work(block.side(values=[]), [(steps, "then_2")])
                if block.may_fail and self.maybe(0.5):
                    late = self.risky(block.side(values=[]), late)
                return [first, self.return_(block, late)]
            case "perhaps":
                choose = self.choice(block, tail)
                self.return_(block, [(choose, "yes")])
            case _:
                label: dict[str, Any] = {"label": "end"} if self.maybe(0.5) else {}
                self.return_(block, tail, **label)
        return ["exec_out"]

    def return_(
        self, block: _Block, after: list[Ref], *, more: Ref | None = None, **data: Any
    ) -> str:
        """A RETURN that waits for all that may come."""
        ports = {"total": self.number(block)}
        ports |= {f"{node_id}_{port}": (node_id, port) for node_id, port in block.values}
        ports |= {"more": more} if more else {}
        declared = {port: {"type": "any", "default": None} for port in ports}
        declared["total"] = {"type": "int"}
        return self.node("return", after, ports, inputs=declared, **data)

    def flow(self) -> dict[str, Any]:
        return {
            "name": "nested", "nodes": self.nodes, "edges": self.edges,
            "on_error": "continue" if self.has_parallel else self.rng.choice(["stop", "continue"]),
            "variables": self.variables,
        }  # fmt: skip

    # --- regions ---

    def for_each(self, block: _Block, tail: list[Ref]) -> list[Ref]:
        items = [self.rng.randint(0, 5) for _ in range(self.rng.choice([0, 1, 2, 3, 4]))]
        data: dict[str, Any] = {"constantValues": {"items": items}}
        has_batch, has_carry = self.maybe(0.2), self.maybe(0.4)
        handling = ["skip", "collect"] if not block.may_fail or self.maybe(0.7) else ["fail"]
        data["on_item_error"] = self.rng.choice(handling)
        data |= {"batch": 2} if has_batch else {}
        data |= {"carry": {"c": {"type": "int", "default": 1}}} if has_carry else {}
        data |= {"aligned": True} if self.maybe(0.3) else {}
        data |= {"retry": {"max": 1, "delay": 0}} if self.maybe(0.3) else {}
        each = self.node("control.for_each", tail, {}, **data)
        data = self.nodes[-1]["data"]
        inside = [(each, "index")] if has_batch else [(each, "index"), (each, "item")]
        inside += [(each, "c")] if has_carry else []
        was_ordered, self.is_ordered = self.is_ordered, data["on_item_error"] == "fail"
        brought = self.body(block, each, inside, [(each, "item")], may_leave=True)
        if self.is_ordered or self.maybe(0.3):
            data["parallel"] = 1
        self.is_ordered |= was_ordered
        if has_carry and brought.numbers:
            self.wire(self.rng.choice(brought.numbers[-2:]), each, "next.c", "any")
        block.values.extend([(each, "count"), (each, "errors"), *brought.values])
        block.values.extend([(each, "c")] if has_carry else [])
        is_failing = data["on_item_error"] == "fail"
        return [(each, "done"), *(self.handler(block, each, 0.6) if is_failing else [])]

    def while_(self, block: _Block, tail: list[Ref]) -> list[Ref]:
        """It counts to a limit, which may be more than it may."""
        most, limit = self.rng.randint(1, 4), self.rng.randint(1, 4)
        is_exhausted = most < limit
        if is_exhausted and not block.may_fail:
            most = limit
        carry = {"i": {"type": "int", "default": 0}}
        data = {"max_iterations": most, "carry": carry, "constantValues": {}}
        loop = self.node("control.while", tail, {}, **data)
        was_ordered, self.is_ordered = self.is_ordered, False
        added = self.node("add", [(loop, "body")], {"x": (loop, "i")}, constantValues={"y": 1})
        more = self.node(
            "logic.compare", [(added, "exec_out")], {"a": (added, "result")},
            constantValues={"b": limit, "OPERATOR": "<"},
        )  # fmt: skip
        self.wire((added, "result"), loop, "next.i", "any")
        self.wire((more, "result"), loop, "again", "any")
        inside = [(loop, "index"), (loop, "i"), (added, "result")]
        self.body(block, loop, inside, [], may_leave=True, entry=(more, "exec_out"))
        self.is_ordered |= was_ordered
        block.values.extend([(loop, "count"), (loop, "i")])
        after = [(loop, "done")]
        if most < limit and (self.maybe(0.8) or not block.may_fail):
            after.append((loop, "exhausted"))
        return after

    def group(self, block: _Block, tail: list[Ref]) -> list[Ref]:
        retry = {"retry": {"max": 1, "delay": 0}} if self.maybe(0.3) else {}
        group = self.node("control.group", tail, {}, **retry)
        brought = self.body(block, group, [], [], may_leave=block.may_leave)
        block.values.extend([*brought.values])
        after = [(group, "done"), *self.handler(block, group, 0.6)]
        if self.maybe(0.6):
            wires = {"a": self.rng.choice(brought.values)} if brought.values else {}
            last = self.node("collect", [(group, "always")], wires)
            block.values.append((last, "values"))
            after.append((last, "exec_out"))
        return after

    def body(
        self,
        block: _Block,
        region: str,
        numbers: list[Ref],
        values: list[Ref],
        *,
        may_leave: bool,
        entry: Ref | None = None,
    ) -> _Block:
        """Draw a region's body. What it brings: to the next iteration, and to what is outside."""
        inside = block.side(
            depth=block.depth + 1, region=region, may_leave=may_leave,
            numbers=[*block.numbers, *numbers], values=[*block.values, *numbers, *values],
        )  # fmt: skip
        entries = [entry or (region, "body")]
        self.block(inside, self.work(inside, entries), self.rng.randint(0, 3))
        return inside.side(
            numbers=[ref for ref in inside.numbers if ref not in [*block.numbers, *numbers]],
            values=[ref for ref in inside.values if ref not in [*block.values, *numbers, *values]],
        )


def make_nested_flow(rng: Random, *, calls: bool = False) -> RandomFlow:
    nesting = _Nesting(rng, call_depth=2, left=6) if calls else _Nesting(rng)
    start = nesting.node("start", [], {}, inputs={"n": {"type": "int", "default": 1}})
    block = _Block(0, [(start, "n")], [(start, "n")])
    tail = nesting.for_each(block, [(start, "exec_out")]) if rng.random() < 0.5 else [
        (start, "exec_out")
    ]  # fmt: skip
    tail = nesting.call(block, tail) if calls else tail
    tail = nesting.block(block, tail, 4)
    ports = {f"{node_id}_{port}": (node_id, port) for node_id, port in block.values}
    nesting.node(
        "return", tail, ports, inputs={port: {"type": "any", "default": None} for port in ports}
    )
    called = {name: each.flow for name, each in nesting.called.items()}
    return RandomFlow(nesting.flow(), {"n": rng.randint(0, 5)}, called)


@st.composite
def nested_flows(draw: st.DrawFn, *, calls: bool = False) -> RandomFlow:
    """Random flows of about five to thirty nodes, in regions up to three deep, for ``@given``; with
    ``calls`` rather fewer nodes, and calls of flows up to two deep.
    """
    return make_nested_flow(draw(st.randoms(use_true_random=False)), calls=calls)
