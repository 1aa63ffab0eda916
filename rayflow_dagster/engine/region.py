"""A node that runs others and its inputs in, what came of its body out: of any region, and of those
that run it once. ``loops.py`` has the others.

A body whose nodes ask for nothing special is *fused*: one worker runs it whole, several iterations
by one call where they are short.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from rayflow_dagster.errors import (
    NodeExecutionError,
    TimeIsOverError,
    original_of,
    told,
)
from rayflow_dagster.port_check import check_inputs
from rayflow_dagster.runner import (
    MAX_LOG_LENGTH,
    NodeCall,
    NodeReply,
    part_outputs,
)
from rayflow_dagster.secrets.references import HIDDEN, Mask, MaskOfAll
from rayflow_dagster.types import (
    ALWAYS,
    ERROR_PORT,
    UNHEARD,
    ExecutionState,
    GraphNode,
    HandledFailure,
    HowFar,
    IterationRow,
    NodeResult,
    NodeTotals,
    OnTheWay,
    RegionSpec,
    RunDetails,
)
from rayflow_dagster.values.stored import StoredValue, is_inline
from rayflow_dagster.variables.calls import Call, Calls
from rayflow_dagster.variables.store import unpickled

from .computing import all_inputs, inputs_of_call
from .deadline import Deadline, nearest
from .executor import Dispatcher, error_result, error_value, success_result
from .failures import error_of
from .gatherer import DataGatherer
from .heard import Heard, HearNode
from .iteration import (
    MAX_TOLD,
    Iteration,
    Progress,
    SomeIterations,
    add_totals,
    given_to,
    place_of,
    placed,
)
from .stepping import Done

CALL_SECONDS = 0.1
"""How long one call of a fused body goes on with further iterations."""
MAX_ROWS = 1000
"""Iterations that a region's table has."""


class Body(Protocol):
    """Runs a body: a ``NodeRunner``."""

    @property
    def actors(self) -> Dispatcher:
        """Where its nodes run."""

    @property
    def calls(self) -> Calls:
        """The calls of flows that it is in."""

    @property
    def until(self) -> Deadline | None:
        """The first limit that holds for it."""

    def within(self, calls: Calls, until: Deadline | None) -> "Body":
        """The same body, in these calls, and with this limit."""

    async def iterate(
        self,
        spec: RegionSpec,
        given: Mapping[str, Any],
        place: str,
        store_in: str | None = None,
        hear: HearNode | None = None,
    ) -> Iteration:
        """Run it once."""


