"""What a flow means, as briefly as can be: a canonical flow, its inputs and the flows that it calls
in, an ``Ended`` out.

Written from docs/control-flow.md and docs/flows.md, and from nothing of the engine. One node runs
after another: of those that may start, in the order in which they became ready and are drawn, and
nodes that need no worker first. An item of a loop runs when the one before it has ended.

Where the documentation says nothing, this is meant:

- A data-driven node that reads ``item`` or ``index`` of a loop is in its body; one that reads a
  carried value and nothing else of the body is not.
- An item ends at the first ``break`` or ``continue``: nothing new starts in it, the rest is
  skipped. Both mean the nearest loop around them; a group that they are in ends with neither
  ``done`` nor ``error``, but with ``always``.
- ``count`` is how often the body has run, whatever came of it; ``index`` and ``errors`` count runs
  too, so with ``batch`` they count lists. ``aligned`` has an entry for each run.
- ``next.x`` that did not come (unwired, source skipped) leaves x as it was. A failed item that the
  loop goes on from leaves all of them as they were.
- ``while`` runs its body at least once. Where ``again`` did not come, it goes on if the iteration
  was left with ``continue``, and ends if not. No item of it may fail.
- A failure in a body is the region's: its class, its message and the id of the node that failed.
- A region's ``retry`` runs the item again that failed the region, and not those before it. The
  flow's ``retry`` is that of the nodes in a body, not of the region besides.
- A loop that failed brings nothing but ``error``. A group that failed, handled or not, brings
  ``error`` and what the nodes of its body brought until then.
- Behind ``always`` are the nodes that its exec wires lead to, and theirs in turn. They may read
  what a failed group brought; what another node that failed should bring, they wait for in vain.
  They start though the flow is about to fail and though a group was left, but as little as any node
  once a ``break``, ``continue`` or RETURN beside them was reached, be it one of them.
- ``on_error: continue`` holds in a body as it does in the flow.
- A call whose flow reaches no RETURN has failed itself, not a node of that flow. A call brings
  nothing but ``error`` if its flow fails, be it after a RETURN was reached.
- ``retry`` of a call runs the flow again from its START, with new variables where they are its own.
  The ``settings`` and ``on_error`` of a flow are for its nodes, not for the flows that it calls.

Not here: timeouts, variables read or written without exec wires, classes with an output ``error``
of their own.
"""

import builtins
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from graphlib import CycleError, TopologicalSorter
from typing import Any

from plain_nodes import PLAIN, Plain

from rayflow_dagster.errors import (
    DataNotAvailableError,
    FlowFailedError,
    LimitReachedError,
    NodeCrashedError,
    NodeExecutionError,
    message_of,
)

Flow = Mapping[str, Any]
Edge = Mapping[str, Any]
Incoming = Mapping[str, list[tuple[str | None, Edge]]]
"""Node of a level -> the edges that lead to it or into its body, with where each of them comes from
on this level; None where it comes from outside."""
REGIONS = ("control.for_each", "control.while", "control.group")
INLINE = ("start", "return", "logic.switch", "logic.choose", "logic.assert", "control.fail",
          "control.parallel", "control.sequence", "control.break", "control.continue")  # fmt: skip
"""What runs in the run's own process, once."""
ONCE = {
    "DataNotAvailableError", "SecretError", "VariableError", "ExpressionError",
    "FlowAssertionError", "FlowRaisedError", "LimitReachedError", "NodeLoadError",
    "ValidationError",
    "FlowFormatError", "GraphBuildError", "InvalidInputsError", "FlowChangedError",
    "ProjectError", "NameCollisionError", "RunEndedError", "TimeIsOverError",
}  # fmt: skip
"""The errors that no attempt mends."""
UNHANDLED = {"RunEndedError", "TimeIsOverError"}
"""The errors that a wired ``error`` output does not take."""


@dataclass(frozen=True, slots=True)
class Failure:
    node_id: str
    error: BaseException

    def told(self) -> dict[str, str]:
        own = original(self.error)
        return {"type": type(own).__name__, "message": message_of(own), "node_id": self.node_id}


