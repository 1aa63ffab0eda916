"""What follows from a node's failure: another attempt, its wired ``error`` output, or its end.

Both engines ask here, with the error, the node and how often it has failed before.
"""

import random
from collections.abc import Mapping
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
    errors.StorageError: _MAY_PASS,
    errors.ClusterError: _MAY_PASS,
    errors.FlowFailedError: _MAY_PASS,
    errors.TriggerError: _MAY_PASS,
    # A fault of the flow, its project or its surroundings: the next attempt finds it as it was.
    errors.DataNotAvailableError: _STAYS,
    errors.SecretError: _STAYS,
    errors.VariableError: _STAYS,
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
}
"""By class of error; what is not in it is treated as its nearest base."""


def treatment(error: BaseException) -> Treatment:
    """What is done about an error of a node."""
    while isinstance(error, errors.NodeExecutionError) and type(error) is errors.NodeExecutionError:
        error = error.original_error
    return next(TREATMENTS[base] for base in type(error).__mro__ if base in TREATMENTS)


def is_tried_again(node: GraphNode, error: BaseException, attempt: int) -> bool:
    """Whether a node that failed runs again; it has failed ``attempt`` times before."""
    retry = node.get("retry")
    return retry is not None and attempt < retry["max"] and treatment(error).again


def is_handled(node: GraphNode, error: BaseException, attempt: int) -> bool:
    """Whether a failure is a success that fires the node's ``error`` output."""
    is_last = not is_tried_again(node, error, attempt)
    return is_last and node.get("handles_error", False) and treatment(error).handled


def error_of(result: NodeResult) -> BaseException:
    """The error of a failed node's result."""
    return result.get("exception") or RuntimeError(result["error"])


def retry_delay(retry: RetrySpec, attempt: int) -> float:
    """Seconds to wait before ``attempt`` (1 is the first retry), as Dagster's ``RetryPolicy``.

    Linear: ``delay * attempt``; exponential: ``delay * (2 ** attempt - 1)``; jitter picks a
    random part of it, as Dagster's full jitter does.
    """
    delay = retry["delay"]
    match retry.get("backoff"):
        case "linear":
            delay *= attempt
        case "exponential":
            delay *= 2**attempt - 1
    return random.random() * delay if retry.get("jitter") else delay
