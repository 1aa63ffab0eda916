"""``FlowMachine``: what happened in, what happens next out. It decides every run of a flow.

Two drivers obey it: the event loop of a direct run (``loop.py``) and the Dagster executor
(``defs/driving.py``). It knows no clock, thread, future, Ray or Dagster, so that both come to the
same, and so that a test can try any order of events.

What moves the execution of a node (its status in ``StateTracker``), and what a driver is told::

    pending -> running    all that it waits for has settled              Start
            -> completed  nothing into it fired, or the flow ended first Skip
    running -> completed  Settled: a success, or without what it needs   Keep
            -> failed     Settled: an error that is not tried again      Keep
            -> pending    Settled: an error that is, until it is Due     Wait
                          Dropped: nothing works on it yet               after Drop

``completed`` and ``failed`` are final. Once a RETURN is reached that ends the flow, or a node has
failed in one that stops then, nothing starts any more: what has begun goes on to its end, and what
has not is dropped. The exception is what hangs on the ``always`` of a group: it starts also where
the flow is about to fail. ``End`` comes once, when nothing runs and nothing waits to be tried
again.
"""

from collections import deque
from collections.abc import Iterable
from typing import Literal, NamedTuple

from rayflow_dagster.errors import FlowFailedError, RayflowError, describe, original_of
from rayflow_dagster.types import ALWAYS, ExecutionGraph, NodeResult

from .error_handler import ErrorHandler
from .failures import error_of, is_tried_again, retry_delay
from .planner import Counts, ExecutionPlanner, Plan, ends_at_return, skipped_result
from .tracker import StateTracker

AFTER_RETURN = "a RETURN was reached first"
NOTHING_FIRED = "no exec edge into it fired"

Outcome = Literal["returned", "failed", "nowhere", "interrupted"]


class Begun(NamedTuple):
    """The run begins."""


class Settled(NamedTuple):
    """An attempt of a node that was started has ended.

    ``again``: whether a failed node is tried again, where another keeps the books of that; None
    where ``data.retry`` and the table of errors decide.
    """

    result: NodeResult
    again: bool | None = None


class Due(NamedTuple):
    """The time of a ``Wait`` is over."""

    node_id: str


class Dropped(NamedTuple):
    """A ``Drop`` was obeyed. Of a node that something works on already, ``Settled`` comes later."""

    node_id: str


class Interrupted(NamedTuple):
    """Whoever started the run wants it to end."""


Event = Begun | Settled | Due | Dropped | Interrupted


class Start(NamedTuple):
    """Run a node; it has failed ``attempt`` times before."""

    node_id: str
    attempt: int


class Keep(NamedTuple):
    """A node that ran has settled for good."""

    result: NodeResult


class Skip(NamedTuple):
    """A node that will not run has settled; its result says why."""

    result: NodeResult


class Wait(NamedTuple):
    """Say that the node is due in so many seconds: it failed and is tried again."""

    node_id: str
    seconds: float


class Drop(NamedTuple):
    """A node that was started, or waits to be tried again, is wanted no longer."""

    node_id: str


class End(NamedTuple):
    """The run is over, and why. ``nowhere``: it ran to its end without reaching a RETURN."""

    outcome: Outcome


Instruction = Start | Keep | Skip | Wait | Drop | End


