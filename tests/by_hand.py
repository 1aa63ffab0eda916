"""Running a flow by hand: the body of each of its regions is a flow of its own, and what the region
does is done here, in plain Python, flow by flow.

Written from docs/control-flow.md, and from nothing of the engine; who is in which body is asked of
``reference``. No flow that is run has a region: one that was not reached yet is a node that fails,
so that nothing behind it starts; then its body is run by hand, and the flow once more from START,
with nodes in the region's place that bring and fire what came of it. So a flow is run as often as
regions are reached one after another.

A body's flow has what the region's inner outputs and the nodes outside bring as the inputs of its
START. Its RETURN takes what leaves the body and what goes into the region's inner inputs; that of a
``break`` or ``continue`` says so in ``left``, and takes no values, as it would wait for what it is
to end. What a body brought that was left or that failed is what its nodes brought. Where the group
around a ``break`` has an ``always``, its RETURN waits for what hangs on that.

Called flows are run as they are, with the regions in them.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from outlined import edge_of, node_of, once
from random_flows import RandomFlow
from reference import INLINE, ONCE, REGIONS, FlowMeaning, is_from

Ref = tuple[str, str]
"""A node and one of its outputs."""
LEAVING = ("control.break", "control.continue")
ABSENT = "did not come"
FAILS = "1 / 0 > 0"
"""An expression that has no value."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of a flow, as whoever ran it sees it."""

    statuses: dict[str, str]
    values: dict[Ref, Any]
    """What the nodes brought."""
    result: dict[str, Any]
    failure: dict[str, Any] | None
    """``type``, ``message`` and ``node_id`` of the first one, as an ``error`` output has it."""
    failed_at: str
    """The node of the flow that this is the failure of."""
    variables: dict[str, Any]
    """As the run left them."""


Run = Callable[[RandomFlow], Ran]


@dataclass(frozen=True, slots=True)
class End:
    """What a region came to."""

    exit: str = ""
    """The exec output that fires, beside ``always``; none where it failed or was left."""
    values: dict[Ref, Any] = field(default_factory=dict)
    """What its body and itself bring outside."""
    failure: dict[str, Any] | None = None
    """What no ``error`` handles."""
    left: str = ""
    """``break`` or ``continue`` of the loop around it."""
    variables: dict[str, Any] = field(default_factory=dict)
    """Those that it changed."""


