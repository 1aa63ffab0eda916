"""Fused bodies between processes: what a worker is asked for, and what it answers."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rayflow_dagster.engine.fused import Here, RunHere
from rayflow_dagster.engine.iteration import Iteration, SomeIterations
from rayflow_dagster.errors import NodeExecutionError, original_of
from rayflow_dagster.types import GraphNode, HandledFailure
from rayflow_dagster.values.crossing import Sent
from rayflow_dagster.values.stored import StoredValue, is_inline

from .sending import SentError, receive, send

ASKED = " asked"
"""The input that has what is asked for; beside it, what the body sees of outside has names."""


def asked_inputs(asked: SomeIterations) -> dict[str, Any]:
    """As inputs of a call: object refs stay inputs of their own, so that Ray resolves them."""
    carried = {f"{ASKED} {name}": value for name, value in asked.carried.items()}
    rest = [asked.first, asked.items, asked.seconds, asked.store_in, asked.calls]
    return {ASKED: rest, **carried, **asked.seen}


def _asked(inputs: Mapping[str, Any]) -> SomeIterations:
    first, items, seconds, store_in, calls = inputs[ASKED]
    own = f"{ASKED} "
    carried = {n.removeprefix(own): v for n, v in inputs.items() if n.startswith(own)}
    seen = {name: value for name, value in inputs.items() if not name.startswith(ASKED)}
    return SomeIterations(first, items, carried, seen, seconds, store_in, calls)


class FusedBody:
    """A body in a worker.

    Args:
        run: runs one node of it.
    """

    def __init__(self, region: GraphNode, run: RunHere) -> None:
        self._region = region
        self._here = Here(region["body"], run)

    @property
    def place(self) -> str | None:
        """What the iteration is called that runs; None in a region within the body."""
        place, *inner = self._here.places
        return None if inner else place

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What came of the iterations that are asked for: an output that has them.

        Raises:
            Exception: something cannot be sent.
        """
        found = self._here.iterations(self._region, _asked(inputs))
        return {ASKED: SentIterations.of(found)}


@dataclass(frozen=True, slots=True)
class _SentFailure:
    node_id: str
    where: str
    previews: Mapping[str, str]
    error: SentError

    @classmethod
    def of(cls, error: NodeExecutionError) -> "_SentFailure":
        original = error.original_error.with_traceback(error.__traceback__)
        return cls(error.node_id, error.where, dict(error.previews), send(original))

    def received(self) -> NodeExecutionError:
        received = receive(self.node_id, self.error)
        original = original_of(received) if type(received) is NodeExecutionError else received
        error = NodeExecutionError(self.node_id, original).with_traceback(received.__traceback__)
        error.where, error.previews = self.where, self.previews
        return error


@dataclass(frozen=True, slots=True)
class SentIterations:
    """Iterations on their way. ``is_plain``: opening them runs no code of authors."""

    is_plain: bool
    pickled: bytes | Sent

    @classmethod
    def of(cls, found: list[Iteration]) -> "SentIterations":
        """The iterations as they can cross.

        Raises:
            Exception: a value cannot be pickled.
        """
        if all(map(_is_plain, found)):
            return cls(True, pickle.dumps(found, protocol=5))
        return cls(False, Sent.of([_sendable(each) for each in found]))

    def opened(self) -> list[Iteration]:
        """The iterations again.

        Raises:
            Exception: a value cannot be made again.
        """
        if isinstance(self.pickled, bytes):
            found: list[Iteration] = pickle.loads(self.pickled)
            return found
        return [_received(each) for each in self.pickled.opened()]


def _is_plain(iteration: Iteration) -> bool:
    values = (*iteration.inner.values(), *iteration.brought.values())
    is_plain = all(isinstance(value, StoredValue) or is_inline(value) for value in values)
    return iteration.error is None and not iteration.handled and is_plain


def _sendable(iteration: Iteration) -> Any:
    """An iteration without errors, and those as they can cross."""
    values = [
        {name: v.opened() if isinstance(v, Sent) else v for name, v in each.items()}
        for each in (iteration.inner, iteration.brought)
    ]
    error = None if iteration.error is None else _SentFailure.of(iteration.error)
    handled = [(_SentFailure.of(error), how) for error, how in iteration.handled]
    plain = replace(iteration, inner=values[0], brought=values[1], error=None, handled=[])
    return plain, error, handled


def _received(
    sent: tuple[Iteration, _SentFailure | None, list[tuple[_SentFailure, str]]],
) -> Iteration:
    iteration, error, handled = sent
    return replace(
        iteration,
        error=None if error is None else error.received(),
        handled=[HandledFailure(failure.received(), how) for failure, how in handled],
    )