class Region:
    """One attempt of one region node; a subclass for each kind says how often its body runs.

    Args:
        body: runs the nodes of the body.
        gatherer: finds the inputs of the region node.
        progress: how far the attempts before this one have come.
        store_in: a folder to write large outputs to.
        on_the_way: is told now and then how far it has come, and what its nodes say.
    """

    def __init__(
        self,
        node: GraphNode,
        body: Body,
        gatherer: DataGatherer,
        progress: Progress,
        *,
        store_in: str | None = None,
        on_the_way: OnTheWay = UNHEARD,
    ) -> None:
        self._id = node["id"]
        self._node = node
        self._spec = node["region"]
        self._gatherer = gatherer
        self._actors: Dispatcher = body.actors
        self._body = body
        self._store_in = store_in
        self._tell, self._hear = on_the_way
        self._details = RunDetails()
        counts = self._spec["kind"] in ("for_each", "while")
        self._heard = Heard(on_the_way.hear, counts=counts)
        self._handled: list[HandledFailure] = []
        self._inputs: dict[str, Any] = {}
        self._seen: dict[str, Any] = {}
        """What only the body reads."""
        self._progress = progress
        self._previews: Mapping[str, str] = {}
        """Texts of what leaves a body that runs once."""
        self._variables_version = -1
        self._has_secrets = False
        """Whether a node of the body was given one."""
        self._rows: list[IterationRow] = []
        self._failed_rows: list[IterationRow] = []
        self._totals: dict[str, NodeTotals] = {}
        self._deadline: Deadline | None = None
        """The limit of this attempt, where the node has a ``timeout``."""
        self._before = len(progress.ended)
        """How many iterations had ended before this attempt."""
        self._began = time.monotonic()

    async def run(self, state: ExecutionState) -> NodeResult:
        """Run the body as often as it is to be run. Never raises for a fault of the flow."""
        self._deadline = Deadline.of_node(self._id, self._node.get("timeout"))
        if self._deadline is not None:
            until = nearest(self._deadline, self._body.until)
            self._body = self._body.within(self._body.calls, until)
        try:
            await self._take(state)
            result = await self._result(await self._run_body())
        except Exception as error:  # a node of the body failed, or an input was lost
            result = await self._failed(self._of_own_limit(error))
        finally:
            if self._deadline is not None:
                self._deadline.close()
            if self._progress.log is not None:
                self._progress.log.flush()
        if ALWAYS in self._node["metadata"].get("exec_outputs", ()):
            result["exec_fired"] = [*result.get("exec_fired", ()), ALWAYS]
            result["exec_next"] = None
        rows = [*sorted(self._failed_rows), *sorted(self._rows)]
        self._details["iterations"] = rows[:MAX_ROWS]
        self._details["totals"] = self._totals
        if self._handled:
            self._details["handled"] = self._handled
        if self._has_secrets:
            self._details["has_secrets"] = True
        result["details"] = {**self._details, **self._heard.rest(), **result.get("details", {})}
        return result

    def _of_own_limit(self, error: Exception) -> Exception:
        """The error, or that the node has reached its own limit, where that has ended its body."""
        is_own = self._deadline is not None and self._body.until is self._deadline
        if self._deadline is None or not is_own or not is_of_limit(error):
            return error
        return NodeExecutionError(self._id, self._deadline.exceeded())

    def _check_time(self) -> None:
        """Raises NodeExecutionError where nothing may begin any more."""
        until = self._body.until
        if until is not None and until.is_over:
            raise NodeExecutionError(self._id, until.cut_off())

    def _wait_at_most(self, seconds: float) -> float:
        """So long, or until nothing may begin any more."""
        until = self._body.until
        return seconds if until is None else min(seconds, max(0.0, until.left))

    @property
    def _items_in(self) -> str | None:
        """What the folders of the iterations begin with, where they are kept for another run."""
        return self._store_in if self._progress.log is not None else None

    async def _run_body(self) -> tuple[dict[str, Any], list[str]]:
        """The region's outputs as they are, and the exec outputs that fire.

        Raises:
            NodeExecutionError: the region fails.
        """
        raise NotImplementedError

    async def _take(self, state: ExecutionState) -> None:
        """Take the inputs: as values, but for those that only the body reads."""
        given = await all_inputs(self._gatherer, self._actors.fetch, self._id, state)
        self._seen = {name: given.pop(name) for name in self._spec["seen"] if name in given}
        self._inputs = await Done(self._actors.fetch(given))
        first = {name: self._inputs[name] for name in self._spec["carry"]}
        kinds = self._node["metadata"]["inputs"]
        check_inputs(self._id, {name: kinds[name] for name in first}, first)
        self._progress.carried = {**first, **self._progress.carried}

    async def _iterations(self, first: int, items: Sequence[Any] | None = None) -> list[Iteration]:
        """Run one iteration, number ``first``; of a fused body also those that follow, while that
        takes no time: never more than there are ``items``.
        """
        if self._spec["fused"]:
            found = await self._run_fused(first, items)
        else:
            outside = {**self._seen, **self._progress.carried}
            given = given_to(self._spec, outside, first, items[0] if items else None)
            place = place_of(self._spec, first)
            folders = None if self._items_in is None else f"{self._items_in}.{first}"
            hear = None if self._hear is None else partial(self._hear_node, place)
            found = [await self._body.iterate(self._spec, given, place, folders, hear)]
        for number, iteration in enumerate(found, first):
            self._note_for_table(number, iteration)
            self._keep_told(place_of(self._spec, number), iteration)
        return found

    def _note_for_table(self, number: int, iteration: Iteration) -> None:
        for node_id, totals in iteration.nodes.items():
            add_totals(self._totals, node_id, totals)
        if iteration.error is None:
            if len(self._rows) < MAX_ROWS:
                self._rows.append(IterationRow(number, "success", iteration.seconds, ""))
        elif len(self._failed_rows) < MAX_ROWS:
            text = told(iteration.error)
            row = IterationRow(number, "failed", iteration.seconds, text[:MAX_LOG_LENGTH])
            self._failed_rows.append(row)

    async def _run_fused(self, first: int, items: Sequence[Any] | None) -> list[Iteration]:
        seconds = 0.0 if self._spec["interval"] else CALL_SECONDS
        asked = SomeIterations(
            first, items, self._progress.carried, self._seen, seconds, self._items_in,
            self._body.calls,
        )  # fmt: skip
        try:
            hear = None if self._hear is None else self._heard.take_over
            return await Done(self._actors.run_body(self._id, asked, self._body.until, hear))
        except Exception as error:  # its worker died or was ended, with all that it was given
            count = 1 if items is None else len(items)
            places = (place_of(self._spec, first + at) for at in range(count))
            return [Iteration(error=_lost(place, self._id, error)) for place in places]

    def _keep_told(self, place: str, iteration: Iteration) -> None:
        """Keep of an iteration what is told at the region."""
        self._has_secrets = self._has_secrets or iteration.has_secrets
        if iteration.variables is not None:
            self._keep_variables(iteration.variables)
        self._heard.add(place, iteration.told)
        if self._has_secrets:
            for error in (iteration.error, *(each.error for each in iteration.handled)):
                if error is not None:
                    error.previews = dict.fromkeys(error.previews, HIDDEN)
        for error, how in iteration.handled:
            self._keep_handled(placed(place, self._id, error, {}), how)

    def _hear_node(self, place: str, node_id: str, details: RunDetails) -> None:
        """Take over what a node says before its iteration has ended. On any thread."""
        self._heard.add(place, [(node_id, details)])

    def _keep_handled(self, error: NodeExecutionError, how: str) -> None:
        """Keep a failure that was handled, and tell of it, unless there were many before."""
        if len(self._handled) == MAX_TOLD:
            return
        self._handled.append(HandledFailure(error, how))
        if self._tell is not None:
            text = f"{told(error)}; {how}"
            if len(self._handled) == MAX_TOLD:
                text += "; of further failures, the tables of the step tell"
            self._tell(text, error)

    def _keep_variables(self, snapshot: bytes) -> None:
        """Keep the newest variables: iterations may end in another order than they have written."""
        version = unpickled(snapshot).version
        if version >= self._variables_version:
            self._variables_version, self._details["variables"] = version, snapshot

    async def _failed(self, error: Exception) -> NodeResult:
        """The result of a region that has failed, with the inputs of the node in it that has."""
        if isinstance(error, NodeExecutionError) and error.previews:
            self._details["input_previews"] = dict(error.previews)
        return error_result(self._id, error)

    async def _result(self, came: tuple[dict[str, Any], list[str]]) -> NodeResult:
        """The region's result, its large outputs kept where nodes find them."""
        outputs, fired = came
        as_they_came = {name: value for name, value in outputs.items() if self._stays(value)}
        opened = {name: outputs[name] for name in outputs if name not in as_they_came}
        values = await self._values(opened)
        of_body = {*self._spec["leaves"], *self._spec["carry"]}
        if "call" in self._spec:
            of_body |= values.keys()
        call = NodeCall(self._id, self._node["class_path"])
        details: dict[str, Any] = {"previews": {}, "measures": {}, "stored": {}}
        kept: dict[str, Any] = {}
        for is_of_body in (True, False):
            own = {name: v for name, v in values.items() if (name in of_body) is is_of_body}
            mask = MaskOfAll() if is_of_body and self._has_secrets else Mask()
            reply = NodeReply(outputs=own, mask=mask)
            apart = part_outputs(call, reply, self._store_in)
            if reply.exception is not None:
                return error_result(self._id, reply.exception)
            kept |= reply.outputs
            kept |= {name: self._actors.keep(value) for name, value in apart.items()}
            told: Mapping[str, Any] = reply.details
            for key in details:
                details[key] |= told.get(key, {})
        kept |= as_they_came
        hide = MaskOfAll().hide if self._has_secrets else str
        for name, value in as_they_came.items():
            if name in self._previews:
                details["previews"][name] = hide(self._previews[name])
            if isinstance(value, StoredValue):
                details["stored"][name] = value.path
        result = success_result(self._id, {name: kept[name] for name in outputs}, fired)
        result["details"] = RunDetails(**details)  # type: ignore[typeddict-item]
        return result

    def _stays(self, value: Any) -> bool:
        """Whether an output goes on as it came: large, and where nodes find it."""
        if isinstance(value, list) or is_inline(value):
            return False
        return self._store_in is None or isinstance(value, StoredValue)

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

    @property
    def _count(self) -> int:
        """How many iterations have ended."""
        return len(self._progress.ended)

    def _is_out_of_time(self) -> bool:
        limit = self._spec["time_limit"]
        return limit is not None and time.monotonic() - self._began >= limit

    def _come(self, total: float | None, text: str) -> None:
        """Note how far it has come, for who hears it."""
        self._heard.come(HowFar(done=self._count, total=total, text=text))


