"""A region node and its inputs in, what the iterations of its body came to out.

An iteration is one run of the body's graph by the loop and the machine that run a flow. Its START
is the inner side of the region node, and a ``control.break`` or ``control.continue`` ends it as a
RETURN ends a flow.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from rayflow_dagster.errors import (
    InvalidInputsError,
    LimitReachedError,
    NodeExecutionError,
    original_of,
)
from rayflow_dagster.runner import (
    MAX_LOG_LENGTH,
    MAX_LOG_RECORDS,
    NodeCall,
    NodeReply,
    part_outputs,
)
from rayflow_dagster.types import (
    ALWAYS,
    BREAK_CLASS,
    ExecutionGraph,
    ExecutionState,
    GraphNode,
    ItemError,
    NodeResult,
    RegionKind,
    RunDetails,
)
from rayflow_dagster.values.preview import preview

from .coroutines import Coroutines
from .error_handler import ErrorHandler
from .executor import Dispatcher, error_result, error_value, success_result
from .gatherer import DataGatherer
from .loop import FlowLoop, RunNode
from .machine import FlowMachine
from .planner import ExecutionPlanner
from .stepping import Done
from .timers import after
from .tracker import StateTracker

AGAIN = "again"
NEXT = "next."
TELL_SECONDS = 5.0
"""How often, at most, a region tells how far it has come."""

Tell = Callable[[str], None]
"""Takes a line about how far a region has come."""


class Body(Protocol):
    """Runs the nodes of a region's body: a ``NodeRunner``."""

    @property
    def graph(self) -> ExecutionGraph:
        """The body."""

    @property
    def planner(self) -> ExecutionPlanner:
        """The body's."""

    @property
    def settled(self) -> Callable[[NodeResult], None]:
        """Is told what became of each node."""

    @property
    def run_node(self) -> RunNode:
        """Runs one node once."""


@dataclass(slots=True)
class Iteration:
    """What one run of the body came to: what it wired into the region's inner inputs, and what
    leaves the region, each by name and only where it came.
    """

    inner: dict[str, Any] = field(default_factory=dict)
    brought: dict[str, Any] = field(default_factory=dict)
    ended_by: str = ""
    """``break`` or ``continue`` where a node of that kind ended it."""
    error: NodeExecutionError | None = None


