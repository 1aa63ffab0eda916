"""What follows from a node's failure: another attempt, its wired ``error`` output, or its end.

Both engines ask here, with the error, the node and how often it has failed before.
"""

import random
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rayflow_dagster import errors
from rayflow_dagster.types import GraphNode, NodeResult, RetrySpec


class Treatment(NamedTuple):
    """``again``: whether ``data.retry`` holds for an error. ``handled``: whether the node's wired
    ``error`` output takes it, once no attempt is left.
    """

    again: bool
    handled: bool


_MAY_PASS = Treatment(again=True, handled=True)
_STAYS = Treatment(again=False, handled=True)
_ENDS = Treatment(again=False, handled=False)

TREATMENTS: Mapping[type[BaseException], Treatment] = {
    BaseException: _MAY_PASS,  # whatever an author's code raises, SystemExit too; a dead actor
    errors.RayflowError: _MAY_PASS,
    errors.NodeExecutionError: _MAY_PASS,  # of a subclass; by itself it is what it is around
    errors.OutputError: _MAY_PASS,
    errors.NodeCrashedError: _MAY_PASS,
    errors.NodeTimeoutError: _MAY_PASS,
    errors.StorageError: _MAY_PASS,
    errors.ClusterError: _MAY_PASS,
    errors.FlowFailedError: _MAY_PASS,
    errors.TriggerError: _MAY_PASS,
    # A fault of the flow, its project or its surroundings: the next attempt finds it as it was.
    errors.DataNotAvailableError: _STAYS,
    errors.SecretError: _STAYS,
    errors.VariableError: _STAYS,
    errors.ExpressionError: _STAYS,
    errors.FlowAssertionError: _STAYS,
    errors.FlowRaisedError: _STAYS,
    errors.LimitReachedError: _STAYS,
    errors.NodeLoadError: _STAYS,
    errors.ValidationError: _STAYS,
    errors.FlowFormatError: _STAYS,
    errors.GraphBuildError: _STAYS,
    errors.InvalidInputsError: _STAYS,
    errors.FlowChangedError: _STAYS,
    errors.ProjectError: _STAYS,
    errors.NameCollisionError: _STAYS,
    # Nothing may start any more.
    errors.RunEndedError: _ENDS,
    errors.TimeIsOverError: _ENDS,
}
"""By class of error; what is not in it is treated as its nearest base."""

RETRY_WORDS: Mapping[str, frozenset[str]] = {
    "timeout": frozenset({"builtins.TimeoutError", "rayflow_dagster.errors.NodeTimeoutError"}),
    "crash": frozenset({"rayflow_dagster.errors.NodeCrashedError"}),
}
"""What ``retry_on`` may say beside names of classes -> the classes that it means."""


def treatment(error: BaseException) -> Treatment:
    """What is done about an error of a node."""
    own = _own(error)
    return next(TREATMENTS[base] for base in type(own).__mro__ if base in TREATMENTS)


def is_tried_again(node: GraphNode, error: BaseException, attempt: int) -> bool:
    """Whether a node that failed runs again; it has failed ``attempt`` times before."""
    retry = node.get("retry")
    if retry is None or attempt >= retry["max"]:
        return False
    return treatment(error).again and _is_named(retry.get("retry_on"), error)


def _is_named(retry_on: Iterable[str] | None, error: BaseException) -> bool:
    """Whether ``retry_on`` names an error's class or one of its bases; without it, all are."""
    if retry_on is None:
        return True
    names = errors.class_names(_own(error))
    return any(not RETRY_WORDS.get(each, {each}).isdisjoint(names) for each in retry_on)


def _own(error: BaseException) -> BaseException:
    """What went wrong in the node itself."""
    while isinstance(error, errors.NodeExecutionError) and type(error) is errors.NodeExecutionError:
        error = error.original_error
    return error


def is_handled(node: GraphNode, error: BaseException, attempt: int) -> bool:
    """Whether a failure is a success that fires the node's ``error`` output."""
    is_last = not is_tried_again(node, error, attempt)
    return is_last and node.get("handles_error", False) and treatment(error).handled


def error_of(result: NodeResult) -> BaseException:
    """The error of a failed node's result."""
    return result.get("exception") or RuntimeError(result["error"])


def retry_delay(retry: RetrySpec, attempt: int) -> float:
    """Seconds to wait before ``attempt`` (1 is the first retry).

    As Dagster's ``RetryPolicy``: linear is ``delay * attempt``, exponential is
    ``delay * (2 ** attempt - 1)``, and jitter picks a random part of it; beside that, no delay is
    longer than ``max_delay``.
    """
    delay = retry["delay"]
    match retry.get("backoff"):
        case "linear":
            delay *= attempt
        case "exponential":
            delay *= 2**attempt - 1
    most = retry.get("max_delay")
    delay = delay if most is None else min(delay, most)
    return random.random() * delay if retry.get("jitter") else delay