@dataclass(slots=True)
class Ended:
    """What the flow, or one run of a body, came to."""

    statuses: dict[str, str] = field(default_factory=dict)
    """Of the nodes of this level: completed, skipped, failed, or pending."""
    values: dict[tuple[str, str], Any] = field(default_factory=dict)
    """(node, data output) -> what it brought, as read on this level."""
    fired: set[tuple[str, str]] = field(default_factory=set)
    order: list[str] = field(default_factory=list)
    """The nodes of this level that ran, as they ended."""
    attempts: dict[str, int] = field(default_factory=dict)
    inside: dict[str, list["Ended"]] = field(default_factory=dict)
    """Region -> what its body came to, each time that it ran; of several attempts the last. A call
    -> what its flow came to."""
    result: dict[str, Any] = field(default_factory=dict)
    reached: str = ""
    """The RETURN that was."""
    failure: Failure | None = None
    left: str = ""
    """``return``, ``break`` or ``continue``, when one of them ended it."""
    is_closed: bool = False
    """Whether one on this level itself did, after which not even ``late`` nodes start."""
    late: set[str] = field(default_factory=set)
    """The nodes behind an ``always``, which start though the rest has stopped."""

    @property
    def success(self) -> bool:
        return bool(self.reached) and self.failure is None


def levels(ended: Ended) -> Iterator[Ended]:
    """A run, and all runs of bodies and of called flows in it."""
    yield ended
    for runs in ended.inside.values():
        for run in runs:
            yield from levels(run)


def interpret(
    flow: Flow,
    inputs: Mapping[str, Any],
    plain: Mapping[str, Plain] = PLAIN,
    called: Mapping[str, Flow] | None = None,
) -> Ended:
    """Run a flow. ``plain``: the nodes that compute, by their module (``flow_nodes.add``);
    ``called``: the flows that it and they may call, by name."""
    return FlowMeaning(flow, inputs, plain, called).run_level(None, {})


class SharedVariables(ChainMap[str, Any]):
    """A call's own variables, and those of its caller."""

    def __setitem__(self, name: str, value: Any) -> None:
        next(each for each in self.maps if name in each)[name] = value