class Region:
    """One attempt of one region node; a subclass for each kind says how often its body runs.

    Args:
        gatherer: finds the inputs of the region node.
        actors: where the nodes of the body run.
        store_in: a folder to write large outputs to.
        tell: is told now and then how far it has come.
    """

    def __init__(
        self,
        node: GraphNode,
        body: Body,
        gatherer: DataGatherer,
        actors: Dispatcher,
        *,
        store_in: str | None = None,
        tell: Tell | None = None,
    ) -> None:
        self._id = node["id"]
        self._node = node
        self._spec = node["region"]
        self._gatherer = gatherer
        self._actors = actors
        self._body = body
        self._store_in = store_in
        self._tell = tell
        self._details = RunDetails()
        self._inputs: dict[str, Any] = {}
        self._seen: dict[str, Any] = {}
        """What only the body reads."""
        self._carried: dict[str, Any] = {}
        self._count = 0
        """How many iterations have ended."""
        self._told = self._began = time.monotonic()

    async def run(self, state: ExecutionState) -> NodeResult:
        """Run the body as often as it is to be run. Never raises for a fault of the flow."""
        try:
            await self._take(state)
            result = await self._result(await self._run_body())
        except Exception as error:  # a node of the body failed, or an input was lost
            result = error_result(self._id, error)
        if ALWAYS in self._node["metadata"].get("exec_outputs", ()):
            result["exec_fired"] = [*result.get("exec_fired", ()), ALWAYS]
            result["exec_next"] = None
        result["details"] = {**self._details, **result.get("details", {})}
        return result

    async def _run_body(self) -> tuple[dict[str, Any], list[str]]:
        """The region's outputs as they are, and the exec outputs that fire.

        Raises:
            NodeExecutionError: the region fails.
        """
        raise NotImplementedError

    async def _take(self, state: ExecutionState) -> None:
        """Take the inputs: as values, but for those that only the body reads."""
        given = self._gatherer.gather_inputs(self._id, state)
        self._seen = {name: given.pop(name) for name in self._spec["seen"] if name in given}
        self._inputs = await Done(self._actors.fetch(given))
        self._carried = {name: self._inputs[name] for name in self._spec["carry"]}

    async def _iteration(self, index: int, given: Mapping[str, Any]) -> Iteration:
        """Run the body once; ``given`` are values that are this iteration's own."""
        graph = self._body.graph
        tracker = StateTracker(graph)
        errors = ErrorHandler(graph.get("on_error", "stop"))
        machine = FlowMachine(graph, self._body.planner, tracker, errors)
        note = partial(self._note, index)
        loop = FlowLoop(graph, machine, tracker, self._body.run_node, self._actors, note)
        outcome = await loop.run({**self._seen, **self._carried, **given})
        cache = tracker.get_state()["data_cache"]
        iteration = Iteration(
            inner={
                name: cache[source]
                for name, sources in self._spec["inner"].items()
                for source in map(tuple, sources)
                if source in cache
            },
            brought={
                name: cache[node_id, output]
                for name, (node_id, output) in self._spec["leaves"].items()
                if (node_id, output) in cache
            },
        )
        reached = tracker.reached_return()
        if reached is not None:
            breaks = graph["nodes"][reached]["class_path"] == BREAK_CLASS
            iteration.ended_by = "break" if breaks else "continue"
        if outcome == "failed":
            iteration.error = self._placed(index, errors.get_error_report()["errors"][0])
        self._count += 1
        return iteration

    def _placed(self, index: int, info: Mapping[str, Any]) -> NodeExecutionError:
        """A node's error, with its place in this region."""
        error = info["error"]
        inner = error if isinstance(error, NodeExecutionError) and error.where else None
        node_id = inner.node_id if inner else info["node_id"]
        placed = NodeExecutionError(node_id, original_of(error)).with_traceback(error.__traceback__)
        here = self._place(index)
        where = inner.where if inner else f"node '{node_id}'"
        placed.where = f"{here}, {where}" if here else where
        return placed

    def _place(self, index: int) -> str:
        """What an iteration is called in texts."""
        return f"item {index}"

    def _note(self, index: int, result: NodeResult) -> None:
        """Keep of a node of the body what is told at the region."""
        details = result.get("details", {})
        if "variables" in details:
            self._details["variables"] = details["variables"]
        if not details.keys().isdisjoint(("logs", "stdout", "stderr")):
            self._keep_output(f"[{self._place(index)}, {result['node_id']}]", details)
        self._body.settled(result)

    def _keep_output(self, place: str, details: RunDetails) -> None:
        logs = self._details.setdefault("logs", [])
        for record in details.get("logs", ())[: MAX_LOG_RECORDS - len(logs)]:
            logs.append({**record, "message": f"{place} {record['message']}"[:MAX_LOG_LENGTH]})
        for stream in ("stdout", "stderr"):
            if stream in details:
                so_far = self._details.get(stream, "")
                self._details[stream] = (so_far + details[stream])[-MAX_LOG_LENGTH * 10 :]

    async def _result(self, came: tuple[dict[str, Any], list[str]]) -> NodeResult:
        """The region's result, its large outputs kept where nodes find them."""
        outputs, fired = came
        reply = NodeReply(outputs=await self._values(outputs))
        call = NodeCall(self._id, self._node["class_path"])
        for name, value in part_outputs(call, reply, self._store_in).items():
            reply.outputs[name] = self._actors.keep(value)
        if reply.exception is not None:
            return error_result(self._id, reply.exception)
        result = success_result(self._id, reply.outputs, fired)
        result["details"] = reply.details
        return result

    async def _values(self, outputs: dict[str, Any]) -> dict[str, Any]:
        """The outputs with every ref in them, or in a list among them, as the value itself."""
        flat = {name: value for name, value in outputs.items() if not isinstance(value, list)}
        for name, value in outputs.items():
            if isinstance(value, list):
                flat |= {f"{name}[{at}]": each for at, each in enumerate(value)}
        opened = await Done(self._actors.fetch(flat))
        return {
            name: [opened[f"{name}[{at}]"] for at in range(len(value))]
            if isinstance(value, list)
            else opened[name]
            for name, value in outputs.items()
        }

    async def _wait_for_next(self, began: float) -> None:
        """Wait until ``interval`` seconds have passed since an iteration began."""
        seconds = began + self._spec["interval"] - time.monotonic()
        if seconds > 0:
            await Done(after(seconds))

    def _is_out_of_time(self) -> bool:
        limit = self._spec["time_limit"]
        return limit is not None and time.monotonic() - self._began >= limit

    def _say(self, text: Callable[[], str]) -> None:
        """Tell how far it has come, if that was not told a moment ago."""
        now = time.monotonic()
        if self._tell is not None and now - self._told >= TELL_SECONDS:
            self._told = now
            self._tell(text())


class GroupRegion(Region):
    """Runs its body once."""

    async def _run_body(self) -> tuple[dict[str, Any], list[str]]:
        iteration = await self._iteration(0, {})
        if iteration.error is not None:
            raise iteration.error
        return iteration.brought, [iteration.ended_by or "done"]

    def _place(self, index: int) -> str:  # noqa: ARG002 - it runs once
        return ""


class WhileRegion(Region):
    """Runs its body until that does not ask for another iteration."""

    async def _run_body(self) -> tuple[dict[str, Any], list[str]]:
        while True:
            began = time.monotonic()
            iteration = await self._iteration(self._count, {"index": self._count})
            if iteration.error is not None:
                raise iteration.error
            self._carried |= _handed_on(iteration)
            asked = {AGAIN: iteration.inner.get(AGAIN, False)}
            again = await Done(self._actors.fetch(asked))
            if iteration.ended_by == "break" or not again[AGAIN]:
                return self._outputs(), ["done"]
            if why := self._limit_reached():
                if not self._spec["exhausted"]:
                    raise NodeExecutionError(self._id, LimitReachedError(why))
                return self._outputs(), ["exhausted"]
            self._say(lambda: f"{self._count} iterations have ended")
            await self._wait_for_next(began)

    def _limit_reached(self) -> str:
        most = self._spec["max_iterations"]
        if most is not None and self._count >= most:
            return f"stopped after {most} iterations"
        return f"stopped after {self._spec['time_limit']} s" if self._is_out_of_time() else ""

    def _outputs(self) -> dict[str, Any]:
        return {"count": self._count, **self._carried}

    def _place(self, index: int) -> str:
        return f"iteration {index}"