class ByHand:
    """Runs flows by hand; ``run`` is not given a flow with a region."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.ends: list[tuple[str, Mapping[str, Any], End]] = []
        """The class and the settings of each region that was run, and what it came to."""

    def run_flow(self, drawn: RandomFlow) -> Ran:
        level = _Level(drawn)
        ends: dict[str, End] = {}
        while True:
            ran = level.read(self.run(level.with_ends(ends)), ends)
            reached = [r for r in level.regions if r not in ends and ran.statuses[r] == "failed"]
            if not reached:
                return ran
            for region in reached:
                by_hand = _Region(level, region, ran, self)
                ends[region] = by_hand.end()
                self.ends.append((by_hand.kind, by_hand.data, ends[region]))


class _Level:
    """A flow with the regions that are in no other one."""

    def __init__(self, drawn: RandomFlow) -> None:
        self.drawn = drawn
        self.meaning = FlowMeaning(drawn.flow, drawn.inputs, called=drawn.called)
        regions = [n for n in self.meaning.nodes if self.meaning.kind(n) in REGIONS]
        self.regions = [n for n in regions if not self.meaning.regions_of(n)]

    def region_of(self, node_id: str) -> str | None:
        """The region that a node is, or is in."""
        here = {node_id, *self.meaning.regions_of(node_id)}
        return next((region for region in self.regions if region in here), None)

    def leaving(self, region: str) -> list[Ref]:
        """What is read outside of what a region and its body bring."""
        return self._crossing(region, "source", "target")

    def captured(self, region: str) -> list[Ref]:
        """What a body reads from outside."""
        return self._crossing(region, "target", "source")

    def _crossing(self, region: str, inside: str, outside: str) -> list[Ref]:
        """What data edges carry that have one end in a region and the other one outside."""
        return [
            (edge["source"], edge["sourceHandle"])
            for edge in self.meaning.edges
            if edge["type"] != "exec" and self.region_of(edge[inside]) == region
            if self.region_of(edge[outside]) != region
        ]

    # --- the flow around ---

    def with_ends(self, ends: Mapping[str, End]) -> RandomFlow:
        """The flow with nodes in place of its regions; a region without an end yet fails.

        What comes from a region may be absent then, so whatever reads it has to have a default.
        """
        flow = self.drawn.flow
        left = next((end.left for end in ends.values() if end.left), "")
        nodes: list[dict[str, Any]] = []
        edges: list[dict[str, Any]] = []
        for node in flow["nodes"]:
            if left and "left" in node["data"].get("inputs", {}):
                nodes.append(return_of(node["id"], left))
            elif node["id"] in self.regions:
                nodes += self.nodes_in_place(node["id"], ends.get(node["id"]), left)
                edges += self.edges_in_place(node["id"], ends.get(node["id"]))
            elif self.region_of(node["id"]) is None:
                nodes.append(node)
        for edge in flow["edges"]:
            source, output, target = edge["source"], edge["sourceHandle"], edge["target"]
            into = self.region_of(target)
            if into is None or (edge["type"] == "exec" and target == into):
                seen = self.in_place(source, output, edge["type"])
                edges.append(edge_of(*seen, target, edge["targetHandle"], edge["type"]))
        return replace(self.drawn, flow={**flow, "nodes": nodes, "edges": once(edges)})

    def in_place(self, source: str, output: str, kind: str) -> Ref:
        """Where an output is in the flow without regions."""
        if self.region_of(source) is None:
            return source, output
        if kind != "exec":
            return name_of((source, output)), "value"
        if output == "always":
            return f"{source}_steps", "then_2"
        return f"{source}_exit", "handled" if output == "error" else output

    def nodes_in_place(self, region: str, end: End | None, left: str) -> list[dict[str, Any]]:
        """The first waits for all that the region waits for. Then come variables and values, then
        what hangs on ``always``, then the exec output that fires, or the failure."""
        cases = {"CASES": {"run": "true" if end else FAILS, "nothing": "false"}}
        kept = {key: value for key, value in self.meaning.data(region).items() if key == "join"}
        end = end or End()
        exits = dict.fromkeys(("done", "exhausted", "handled"), "false")
        exits |= {end.exit: "true"} if end.exit else {}
        exits |= {"done": FAILS} if end.failure else {}
        nodes = [
            node_of(region, "logic.choose", constantValues=cases, **kept),
            node_of(f"{region}_steps", "control.sequence", constantValues={"THEN": 3}),
            node_of(f"{region}_exit", "logic.choose", constantValues={"CASES": exits}),
        ]
        nodes += [node_of(node_id, "collect") for node_id in self.waiting(region)]
        for name, value in end.variables.items():
            constants = {"VARIABLE": name, "value": value}
            node_id, kind = f"{region}_{name}", "variables.set_variable"
            nodes.append(node_of(node_id, kind, constantValues=constants))
        for ref in dict.fromkeys(self.leaving(region)):
            constants = {"VALUE": end.values.get(ref)}
            nodes.append(node_of(name_of(ref), "constant", constantValues=constants))
        if end.left:
            nodes.append(return_of(f"{region}_left", left))
        return nodes

    def edges_in_place(self, region: str, end: End | None) -> list[dict[str, Any]]:
        steps, exit_ = f"{region}_steps", f"{region}_exit"
        end = end or End()
        ends = [(region, "run", steps)]
        ends += [(steps, "then_1", f"{region}_{name}") for name in end.variables]
        for ref in self.leaving(region):
            came = (steps, "then_1") if ref in end.values else (region, "nothing")
            ends.append((*came, name_of(ref)))
        ends += [(steps, "then_3", exit_)]
        if end.left:
            last = [self.in_place(*ref, "exec") for ref in self.behind_always(region)]
            ends += [(*ref, f"{region}_left") for ref in [(exit_, "default"), *last]]
        edges = [edge_of(*each, "exec_in", "exec") for each in ends]
        for node_id, refs in self.waiting(region).items():
            seen = [self.in_place(*ref, "any") for ref in refs]
            edges += [
                edge_of(*ref, node_id, port, "any") for ref, port in zip(seen, "abc", strict=False)
            ]
            edges.append(edge_of(node_id, "values", region, node_id, "any"))
        return edges

    def behind_always(self, region: str) -> list[Ref]:
        """The exec outputs of all that hangs on a group's ``always``, but for what has none that
        is wired and ends at once."""
        execs = [edge for edge in self.meaning.edges if edge["type"] == "exec"]
        found: list[Ref] = []
        targets = [e["target"] for e in execs if is_from(e, region, "always")]
        for node_id in targets:  # which grows
            outputs = [e for e in execs if e["source"] == node_id and e["sourceHandle"] != "body"]
            targets += [e["target"] for e in outputs if e["target"] not in targets]
            found += [(node_id, edge["sourceHandle"]) for edge in outputs]
            kind = self.meaning.kind(node_id)
            if not outputs and kind in REGIONS:
                found.append((node_id, "done"))
            elif not outputs and (kind not in INLINE or kind == "logic.assert"):
                found.append((node_id, "exec_out"))
        return found

    def waiting(self, region: str) -> dict[str, list[Ref]]:
        """Nodes that wait for what a region waits for, whether it comes or not."""
        refs = [*dict.fromkeys(self.captured(region))]
        chunks = [refs[n : n + 3] for n in range(0, len(refs), 3)]
        return {f"{region}_sees_{n}": chunk for n, chunk in enumerate(chunks)}

    def read(self, ran: Ran, ends: Mapping[str, End]) -> Ran:
        """A run of the flow without regions, as one of the flow with them."""
        values = dict(ran.values)
        for region in self.regions:
            for ref in self.leaving(region):
                if (name_of(ref), "value") in values:
                    values[ref] = values[name_of(ref), "value"]
        statuses, failure, failed_at = dict(ran.statuses), ran.failure, ran.failed_at
        for region, end in ends.items():
            if statuses[f"{region}_exit"] == "failed":
                statuses[region] = "failed"
            if failed_at == f"{region}_exit":
                failure, failed_at = end.failure, region
        return replace(ran, statuses=statuses, values=values, failure=failure, failed_at=failed_at)

    # --- a body ---

    def body_of(self, region: str, came: Container[Ref]) -> dict[str, Any]:
        """A body as a flow of its own. ``came``: what nodes outside have brought."""
        meaning = self.meaning
        taken: dict[str, Any] = {}
        edges = [edge_of("start", "exec_out", "all", "exec_in", "exec")]
        edges.append(edge_of("all", "then_2", "ended", "exec_in", "exec"))
        inputs: dict[str, Any] = {}
        for edge in meaning.edges:
            source, output, target = edge["source"], edge["sourceHandle"], edge["target"]
            ref, is_inside = (source, output), region in meaning.regions_of(source)
            if region not in meaning.regions_of(target):
                if is_inside and edge["type"] != "exec":
                    taken[name_of(ref)] = {"type": "any", "default": ABSENT}
                    edges.append(edge_of(*ref, "ended", name_of(ref), "any"))
            elif is_inside:
                edges.append(edge)
            elif edge["type"] == "exec":
                edges.append(edge_of("all", "then_1", target, edge["targetHandle"], "exec"))
            elif source == region or ref in came:
                inputs[name_of(ref)] = "any"
                edges.append(edge_of("start", name_of(ref), target, edge["targetHandle"], "any"))
        nodes = [
            node_of("start", "start", inputs=inputs),
            node_of("all", "control.sequence", constantValues={"THEN": 2}),
        ]
        for node in self.drawn.flow["nodes"]:
            kind = meaning.kind(node["id"])
            if kind in LEAVING and meaning.region_of(node["id"]) == region:
                nodes.append(return_of(node["id"], kind.removeprefix("control.")))
            elif region in meaning.regions_of(node["id"]):
                nodes.append(node)
        nodes.append(node_of("ended", "return", inputs=taken))
        flow = self.drawn.flow
        settings = {**flow.get("settings", {}), "ends": "first_return"}
        return {**flow, "nodes": nodes, "edges": once(edges), "settings": settings}


class _Region:
    """A region that is run by hand, where a run of the flow around it has come to it."""

    def __init__(self, level: _Level, region: str, around: Ran, by_hand: ByHand) -> None:
        self.level, self.region, self.around, self.by_hand = level, region, around, by_hand
        meaning = level.meaning
        self.kind, self.data = meaning.kind(region), meaning.data(region)
        came = {ref: around.values[ref] for ref in level.captured(region) if ref in around.values}
        self.captured = {name_of(ref): value for ref, value in came.items()}
        self.body = level.body_of(region, came)
        self.given = meaning.given(region, around.values)
        self.variables = around.variables
        self.attempts_left = self.data.get("retry", {}).get("max", 0)
        self.runs: list[Ran] = []

    def end(self) -> End:
        match self.kind:
            case "control.for_each":
                end = self.for_each()
            case "control.while":
                end = self.while_()
            case _:
                end = self.group()
        if end.failure and self.level.meaning.is_wired(self.region, "error"):
            end = replace(end, exit="handled", failure=None)
        changed = self.variables.items() - self.around.variables.items()
        return replace(end, variables=dict(changed))

    def for_each(self) -> End:
        handling = self.data.get("on_item_error", "fail")
        carried = {name: self.given[name] for name in self.data.get("carry", {})}
        errors: list[dict[str, Any]] = []
        for index, item in enumerate(self.items()):
            ran = self.run_body(may_retry=handling == "fail", index=index, item=item, **carried)
            if ran.failure and handling == "fail":
                return self.failed(ran.failure)
            if ran.failure:
                errors.append({"index": index, **ran.failure})
                continue
            carried |= self.next_of(ran, carried)
            if ran.result.get("left") == "break":
                break
        told = errors if handling == "collect" else []
        own = {"count": len(self.runs), "errors": told, **carried}
        lists = {ref: self.all_of(ref) for ref in self.level.leaving(self.region)}
        return End("done", lists | self.own(own))

    def items(self) -> Iterable[Any]:
        items, size = self.given["items"], self.data.get("batch")
        return [items[n : n + size] for n in range(0, len(items), size)] if size else items

    def all_of(self, ref: Ref) -> list[Any]:
        came = [brought(ran, ref) for ran in self.runs]
        if self.data.get("aligned"):
            return [None if each == ABSENT else each for each in came]
        return [each for each in came if each != ABSENT]

    def while_(self) -> End:
        carried = {name: self.given[name] for name in self.data.get("carry", {})}
        most = self.data["max_iterations"]
        exit_ = "exhausted"
        for index in range(most):
            ran = self.run_body(may_retry=True, index=index, **carried)
            if ran.failure:
                return self.failed(ran.failure)
            carried |= self.next_of(ran, carried)
            if not self.goes_on(ran):
                exit_ = "done"
                break
        if exit_ == "exhausted" and not self.level.meaning.is_wired(self.region, exit_):
            message = f"stopped after {most} iterations"
            return self.failed(
                {"type": "LimitReachedError", "message": message, "node_id": self.region}
            )
        return End(exit_, self.own({"count": len(self.runs), **carried}))

    def goes_on(self, ran: Ran) -> bool:
        left = ran.result.get("left")
        if left == "break":
            return False
        wired = self.wired_to("again")
        again = [came for ref in wired if (came := brought(ran, ref)) != ABSENT]
        return bool(again[0]) if again else left == "continue" or not wired

    def group(self) -> End:
        ran = self.run_body(may_retry=True)
        leaving = [ref for ref in self.level.leaving(self.region) if ref[0] != self.region]
        came = {ref: brought(ran, ref) for ref in leaving}
        values = {ref: value for ref, value in came.items() if value != ABSENT}
        if ran.failure:
            return End("", values | self.own({"error": ran.failure}), ran.failure)
        left = ran.result.get("left", "")
        return End("" if left else "done", values | self.own({}), left=left)

    # --- what they share ---

    def run_body(self, *, may_retry: bool, **seen: Any) -> Ran:
        """Run the body once, and again as ``retry`` says."""
        inputs = self.captured | {name_of((self.region, name)): seen[name] for name in seen}
        start = self.body["nodes"][0]["data"]["inputs"]
        inputs = {name: value for name, value in inputs.items() if name in start}
        while True:
            declared = {
                name: {**spec, "default": self.variables[name]}
                for name, spec in self.body.get("variables", {}).items()
            }
            flow = {**self.body, "variables": declared}
            ran = self.by_hand.run_flow(RandomFlow(flow, inputs, self.level.drawn.called))
            self.variables = ran.variables
            helps = ran.failure is not None and ran.failure["type"] not in ONCE
            if not (may_retry and helps and self.attempts_left):
                self.runs.append(ran)
                return ran
            self.attempts_left -= 1

    def failed(self, failure: dict[str, Any]) -> End:
        """Of a loop, which brings nothing else then."""
        return End("", self.own({"error": failure}), failure)

    def own(self, values: Mapping[str, Any]) -> dict[Ref, Any]:
        return {(self.region, name): value for name, value in values.items()}

    def next_of(self, ran: Ran, carried: Mapping[str, Any]) -> dict[str, Any]:
        """The carried values that came for the next iteration."""
        came = [
            (name, brought(ran, ref)) for name in carried for ref in self.wired_to(f"next.{name}")
        ]
        return {name: value for name, value in came if value != ABSENT}

    def wired_to(self, port: str) -> list[Ref]:
        """What a body wires into an inner input."""
        return [
            (edge["source"], edge["sourceHandle"])
            for edge in self.level.meaning.edges
            if (edge["target"], edge["targetHandle"]) == (self.region, port)
        ]


def brought(ran: Ran, ref: Ref) -> Any:
    """What a run of a body has brought: what its RETURN took, else what its nodes did."""
    return ran.result.get(name_of(ref), ran.values.get(ref, ABSENT))


def name_of(ref: Ref) -> str:
    return f"{ref[0]}_{ref[1]}"


def return_of(node_id: str, left: str) -> dict[str, Any]:
    return node_of(node_id, "return", inputs={"left": {"type": "str", "default": left}})