class GroupRegion(Region):
    """Runs its body once."""

    _brought: Mapping[str, Any] = MappingProxyType({})

    async def _run_body(self) -> tuple[dict[str, Any], list[str]]:
        (iteration,) = await self._iterations(0)
        self._previews = iteration.previews
        if iteration.error is not None:
            self._brought = iteration.brought
            raise iteration.error
        return iteration.brought, [iteration.ended_by or "done"]

    async def _failed(self, error: Exception) -> NodeResult:
        """With what its body brought, for what hangs on ``error`` and ``always``."""
        failed = await super()._failed(error)
        value = error_value(self._id, error_of(failed))
        with_outputs = await self._result(({**self._brought, ERROR_PORT: value}, []))
        if with_outputs["status"] == "success":
            failed["outputs"] = with_outputs["outputs"]
            failed["details"] = with_outputs["details"]
        return failed


class FlowRegion(Region):
    """Runs another flow once, as a node."""

    async def _take(self, state: ExecutionState) -> None:
        """Take the inputs as they are: only the nodes of that flow read them."""
        self._seen = await inputs_of_call(self._gatherer, self._actors.fetch, self._id, state)

    async def _run_body(self) -> tuple[dict[str, Any], list[str]]:
        spec = self._spec["call"]
        call = Call.of(self._id, spec["own"], shares=spec["shares"])
        self._body = self._body.within((*self._body.calls, call), self._body.until)
        try:
            (iteration,) = await self._iterations(0)
        finally:
            if call.own:
                self._actors.end_call(call)
        if iteration.error is not None:
            raise iteration.error
        self._previews = iteration.previews
        return iteration.brought, [iteration.ended_by]


def is_of_limit(error: BaseException) -> bool:
    """Whether it ends everything in a region, whatever that does about errors."""
    return isinstance(original_of(error), TimeIsOverError)


def _lost(place: str, node_id: str, error: BaseException) -> NodeExecutionError:
    """The error of an iteration whose worker was lost."""
    found = NodeExecutionError(node_id, original_of(error))
    found.where = place or f"node '{node_id}'"
    return found.with_traceback(error.__traceback__)