class FlowMeaning:
    """One run of a flow: who is in which body, and what its nodes come to."""

    def __init__(
        self,
        flow: Flow,
        inputs: Mapping[str, Any],
        plain: Mapping[str, Plain] = PLAIN,
        called: Mapping[str, Flow] | None = None,
    ) -> None:
        self.plain, self.called = plain, called or {}
        self.read(flow, inputs)
        self.variables: MutableMapping[str, Any] = defaults(self.declared)

    def read(self, flow: Flow, inputs: Mapping[str, Any]) -> None:
        """Be about this flow."""
        self.nodes: dict[str, Any] = {node["id"]: node for node in flow["nodes"]}
        self.edges: list[Edge] = flow["edges"]
        self.inputs = inputs
        self.declared: Mapping[str, Any] = flow.get("variables", {})
        self.settings = flow.get("settings", {})
        self.stops = flow.get("on_error", "stop") == "stop"
        self.kind, self.regions_of = cache(self._kind), cache(self._regions_of)
        self.into, self.waits = cache(self._into), cache(self._waits)

    # --- who is in a body ---

    def _regions_of(self, node_id: str) -> frozenset[str]:
        """The regions whose body a node is in: what every exec wire into it comes from, or for a
        data-driven node the innermost of what any data wire comes from."""
        into = [e for e in self.edges if e["target"] == node_id and not is_inner_input(e)]
        execs = [e for e in into if is_exec(e)]
        seen = [
            self.regions_of(e["source"])
            | ({e["source"]} if self.kind(e["source"]) in REGIONS and is_of_body(e) else set())
            for e in execs or into
        ]
        if execs:
            return frozenset.intersection(*seen)
        return max(seen, key=len, default=frozenset())

    def region_of(self, node_id: str) -> str | None:
        """The innermost region that a node is in."""
        regions = self.regions_of(node_id)
        return max(regions, key=lambda region: len(self.regions_of(region)), default=None)

    def seen_from(self, level: str | None, node_id: str) -> str | None:
        """The node, or the region of this level that it is in; None where it is outside."""
        seen: str | None = node_id
        while seen is not None and self.region_of(seen) != level:
            seen = self.region_of(seen)
        return seen

    # --- one level: the flow, or one run of a body ---

    def run_level(self, level: str | None, values: Mapping[tuple[str, str], Any]) -> Ended:
        run = Ended(values=dict(values), fired={(level or "", "body")})
        into = self.into(level)
        waiting = [*into]
        started: list[str] = []
        while waiting or started:
            awaited = self.waits(level)
            settled = [n for n in waiting if self.may_settle(n, into[n], awaited[n], run)]
            dead = [n for n in settled if not self.lives(n, run)]
            run.statuses |= dict.fromkeys(dead, "skipped")
            starting = [] if dead else settled
            waiting = [n for n in waiting if n not in dead and n not in starting]
            started += starting
            if dead:
                continue
            if not started:
                break
            node_id = min(started, key=self.turn)
            started.remove(node_id)
            self.settle(node_id, run)
        run.statuses |= dict.fromkeys(waiting, "skipped" if run.left else "pending")
        return run

    def _into(self, level: str | None) -> Incoming:
        nodes = [node_id for node_id in self.nodes if self.region_of(node_id) == level]
        into: dict[str, list[tuple[str | None, Edge]]] = {node_id: [] for node_id in nodes}
        for edge in self.edges:
            source, target = (self.seen_from(level, edge[end]) for end in ("source", "target"))
            if target in into and source != target:
                into[target].append((source, edge))
        return into

    def turn(self, node_id: str) -> tuple[bool, int]:
        needs_worker = self.kind(node_id) not in INLINE
        return needs_worker, -self.data(node_id).get("priority", 0) if needs_worker else 0

    def may_settle(
        self, node_id: str, into: list[tuple[str | None, Edge]], awaited: set[str], run: Ended
    ) -> bool:
        """Whether all that leads to a node is settled, and nothing forbids it to start."""
        for _, edge in into:
            if is_exec(edge) and (edge["source"] in run.late or self.is_last(edge, run)):
                run.late.add(node_id)
        join = self.join(node_id)
        if join is not None:
            into = [end for end in into if end[1]["target"] != node_id or not is_exec(end[1])]
            if not self.is_decided(node_id, join, run):
                return False
        sources = {source for source, _ in into if source is not None}
        failed = any(run.statuses.get(source) == "failed" for source in awaited)
        if failed or not run.statuses.keys() >= sources | awaited:
            return False
        is_late = node_id in run.late
        for source, edge in into:
            if source is None or run.statuses[source] != "failed":
                continue
            is_group = self.kind(source) == "control.group"
            if not (is_late and is_group and (self.is_last(edge, run) or not is_exec(edge))):
                return False
        is_over = run.left or (run.failure and self.stops)
        if not is_over or (is_late and not run.is_closed):
            return True
        is_skipped = run.left in ("break", "continue") and not run.failure
        return is_skipped and not self.lives(node_id, run)

    def join(self, node_id: str) -> int | None:
        """How many exec edges have to fire, of a node that waits for no more than those."""
        match self.data(node_id).get("join"):
            case "any":
                return 1
            case {"at_least": int(count)}:
                return count
        return None

    def is_decided(self, node_id: str, join: int, run: Ended) -> bool:
        """Whether so many exec edges into a node have fired, or cannot fire any more."""
        execs = [e for e in self.edges if e["target"] == node_id and is_exec(e)]
        fired = sum((e["source"], e["sourceHandle"]) in run.fired for e in execs)
        settled = {n for n, status in run.statuses.items() if status != "failed"}
        may_fire = sum(
            e["source"] not in settled and (e["source"], e["sourceHandle"]) not in run.fired
            for e in execs
        )
        return fired >= join or fired + may_fire < join

    def is_last(self, edge: Edge, run: Ended) -> bool:
        """Whether it is an ``always`` that has fired."""
        is_always = edge["sourceHandle"] == "always"
        return is_always and (edge["source"], "always") in run.fired

    def lives(self, node_id: str, run: Ended) -> bool:
        if self.is_disabled(node_id):
            return False
        if self.kind(node_id) == "return" and run.reached:
            return False
        execs = [e for e in self.edges if e["target"] == node_id and is_exec(e)]
        if execs:
            fired = sum((e["source"], e["sourceHandle"]) in run.fired for e in execs)
            return fired >= (self.join(node_id) or 1)
        return not self.absent(node_id, self.given(node_id, run.values))

    # --- sequences ---

    def _waits(self, level: str | None) -> dict[str, set[str]]:
        """Node of a level -> what earlier outputs of sequences have started, which it waits for.
        Without what is driven by data, where with that some would wait for each other."""
        into = self.into(level)
        for with_data in (True, False):
            waits: dict[str, set[str]] = {node_id: set() for node_id in into}
            for sequence in into:
                if self.kind(sequence) == "control.sequence":
                    self.add_waits(sequence, into, waits, with_data=with_data)
            if not is_circular(into, waits):
                break
        return waits

    def add_waits(
        self, sequence: str, into: Incoming, waits: dict[str, set[str]], *, with_data: bool
    ) -> None:
        given = self.given(sequence, {})
        outputs = self.plain["control.sequence"].run(given, {})["exec_next"]
        targets = [
            {n for n in into for _, e in into[n] if is_from(e, sequence, output)}
            for output in outputs
        ]
        started: set[str] = set()
        for number, output in enumerate(outputs):
            late = behind(into, set().union(*targets[number:]))
            for target in targets[number]:
                waits[target] |= started - late
            started |= started_by(into, sequence, output, with_data=with_data)

    # --- one node ---

    def settle(self, node_id: str, run: Ended) -> None:
        given = self.given(node_id, run.values)
        run.order.append(node_id)
        run.statuses[node_id] = "completed"
        try:
            if absent := self.absent(node_id, given):
                raise DataNotAvailableError(f"{node_id!r}", absent[0], "its source was skipped")
            work = self.run_region if self.kind(node_id) in REGIONS else self.attempts
            outputs = work(node_id, given, run)
        except BaseException as error:  # whatever a node may raise
            failure = failure_of(node_id, error)
            if self.kind(node_id) == "control.group":
                run.values[node_id, "error"] = failure.told()
            if self.is_wired(node_id, "error") and type(failure.error).__name__ not in UNHANDLED:
                run.values[node_id, "error"] = failure.told()
                run.fired.add((node_id, "error"))
            else:
                run.statuses[node_id] = "failed"
                run.failure = run.failure or failure
        else:
            fired = outputs.pop("exec_next", "exec_out")
            names = [fired] if isinstance(fired, str) else fired
            run.fired |= {(node_id, name) for name in names}
            run.values |= {(node_id, name): value for name, value in outputs.items()}
        if self.kind(node_id) == "control.group":
            run.fired.add((node_id, "always"))

    def attempts(self, node_id: str, given: dict[str, Any], run: Ended) -> dict[str, Any]:
        """Call a node's function until it succeeds or no attempt is left."""
        run.attempts[node_id] = 0
        while True:
            run.attempts[node_id] += 1
            try:
                return self.call(node_id, given, run)
            except BaseException as error:
                if not self.tries_again(node_id, failure_of(node_id, error), run):
                    raise

    def call(self, node_id: str, given: dict[str, Any], run: Ended) -> dict[str, Any]:
        match self.kind(node_id):
            case "start":
                return dict(given)
            case "return":
                run.result, run.reached = dict(given), node_id
                run.left = "" if self.settings.get("ends") == "all_settled" else "return"
                self.close(run)
                return {"exec_next": []}
            case "control.break" | "control.continue" as kind:
                run.left = run.left or kind.removeprefix("control.")
                self.close(run)
                return {"exec_next": []}
            case "flow":
                return self.run_called(node_id, given, run)
            case kind:
                return dict(self.plain[kind].run(given, self.variables))

    def close(self, run: Ended) -> None:
        """A level was left by a node of its own: what fails already is not left any more."""
        run.is_closed = bool(run.left) and not (run.failure and self.stops)

    def given(self, node_id: str, values: Mapping[tuple[str, str], Any]) -> dict[str, Any]:
        """A node's inputs and constants: wired, else set, else declared, else of the class."""
        plain = self.plain.get(self.kind(node_id))
        given = dict(plain.defaults) if plain else {}
        for declared in ("inputs", "carry"):
            given |= defaults(self.data(node_id).get(declared, {}))
        if self.kind(node_id) == "flow":
            called = FlowMeaning(self.called[self.data(node_id)["flow"]], {})
            start = next(n for n in called.nodes if called.kind(n) == "start")
            given |= called.given(start, {})
        given |= self.data(node_id).get("constantValues", {})
        if self.kind(node_id) == "start":
            given |= self.inputs
        given |= {e["targetHandle"]: v for e, v in self.came(node_id, values, inner=False)}
        return given

    def came(
        self, node_id: str, values: Mapping[tuple[str, str], Any], *, inner: bool
    ) -> Iterator[tuple[Edge, Any]]:
        """What wires bring into a node's inputs, or into a region's inner inputs."""
        for edge in self.edges:
            if edge["target"] != node_id or is_exec(edge) or is_inner_input(edge) != inner:
                continue
            source, handle = edge["source"], edge["sourceHandle"]
            is_inside = source in self.regions_of(node_id) or (inner and source == node_id)
            key = (source, f"inside {handle}" if is_inside else handle)
            if key in values:
                yield edge, values[key]

    def absent(self, node_id: str, given: Mapping[str, Any]) -> list[str]:
        into = [e for e in self.edges if e["target"] == node_id and not is_exec(e)]
        wired = [e["targetHandle"] for e in into if not is_inner_input(e)]
        return [name for name in wired if name not in given]

    # --- regions ---

    def run_region(self, region: str, given: dict[str, Any], run: Ended) -> dict[str, Any]:
        """Run a region's body as often as it says; the outputs seen outside, or ``_BodyError``."""
        kind, data = self.kind(region), self.data(region)
        carried = {name: given[name] for name in data.get("carry", {})}
        errors: list[dict[str, Any]] = []
        runs = run.inside[region] = []
        run.attempts[region] = 1
        exit_ = "done"
        goes_on = kind == "control.for_each" and data.get("on_item_error", "fail") != "fail"
        for index, item in self.items(kind, data, given):
            seen = {"index": index, "item": item, **carried}
            values = run.values | {(region, f"inside {name}"): seen[name] for name in seen}
            body = self.run_level(region, values)
            while body.failure and not goes_on and self.tries_again(region, body.failure, run):
                run.attempts[region] += 1
                body = self.run_level(region, values)
            runs.append(body)
            if body.failure and goes_on:
                errors += [{"index": index, **body.failure.told()}]
                continue
            if kind == "control.group":
                self.bring_out(region, runs, run)
                run.left = run.left or body.left
            if body.failure:
                raise _BodyError(body.failure)
            if kind == "control.group":
                return {"exec_next": [] if body.left else "done"}
            inner = {e["targetHandle"]: v for e, v in self.came(region, body.values, inner=True)}
            carried |= {name: inner.get(f"next.{name}", carried[name]) for name in carried}
            goes_on_without = body.left == "continue" or not self.is_asked(region)
            is_over = kind == "control.while" and not inner.get("again", goes_on_without)
            if body.left == "break" or is_over:
                break
        else:
            exit_ = "exhausted" if kind == "control.while" else "done"
        if exit_ == "exhausted" and not self.is_wired(region, exit_):
            raise LimitReachedError(f"stopped after {data['max_iterations']} iterations")
        self.bring_out(region, runs, run)
        told = errors if data.get("on_item_error") == "collect" else []
        return {"count": len(runs), "errors": told, **carried, "exec_next": exit_}

    @staticmethod
    def items(
        kind: str, data: Mapping[str, Any], given: Mapping[str, Any]
    ) -> Iterable[tuple[int, Any]]:
        if kind == "control.group":
            return [(0, None)]
        if kind == "control.while":
            return [(index, None) for index in range(data["max_iterations"])]
        items, size = list(given["items"]), data.get("batch")
        return enumerate(
            [items[at : at + size] for at in range(0, len(items), size)] if size else items
        )

    def bring_out(self, region: str, runs: list[Ended], to: Ended) -> None:
        """What leaves a body: a list of what came from a ``for_each``, the value from a group."""
        kind, is_aligned = self.kind(region), self.data(region).get("aligned", False)
        for edge in self.edges:
            key = (edge["source"], edge["sourceHandle"])
            is_leaving = region in self.regions_of(key[0]) - self.regions_of(edge["target"])
            if is_exec(edge) or not is_leaving or edge["target"] == region:
                continue
            brought = [run.values.get(key) for run in runs if is_aligned or key in run.values]
            if kind == "control.for_each":
                to.values[key] = brought
            elif kind == "control.group" and brought:
                to.values[key] = brought[0]

    # --- called flows ---

    def run_called(self, call: str, given: dict[str, Any], run: Ended) -> dict[str, Any]:
        """Run the flow that a node calls; what its RETURN was given, or ``_BodyError``."""
        meaning = self.meaning_of(call, given)
        body = meaning.run_level(None, {})
        run.inside[call] = [body]
        if body.failure:
            raise _BodyError(body.failure)
        if not body.reached:
            raise FlowFailedError("the flow ended without reaching a RETURN")
        return {**body.result, "exec_next": meaning.exits(f"{call}.")[body.reached]}

    def meaning_of(self, call: str, given: dict[str, Any]) -> "FlowMeaning":
        """One run of the flow that a node calls."""
        data, meaning = self.data(call), copy(self)
        meaning.read(moved(self.called[data["flow"]], f"{call}."), given)
        if data.get("variables") != "shared":
            meaning.variables = defaults(meaning.declared)
            return meaning
        own = {
            name: spec
            for name, spec in meaning.declared.items()
            if name not in self.declared or type_of(spec) != type_of(self.declared[name])
        }
        meaning.variables = SharedVariables(defaults(own), self.variables)
        return meaning

    def exits(self, prefix: str) -> dict[str, str]:
        """RETURN -> the exec output of the node that calls the flow."""
        returns = [n for n in self.nodes if self.kind(n) == "return" and not self.is_disabled(n)]
        names = {n: self.data(n).get("label") or n.removeprefix(prefix) for n in returns}
        return names if len(set(names.values())) > 1 else dict.fromkeys(names, "exec_out")

    # --- words ---

    def is_disabled(self, node_id: str) -> bool:
        return bool(self.nodes[node_id].get("disabled") or self.data(node_id).get("disabled"))

    def data(self, node_id: str) -> Mapping[str, Any]:
        data: Mapping[str, Any] = self.nodes[node_id].get("data", {})
        return data

    def _kind(self, node_id: str) -> str:
        """``flow_nodes.add``, ``logic.switch``, ``control.while``, ``start``."""
        path = self.nodes[node_id]["type"].removeprefix("rayflow_dagster.nodes.").split(".")
        path = path[:-1] if path[-1].endswith("Node") else path
        return ".".join(path).removeprefix("base.").rstrip("_")

    def tries_again(self, node_id: str, failure: Failure, run: Ended) -> bool:
        """Whether an attempt is left, may help, and is wanted after this class of error."""
        runs_others = self.kind(node_id) in (*REGIONS, "flow")
        of_flow = {} if runs_others else self.settings.get("retry", {})
        retry = self.data(node_id).get("retry", of_flow)
        own, names = original(failure.error), retry.get("retry_on")
        if self.kind(node_id) in INLINE or type(own).__name__ in ONCE:
            return False
        known = {"crash": NodeCrashedError, "timeout": TimeoutError, **vars(builtins)}
        known["builtins.ValueError"] = ValueError
        is_named = names is None or any(isinstance(own, known.get(name, ())) for name in names)
        return is_named and run.attempts[node_id] <= retry.get("max", 0)

    def is_asked(self, region: str) -> bool:
        """Whether anything is wired into ``again``: else a loop ends by ``control.break`` alone."""
        return any(e["target"] == region and e["targetHandle"] == "again" for e in self.edges)

    def is_wired(self, node_id: str, output: str) -> bool:
        """Whether an exec wire goes out of an exec output."""
        return any(is_from(edge, node_id, output) for edge in self.edges)