class ForEachRegion(Region):
    """Runs its body for each item, several side by side where none hands anything on."""

    async def _run_body(self) -> tuple[dict[str, Any], list[str]]:
        self._items = self._batches()
        self._begun = 0
        self._next_start = 0.0
        self._is_over = self._is_late = False
        """Whether no iteration starts any more, and whether that is for want of time."""
        self._brought: dict[int, dict[str, Any]] = {}
        self._first_failed: tuple[int, NodeExecutionError] | None = None
        self._errors: dict[int, ItemError] = {}
        side_by_side = 1 if self._spec["carry"] else self._actors.width
        self._width = self._spec["parallel"] or side_by_side
        self._running: Coroutines[int, Iteration] = Coroutines(self._ended, _raised)
        try:
            self._fill()
            await self._running.finish()
        finally:
            self._running.close()
        if self._first_failed is not None:
            raise self._first_failed[1]
        if self._is_late:
            limit = f"{self._spec['time_limit']} s, {self._count} of {len(self._items)} items done"
            raise NodeExecutionError(self._id, LimitReachedError(f"stopped after {limit}"))
        return self._outputs(), ["done"]

    def _batches(self) -> Sequence[Any]:
        items, size = self._inputs["items"], self._spec["batch"]
        if not isinstance(items, (list, tuple)):
            raise InvalidInputsError([f"input 'items' takes a list, not {preview(items, 80)}"])
        if size is None:
            return items
        return [items[at : at + size] for at in range(0, len(items), size)]

    def _fill(self) -> None:
        """Begin as many iterations as may be under way."""
        while not self._is_over and self._begun < len(self._items):
            if len(self._running) >= self._width:
                return
            index, self._begun = self._begun, self._begun + 1
            now = time.monotonic()
            wait = self._next_start - now
            self._next_start = max(self._next_start, now) + self._spec["interval"]
            if wait > 0:
                self._running.start_later(index, wait, partial(self._start, index))
            else:
                self._start(index)

    def _start(self, index: int) -> None:
        self._is_late = self._is_late or self._is_out_of_time()
        self._is_over = self._is_over or self._is_late
        if not self._is_over:
            given = {"item": self._items[index], "index": index}
            self._running.start(index, self._iteration(index, given))

    def _ended(self, index: int, iteration: Iteration) -> None:
        if iteration.error is not None:
            self._note_error(index, iteration.error)
        else:
            self._carried |= _handed_on(iteration)
        if iteration.brought:
            self._brought[index] = iteration.brought
        self._is_over = self._is_over or iteration.ended_by == "break"
        self._say(lambda: self._progress)
        self._fill()

    def _note_error(self, index: int, error: NodeExecutionError) -> None:
        kind = self._spec["on_item_error"]
        if kind == "fail":
            self._is_over = True
            if self._first_failed is None or index < self._first_failed[0]:
                self._first_failed = index, error
        elif kind == "collect":
            self._errors[index] = {"index": index, **error_value(self._id, error)}

    @property
    def _progress(self) -> str:
        done, of = self._count, len(self._items)
        seconds = time.monotonic() - self._began
        left = seconds / done * (of - done) if done else 0.0
        failed = f", {len(self._errors)} failed" if self._errors else ""
        return f"{done} of {of} items done{failed}, {done / seconds:.3g}/s, about {left:.0f} s left"

    def _outputs(self) -> dict[str, Any]:
        errors = [self._errors[index] for index in sorted(self._errors)]
        return {"count": self._count, "errors": errors, **self._carried, **self._lists()}

    def _lists(self) -> dict[str, list[Any]]:
        """What leaves the body, each as the list of what came, in the order of the items."""
        if self._spec["aligned"]:
            per_item = [self._brought.get(index, {}) for index in range(self._begun)]
            return {n: [each.get(n) for each in per_item] for n in self._spec["leaves"]}
        came = [self._brought[index] for index in sorted(self._brought)]
        return {n: [each[n] for each in came if n in each] for n in self._spec["leaves"]}


REGIONS: Mapping[RegionKind, type[Region]] = {
    "for_each": ForEachRegion,
    "while": WhileRegion,
    "group": GroupRegion,
}


def _handed_on(iteration: Iteration) -> dict[str, Any]:
    """What an iteration hands to the next."""
    return {
        name.removeprefix(NEXT): value
        for name, value in iteration.inner.items()
        if name.startswith(NEXT)
    }


def _raised(_: int, error: BaseException) -> Iteration:
    raise error
