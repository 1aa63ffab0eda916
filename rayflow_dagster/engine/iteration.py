"""Iterations of a body: what is asked for, what came of each, and when no other follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from rayflow_dagster.errors import NodeExecutionError, original_of
from rayflow_dagster.types import (
    HandledFailure,
    ItemError,
    NodeResult,
    NodeTotals,
    RegionSpec,
    RunDetails,
)
from rayflow_dagster.values.stored import StoredValue, is_inline
from rayflow_dagster.variables.calls import Calls

AGAIN = "again"
NEXT = "next."
MAX_TOLD = 100
"""Failures in a body that are told of one by one, where they are handled."""
_TOLD = ("logs", "logs_left_out", "stdout", "stderr")
"""What a region passes on of what its nodes log and print."""


@dataclass(slots=True)
class Iteration:
    """What an iteration came to: what it wired into the region's inner inputs, and what leaves the
    region, each by name and only where it came.

    ``told`` has, by node, what it logged and printed; ``variables`` a snapshot, where one was
    written.
    """

    inner: dict[str, Any] = field(default_factory=dict)
    brought: dict[str, Any] = field(default_factory=dict)
    previews: dict[str, str] = field(default_factory=dict)
    """Of those of ``brought`` that are not inline: a text, where one is known."""
    ended_by: str = ""
    """``break`` or ``continue`` where a node of that kind ended it."""
    error: NodeExecutionError | None = None
    seconds: float = 0.0
    nodes: dict[str, NodeTotals] = field(default_factory=dict)
    told: list[tuple[str, RunDetails]] = field(default_factory=list)
    handled: list[HandledFailure] = field(default_factory=list)
    """What failed and was handled, in bodies within it too: the first ``MAX_TOLD`` of it."""
    variables: bytes | None = None
    has_secrets: bool = False
    """Whether a node of it was given a secret."""
    stored: dict[tuple[str, str], StoredValue] = field(default_factory=dict)
    """(node, output) -> where its value is stored."""

    @property
    def handed_on(self) -> dict[str, Any]:
        """What it hands to the next iteration: nothing, where it failed."""
        return {
            name.removeprefix(NEXT): value
            for name, value in self.inner.items()
            if name.startswith(NEXT) and self.error is None
        }

    def note(self, result: NodeResult) -> None:
        """Keep of a node what is told at the region."""
        if result["status"] == "skipped":
            return
        node_id, details = result["node_id"], result.get("details", {})
        has_failed = result["status"] == "error" or "handled" in result
        add_totals(
            self.nodes,
            node_id,
            NodeTotals(ran=1, failed=int(has_failed), seconds=details.get("seconds", 0.0)),
        )
        for inner_id, totals in details.get("totals", {}).items():
            add_totals(self.nodes, inner_id, totals)
        handled = [*details.get("handled", ())]
        if "handled" in result:
            error = placed("", node_id, result["handled"], details.get("input_previews", {}))
            handled.append(HandledFailure(error, "its 'error' output handles that"))
        self.handled += handled[: MAX_TOLD - len(self.handled)]
        self.has_secrets = self.has_secrets or details.get("has_secrets", False)
        for output, location in details.get("stored", {}).items():
            self.stored[node_id, output] = StoredValue(location)
        if "variables" in details:
            self.variables = details["variables"]
        if not details.keys().isdisjoint(_TOLD):
            told: Any = {key: value for key, value in details.items() if key in _TOLD}
            self.told.append((node_id, told))


class Ended(NamedTuple):
    """What is kept of an iteration that does not run again: what left the region, and its error
    where the loop went on without it.
    """

    brought: dict[str, Any]
    error: ItemError | None = None


class Recorded(NamedTuple):
    """An iteration that has ended, as a log has it; ``carried`` is what has been handed on by then,
    and ``over`` whether no other follows.
    """

    number: int
    ended: Ended
    carried: dict[str, Any]
    over: bool


class ProgressLog(Protocol):
    """Where iterations that have ended are kept."""

    def append(self, recorded: Recorded, variables: bytes | None) -> None:
        """Keep one more, and the variables as it left them if it wrote any."""

    def flush(self) -> None:
        """Nothing more comes for now."""


@dataclass(slots=True)
class Progress:
    """How far a region has come, over all of its attempts in a run."""

    ended: dict[int, Ended] = field(default_factory=dict)
    """The iterations that have ended, by number."""
    carried: dict[str, Any] = field(default_factory=dict)
    """What they hand on."""
    over: bool = False
    """Whether one of them has ended the loop."""
    handed_on: dict[str, Any] = field(default_factory=dict)
    """Those of ``carried`` that an iteration has handed on, and that did not come from outside."""
    log: ProgressLog | None = None
    """Keeps the iterations that have ended for a run after this one."""

    def end(
        self,
        number: int,
        iteration: Iteration,
        error: ItemError | None = None,
        *,
        is_last: bool = False,
    ) -> None:
        """An iteration has ended, and does not run again; ``is_last``: no other follows."""
        ended = Ended(iteration.brought, error)
        over = self.over or is_last or iteration.ended_by == "break"
        recorded = Recorded(number, ended, self.handed_on | iteration.handed_on, over)
        self.take(recorded)
        if self.log is None:
            return
        if _can_be_recorded(recorded):
            self.log.append(recorded, iteration.variables)
        elif recorded.carried:  # what follows goes on from what is not there
            self.log = None

    def take(self, recorded: Recorded) -> None:
        """Go on from behind an iteration."""
        self.ended[recorded.number] = recorded.ended
        self.handed_on, self.over = recorded.carried, recorded.over
        self.carried = self.carried | recorded.carried

    def missing(self, count: int) -> list[range]:
        """The numbers below ``count`` that have not ended, in rows without gaps, the last first."""
        rows: list[range] = []
        begin = 0
        for number in (*sorted(self.ended), count):
            if begin < number:
                rows.append(range(begin, number))
            begin = number + 1
        return rows[::-1]


class SomeIterations(NamedTuple):
    """The iterations that a worker is asked for: from number ``first`` on, one for each item, or of
    a loop without items as many as it makes; none begins once ``seconds`` have passed.
    """

    first: int
    items: Sequence[Any] | None
    carried: Mapping[str, Any]
    seen: Mapping[str, Any]
    seconds: float
    store_in: str | None = None
    """What the folders begin with that large values are stored in."""
    calls: Calls = ()
    """The calls of flows that they are in."""


def given_to(spec: RegionSpec, outside: Mapping[str, Any], index: int, item: Any) -> dict[str, Any]:
    """What the START of an iteration gives, beside what comes from outside or is carried."""
    match spec["kind"]:
        case "for_each":
            return {**outside, "index": index, "item": item}
        case "while":
            return {**outside, "index": index}
    return dict(outside)


def placed(
    place: str, node_id: str, error: BaseException, previews: Mapping[str, str]
) -> NodeExecutionError:
    """An error of a node in a body, with where that stands, in bodies within it, too; ``previews``
    are those of the node's inputs.
    """
    inner = error if isinstance(error, NodeExecutionError) and error.where else None
    found = NodeExecutionError(inner.node_id if inner else node_id, original_of(error))
    where = inner.where if inner else f"node '{node_id}'"
    found.where = f"{place}, {where}" if place else where
    found.previews = inner.previews if inner else previews
    return found.with_traceback(error.__traceback__)


def _can_be_recorded(recorded: Recorded) -> bool:
    """Whether all values of it are small and plain, or stored."""
    values = (*recorded.ended.brought.values(), *recorded.carried.values())
    return all(isinstance(value, StoredValue) or is_inline(value) for value in values)


def add_totals(totals: dict[str, NodeTotals], node_id: str, more: NodeTotals) -> None:
    """Count what a node came to once more."""
    so_far = totals.setdefault(node_id, {"ran": 0, "failed": 0, "seconds": 0.0})
    so_far["ran"] += more["ran"]
    so_far["failed"] += more["failed"]
    so_far["seconds"] += more["seconds"]


def place_of(spec: RegionSpec, index: int) -> str:
    """What an iteration is called in texts."""
    if "call" in spec:
        return f"flow '{spec['call']['flow']}'"
    words = {"for_each": f"item {index}", "while": f"iteration {index}"}
    return words.get(spec["kind"], "")


def ends_loop(spec: RegionSpec, index: int, iteration: Iteration) -> bool:
    """Whether no iteration follows this one."""
    if iteration.ended_by == "break" or spec["kind"] in ("group", "flow"):
        return True
    if spec["kind"] == "for_each":
        return iteration.error is not None and spec["on_item_error"] == "fail"
    most = spec["max_iterations"]
    is_last = most is not None and index + 1 >= most
    return iteration.error is not None or is_last or not asks_again(spec, iteration)


def asks_again(spec: RegionSpec, iteration: Iteration) -> Any:
    """What a body hands to ``again``, a ref perhaps; true where it went on before that came, and
    where nothing is wired there: such a loop ends by ``control.break``.
    """
    is_wired = AGAIN in spec["inner"]
    return iteration.inner.get(AGAIN, not is_wired or iteration.ended_by == "continue")