class _BodyError(Exception):
    """A body or a called flow has failed; its argument is the ``Failure``."""


def failure_of(node_id: str, error: BaseException) -> Failure:
    """Of a node, or of the one in its body."""
    found: Failure = error.args[0] if isinstance(error, _BodyError) else Failure(node_id, error)
    return found


def moved(flow: Flow, prefix: str) -> Flow:
    """A flow whose nodes have ids that begin so."""
    nodes = [{**node, "id": prefix + node["id"]} for node in flow["nodes"]]
    edges = [
        {**edge, "source": prefix + edge["source"], "target": prefix + edge["target"]}
        for edge in flow["edges"]
    ]
    return {**flow, "nodes": nodes, "edges": edges}


def is_circular(into: Incoming, waits: Mapping[str, set[str]]) -> bool:
    """Whether some nodes of a level would wait for each other."""
    sources = {n: {source for source, _ in into[n] if source} | waits[n] for n in into}
    try:
        TopologicalSorter(sources).prepare()
    except CycleError:
        return True
    return False


def behind(into: Incoming, node_ids: set[str]) -> set[str]:
    """These nodes of a level, and all that edges lead to from them."""
    found = set(node_ids)
    while fresh := {n for n in into if any(source in found for source, _ in into[n])} - found:
        found |= fresh
    return found


