from asyncio import CancelledError
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

from dagster import DagsterInvariantViolationError, Failure, RetryRequested

from rayflow_dagster import RayflowNode, errors
from rayflow_dagster.errors import RayflowError


class _AuthorsError(Exception):
    """Cannot be pickled: its first argument is no text, and it takes two."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class _MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("nothing to say")


OURS: list[RayflowError] = [
    errors.ValidationError(["one", "two"], "flow"),
    errors.FlowFormatError("not JSON"),
    errors.GraphBuildError("a cycle"),
    errors.NodeLoadError("a.B", "no such class"),
    errors.LimitReachedError("stopped after 3 iterations"),
    errors.InvalidInputsError(["input 'a' is missing"]),
    errors.DataNotAvailableError("'n1'", "x", "its source was skipped"),
    errors.NodeExecutionError("n1", ValueError("no")),
    errors.OutputError("n1", "no dict"),
    errors.NodeCrashedError("its actor died"),
    errors.NodeTimeoutError("node 'n1'", 5),
    errors.TimeIsOverError("the flow", 5),
    errors.VariableError("not declared"),
    errors.SecretError("n1", "input 'token'", "TOKEN", "it is not set"),
    errors.ExpressionError("a / b", "divide by zero"),
    errors.FlowAssertionError("n > 1", "too few", {"n": "1"}),
    errors.FlowRaisedError("no orders"),
    errors.FlowFailedError("no RETURN", "n1"),
    errors.FlowChangedError("changed"),
    errors.NameCollisionError({"a": ["x.json", "y.json"]}),
    errors.ClusterError("dead"),
    errors.RunEndedError(),
    errors.StorageError("s3://bucket"),
    errors.ProjectError("wrong settings"),
    errors.TriggerError("the folder is not there"),
    RayflowError("base"),
]
"""One of every class of the project."""

OTHERS: list[Callable[[], BaseException]] = [
    lambda: ValueError("wrong"),
    lambda: KeyError("missing"),
    lambda: TimeoutError("late"),
    lambda: ConnectionError("refused"),
    lambda: ImportError("not there"),
    MemoryError,
    lambda: RecursionError("deep"),
    lambda: StopIteration("over"),
    lambda: ExceptionGroup("several", [ValueError("one"), KeyError("two")]),
    lambda: SystemExit(3),
    lambda: KeyboardInterrupt("stop"),
    lambda: GeneratorExit("closed"),
    lambda: CancelledError("cancelled"),
    lambda: Failure("no use", allow_retries=False),
    lambda: RetryRequested(max_retries=3),
    lambda: DagsterInvariantViolationError("broken"),
    lambda: _AuthorsError(1, "own"),
    _MuteError,
    lambda: errors.NodeExecutionError("other", errors.VariableError("of another node")),
]
"""What else an author's code can raise."""

ERRORS: dict[str, Callable[[], BaseException]] = {
    f"{number}_{type(make()).__name__}": make
    for number, make in enumerate([*(partial(deepcopy, error) for error in OURS), *OTHERS])
}


class RaisesNode(RayflowNode):
    """Raise the error ERROR in the first TIMES attempts, then pass a value on. The variable COUNTER
    counts the attempts.
    """

    inputs = {"value": "any"}
    outputs = {"value": "any"}

    ERROR = ""
    TIMES = 1
    COUNTER = "attempts"

    def process(self, value: Any) -> dict[str, Any]:
        if self.variables.increment(self.COUNTER) <= self.TIMES:
            raise ERRORS[self.ERROR]()
        return {"value": value}