class FlowMachine:
    """Decides one run of one flow.

    Args:
        tracker: has what became of each node; the machine alone changes it. What it has before the
            run begins is what runs before this one came to: this one goes on from there.
    """

    def __init__(
        self,
        graph: ExecutionGraph,
        planner: ExecutionPlanner,
        tracker: StateTracker,
        error_handler: ErrorHandler,
    ) -> None:
        self._graph = graph
        self._planner = planner
        self._tracker = tracker
        self._error_handler = error_handler
        self._state = tracker.get_state()
        self._open: dict[str, None] = {}
        """The nodes that run or wait to be tried again, in the order in which they began to."""
        self._failures: dict[str, int] = {}
        """How often a node that is tried again has failed."""
        self._returns: deque[str] = deque()
        """RETURNs that are ready. The first of them runs, and no other overtakes it."""
        self._counts: Counts = {}
        """How far the joins have been counted, of those that may start in the usual way."""
        self._closing: Outcome | None = None
        """Set once nothing may start any more."""
        self._regardless: set[str] = set()
        """The nodes that start all the same in a run that is about to fail."""
        self._has_ended = False
        self.errors: list[str] = []
        """A line for each node that has failed."""

    def handle(self, event: Event) -> list[Instruction]:
        """What follows from an event, in the order in which it is to be done.

        Raises:
            RayflowError: the event is of a node that neither runs nor waits to be tried again.
        """
        instructions: list[Instruction]
        if isinstance(event, Settled):
            instructions = self._settled(event.result, event.again)
        elif isinstance(event, Due) and self._may_start(event.node_id):
            self._require_open(event.node_id)
            instructions = [self._start(event.node_id)]
        elif isinstance(event, (Due, Dropped)):
            self._require_open(event.node_id)
            del self._open[event.node_id]
            self._tracker.update_node_status(event.node_id, "pending")
            instructions = []
        elif isinstance(event, Begun):
            instructions = self._follow(self._graph["execution_order"])
        else:
            instructions = self._close("interrupted")
        if not self._open and not self._has_ended:
            instructions += self._end()
        return instructions

    def no_return_error(self) -> FlowFailedError:
        """Why a flow that ran to its end has no result: what failed on the way and was handled, and
        which exec output led nowhere.
        """
        state, graph = self._state, self._graph
        ends = [f"'{output}' of node '{node}'" for node, output in self._planner.loose_ends(state)]
        silent = [f"'{node}'" for node in self._planner.silent_nodes(state)]
        names = ", ".join(f"'{node_id}'" for node_id in graph["return_nodes"])
        results = ((node_id, state["node_states"][node_id]["result"]) for node_id in graph["nodes"])
        text = "".join(
            f"node '{node_id}' failed and its 'error' output handled that: "
            f"{describe(original_of(result['handled']))}; "
            for node_id, result in results
            if result is not None and "handled" in result
        )
        text += f"the flow ended without reaching a RETURN ({names})"
        if ends:
            text += f"; the exec output {', '.join(ends)} led nowhere; wire it to a RETURN"
        if silent:
            text += f"; node {', '.join(silent)} fired none of its exec outputs"
        return FlowFailedError(text)

    def _settled(self, result: NodeResult, again: bool | None) -> list[Instruction]:
        node_id = result["node_id"]
        self._require_open(node_id)
        if result["status"] == "error":
            again = self._is_tried_again(result) if again is None else again
            if again:
                return self._wait(node_id)
        del self._open[node_id]
        self._tracker.store_node_result(node_id, result)
        return [Keep(result), *self._after(result)]

    def _after(self, result: NodeResult) -> list[Instruction]:
        """What follows when a node has settled for good."""
        must_stop = self._note_failure(result)
        if self._closing is None and must_stop:
            return [*self._close("failed"), *self._follow_regardless(result)]
        if self._closing is not None:
            return self._follow_regardless(result)
        if self._tracker.is_complete() and ends_at_return(self._graph):
            return self._close("returned")
        node_id = result["node_id"]
        following: list[Instruction] = []
        if node_id in self._planner.returns and result["status"] != "success":
            self._returns.popleft()  # it was none after all: the next one's turn
            if self._returns:
                following.append(self._start(self._returns[0]))
        return following + self._follow(self._graph["nodes"][node_id]["dependents"], node_id)

    def _follow_regardless(self, result: NodeResult) -> list[Instruction]:
        """Start what hangs on ``always``, in a run that is about to fail."""
        if self._closing != "failed":
            return []
        node_id = result["node_id"]
        if ALWAYS in result.get("exec_fired", ()):
            self._regardless |= self._planner.behind(self._planner.led_to(node_id, ALWAYS))
        dependents = self._graph["nodes"][node_id]["dependents"]
        return self._obey(self._planner.plan(self._state, dependents, among=self._regardless))

    def _may_start(self, node_id: str) -> bool:
        if self._closing == "failed":
            return node_id in self._regardless
        return self._closing is None

    def _is_tried_again(self, result: NodeResult) -> bool:
        node_id = result["node_id"]
        attempt = self._failures.get(node_id, 0)
        return is_tried_again(self._graph["nodes"][node_id], error_of(result), attempt)

    def _wait(self, node_id: str) -> list[Instruction]:
        """Try a node again. Once nothing may start, it is as if it had never run."""
        self._tracker.update_node_status(node_id, "pending")
        self._failures[node_id] = attempt = self._failures.get(node_id, 0) + 1
        if not self._may_start(node_id):
            del self._open[node_id]
            return []
        return [Wait(node_id, retry_delay(self._graph["nodes"][node_id]["retry"], attempt))]

    def _note_failure(self, result: NodeResult) -> bool:
        """Keep the error of a failed node; whether nothing may start after it."""
        if result["status"] != "error":
            return False
        told = self._error_handler.handle_node_error(
            result["node_id"], error_of(result), self._state
        )
        self.errors.append(self._error_handler.format_error_message(told))
        return not self._error_handler.should_continue(told)

    def _follow(self, candidates: Iterable[str], settled: str | None = None) -> list[Instruction]:
        """Start and skip what can be, of these nodes and of what depends on the skipped ones."""
        return self._obey(self._planner.plan(self._state, candidates, settled, self._counts))

    def _obey(self, plan: Plan) -> list[Instruction]:
        skips = [self._skip(node_id, NOTHING_FIRED) for node_id in plan.skipped]
        return [*skips, *self._start_all(plan.ready)]

    def _start_all(self, node_ids: Iterable[str]) -> Iterable[Instruction]:
        for node_id in node_ids:
            if node_id in self._open or node_id in self._returns:
                continue  # a join that has had its turn, when the last of what leads to it settles
            if node_id in self._planner.returns:
                self._returns.append(node_id)
                if self._returns[0] != node_id:
                    continue
            yield self._start(node_id)

    def _start(self, node_id: str) -> Instruction:
        self._tracker.update_node_status(node_id, "running")
        self._open[node_id] = None
        return Start(node_id, self._failures.get(node_id, 0))

    def _skip(self, node_id: str, reason: str) -> Instruction:
        result = skipped_result(node_id, reason)
        self._tracker.store_node_result(node_id, result)
        return Skip(result)

    def _close(self, outcome: Outcome) -> list[Instruction]:
        """Nothing starts any more."""
        self._closing = outcome
        return [Drop(node_id) for node_id in self._open]

    def _end(self) -> list[Instruction]:
        self._has_ended = True
        outcome = self._outcome()
        left = self._planner.leftovers(self._state) if outcome == "returned" else ()
        return [*(self._skip(node_id, AFTER_RETURN) for node_id in left), End(outcome)]

    def _outcome(self) -> Outcome:
        if self._closing == "interrupted":
            return "interrupted"
        if self.errors:
            return "failed"
        return "returned" if self._tracker.is_complete() else "nowhere"

    def _require_open(self, node_id: str) -> None:
        if node_id not in self._open:
            raise RayflowError(f"node '{node_id}' neither runs nor waits to be tried again")