def started_by(into: Incoming, sequence: str, output: str, *, with_data: bool) -> set[str]:
    """What exec edges lead to through this output alone; ``with_data`` also what is driven by the
    data of that."""

    @cache
    def is_started(node_id: str | None) -> bool:
        edges = into.get(node_id or "", [])
        execs = [(source, edge) for source, edge in edges if is_exec(edge)]
        if execs:
            return all(is_from(e, sequence, output) or is_started(source) for source, e in execs)
        return with_data and any(is_started(source) for source, _ in edges)

    return {node_id for node_id in into if is_started(node_id)}


def is_from(edge: Edge, node_id: str, output: str) -> bool:
    """Whether it is an exec edge out of this exec output."""
    return is_exec(edge) and (edge["source"], edge["sourceHandle"]) == (node_id, output)


def is_exec(edge: Edge) -> bool:
    return bool(edge["type"] == "exec")


def is_inner_input(edge: Edge) -> bool:
    name = edge["targetHandle"]
    return not is_exec(edge) and (name == "again" or name.startswith("next."))


def is_of_body(edge: Edge) -> bool:
    return edge["sourceHandle"] in (("body",) if is_exec(edge) else ("item", "index"))


def defaults(declared: Mapping[str, Any]) -> dict[str, Any]:
    """The names that have one."""
    return {
        name: spec["default"]
        for name, spec in declared.items()
        if isinstance(spec, dict) and "default" in spec
    }


def type_of(spec: Any) -> str:
    return str(spec.get("type", "any") if isinstance(spec, dict) else spec)


def original(error: BaseException) -> BaseException:
    return error.original_error if type(error) is NodeExecutionError else error
