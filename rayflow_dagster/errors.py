"""Every exception of the project.

::

    RayflowError
    ├── ValidationError            a flow breaks rules; carries all findings
    │   └── FlowFormatError        a flow file is not readable as a flow at all
    ├── GraphBuildError            a validated flow could not be compiled
    ├── NodeLoadError              (also ImportError) a node class cannot be found or imported
    ├── InvalidInputsError         the inputs of a run are unknown, missing or mistyped
    ├── DataNotAvailableError      an input of a node has no value
    ├── NodeExecutionError         a node failed
    │   └── OutputError            what a node returned does not fit its declaration
    ├── NodeCrashedError           (also RuntimeError) the process that ran a node died
    ├── NodeTimeoutError           (also TimeoutError) a node took longer than its timeout
    ├── VariableError              a variable is undeclared, read-only or mistyped
    ├── SecretError                a secret cannot be looked up where a node runs
    ├── ExpressionError            an expression has no value for what it reads
    ├── FlowAssertionError         (also AssertionError) what a flow asserts does not hold
    ├── FlowRaisedError            a flow says itself that it has failed
    ├── FlowFailedError            a flow ended without reaching a RETURN
    ├── FlowChangedError           a re-execution whose flow is no longer the same
    ├── ProjectError               the project's own settings are wrong
    ├── NameCollisionError         two flows or nodes claim one name
    ├── StorageError               values cannot be stored where the settings say
    └── ClusterError               the Ray cluster cannot be reached or cannot run this
        └── RunEndedError          a node was to run after its run had ended
            └── TimeIsOverError    what a node is in took longer than its timeout

Exceptions carry facts and build their text from them; made from one text, they have that text and
no facts. Each survives pickling (a test pickles every one), because they travel between Ray actors
and processes.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .encodable import encodable

MAX_MESSAGE = 10_000
"""Characters of an author's error message that are passed on."""


def message_of(error: object) -> str:
    """The message of any exception: bounded, one that can be written, and never raising itself."""
    try:
        text = encodable(str(error))
    except Exception as problem:  # the author's __str__ may fail in any way
        return f"<its message cannot be shown: {type(problem).__name__}>"
    if len(text) <= MAX_MESSAGE:
        return text
    return f"{text[:MAX_MESSAGE]}... ({len(text):,} characters)"


def original_of(error: BaseException) -> BaseException:
    """What went wrong in the node, of the error that tells of it."""
    return error.original_error if isinstance(error, NodeExecutionError) else error


def describe(error: BaseException) -> str:
    """``Type: message`` of any exception, or its type alone where it says nothing; of one of the
    project, whose message is written for the user, that alone.
    """
    message = message_of(error)
    if message and type(error).__module__ == __name__:
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def told(error: BaseException) -> str:
    """An error of a node in a line: where in a body it came up, its class and its message."""
    where = error.where if isinstance(error, NodeExecutionError) else ""
    text = describe(original_of(error))
    return f"{where}: {text}" if where else text


def class_names(error: BaseException) -> tuple[str, ...]:
    """The names of an error's class and of its bases, plain and dotted, the nearest first; of the
    error that it stands in for, if it does.
    """
    kept: tuple[str, ...] | None = getattr(type(error), "stands_in_for", None)
    if kept is not None:
        return kept
    classes = type(error).__mro__[:-1]  # without object
    return tuple(
        name
        for each in classes
        for name in (each.__name__, f"{each.__module__}.{each.__qualname__}")
    )


def stand_in(names: tuple[str, ...], message: str) -> RuntimeError:
    """An error for one that cannot be passed on; ``names`` are that one's."""
    look = {"__module__": "builtins", "stands_in_for": names}
    error: RuntimeError = type(names[0], (RuntimeError,), look)(message)
    return error


class RayflowError(Exception):
    """Base of every error of this project. ``str(error)`` is written for the user."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls cls(*self.args), and args is the built text, not the facts.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[RayflowError], args: tuple[Any, ...], facts: dict[str, Any]) -> RayflowError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(facts)
    return error


class ValidationError(RayflowError):
    """A flow breaks rules. ``findings`` are the messages, one per broken rule and place."""

    def __init__(self, findings: Sequence[str] | str, flow: str | None = None) -> None:
        self.findings = [findings] if isinstance(findings, str) else list(findings)
        self.flow = flow
        where = f" in flow {flow!r}" if flow else ""
        if len(self.findings) == 1:
            text = f"1 error{where}: {self.findings[0]}"
        else:
            listed = "".join(f"\n  - {finding}" for finding in self.findings)
            text = f"{len(self.findings)} errors{where}:{listed}"
        super().__init__(text)


class FlowFormatError(ValidationError):
    """A flow file is not readable as a flow: not JSON, wrong encoding, no nodes, and the like."""


class GraphBuildError(RayflowError):
    """Failed to build the execution graph of a flow."""


class NodeLoadError(RayflowError, ImportError):
    """A node class cannot be found, is not allowed, or fails to import."""

    def __init__(self, class_path: str, reason: str | None = None) -> None:
        if reason is None:
            class_path, reason, text = "", class_path, class_path
        else:
            text = f"cannot load node class '{class_path}': {reason}"
        self.class_path = class_path
        self.reason = reason
        super().__init__(text)


class InvalidInputsError(RayflowError):
    """The inputs of a run do not fit what START declares. ``problems``: one text per input."""

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("; ".join(self.problems))


class DataNotAvailableError(RayflowError):
    """An input of a node has no value: nothing wired arrived, and no constant or default is set."""

    def __init__(self, node: str, input_name: str | None = None, reason: str = "") -> None:
        if input_name is None:
            node, reason, text = "", node, node
        else:
            because = f": {reason}" if reason else ""
            text = f"node {node} input '{input_name}' has no value{because}"
        self.node = node
        self.input_name = input_name
        self.reason = reason
        super().__init__(text)


class NodeExecutionError(RayflowError):
    """A node failed.

    ``node_id`` is the node, ``original_error`` what went wrong in it. ``where`` says where in the
    body of a region the node stands, as ``item 3, node 'fetch'``; "" for one that is in none.
    ``previews`` has, of one that is in a body, a text of each of its inputs.
    """

    where = ""
    previews: Mapping[str, str] = MappingProxyType({})

    def __init__(self, node_id: str, original_error: BaseException | None = None) -> None:
        if original_error is None:
            node_id, original_error, text = "", RuntimeError(node_id), node_id
        else:
            text = f"Node {node_id} failed: {message_of(original_error)}"
        self.node_id = node_id
        self.original_error = original_error
        super().__init__(text)


class OutputError(NodeExecutionError):
    """What ``process`` returned does not fit the node's declared outputs."""

    def __init__(self, node_id: str, reason: str | None = None) -> None:
        super().__init__(node_id, None if reason is None else TypeError(reason))
        self.reason = node_id if reason is None else reason


class NodeCrashedError(RayflowError, RuntimeError):
    """The process that ran a node died, or Ray lost it. ``signal`` is the name of the signal that
    ended it, and ``code`` its exit code, where they are known.
    """

    def __init__(self, message: str, *, signal: str | None = None, code: int | None = None) -> None:
        self.signal = signal
        self.code = code
        super().__init__(message)


class NodeTimeoutError(RayflowError, TimeoutError):
    """A node, what it runs, or a flow took longer than its ``timeout`` of so many ``seconds``."""

    def __init__(self, whose: str, seconds: float | None = None) -> None:
        self.seconds = seconds
        super().__init__(whose if seconds is None else f"{whose} {_took_longer(seconds)}")


def _took_longer(seconds: float) -> str:
    return f"took longer than its timeout of {seconds:g} s"


class VariableError(RayflowError):
    """A variable is undeclared, read-only, or written with a value of another type."""


class SecretError(RayflowError):
    """A secret cannot be looked up where a node runs. It never has the value.

    Its text leaves the node out: whoever shows the error of a node names that.
    """

    def __init__(
        self, node_id: str, where: str = "", name: str = "", reason: str | None = None
    ) -> None:
        if reason is None:
            node_id, reason, text = "", node_id, node_id
        else:
            text = f"{where}: secret '{name}': {reason}"
        self.node_id = node_id
        self.where = where
        self.name = name
        self.reason = reason
        super().__init__(text)


class ExpressionError(RayflowError):
    """An expression has no value: it divides by zero, reads what it cannot take, and the like.
    ``where`` is what its text begins with, to tell the place of the expression.
    """

    def __init__(self, expression: str, reason: str | None = None, where: str = "") -> None:
        if reason is None:
            expression, reason, text = "", expression, expression
        else:
            text = f"{where}the expression '{expression}' has no value: {reason}"
        self.expression = expression
        self.reason = reason
        super().__init__(text)


class FlowAssertionError(RayflowError, AssertionError):
    """What a flow asserts does not hold. ``previews``: the inputs that the condition was about."""

    def __init__(
        self, condition: str, message: str | None = None, previews: Mapping[str, str] | None = None
    ) -> None:
        self.condition = "" if message is None else condition
        self.previews = dict(previews or {})
        if message is None:
            super().__init__(condition)
            return
        inputs = ", ".join(f"{name} = {text}" for name, text in self.previews.items())
        about = f"{condition} does not hold" + (f" with {inputs}" if inputs else "")
        super().__init__(f"{message} ({about})" if message else about)


class FlowRaisedError(RayflowError):
    """A flow says itself that it has failed, with the message that its author wrote."""


class LimitReachedError(RayflowError):
    """A loop was stopped by its ``max_iterations`` or ``time_limit``."""


class FlowFailedError(RayflowError):
    """A flow ended without success. ``node_id`` is the failing node, when one failed."""

    def __init__(self, message: str, node_id: str | None = None) -> None:
        self.node_id = node_id
        super().__init__(message)


class FlowChangedError(RayflowError):
    """A re-execution was asked for, but the flow is no longer the one the first run had."""


class ProjectError(RayflowError):
    """The project's own settings, in its ``pyproject.toml``, are wrong."""


class NameCollisionError(RayflowError):
    """Several things claim one name. ``claims``: name -> who claims it."""

    def __init__(self, claims: Mapping[str, Sequence[str]] | str) -> None:
        if isinstance(claims, str):
            self.claims: dict[str, list[str]] = {}
            super().__init__(claims)
            return
        self.claims = {name: list(who) for name, who in claims.items()}
        lines = [f"'{name}' is claimed by {', '.join(who)}" for name, who in self.claims.items()]
        super().__init__("; ".join(lines))


class TriggerError(RayflowError):
    """What starts a flow by itself cannot tell whether to start it; the message says why."""


class StorageError(RayflowError):
    """Values cannot be stored at the place that ``settings.storage`` names."""


class ClusterError(RayflowError):
    """The Ray cluster cannot be started, reached, or cannot ever run what was asked."""


class RunEndedError(ClusterError):
    """A node was to run, or still ran, when its run had ended."""

    def __init__(self, message: str = "the run has ended") -> None:
        super().__init__(message)


class TimeIsOverError(RunEndedError):
    """A node was to run, or still ran, in a loop, a group, a call or a flow that took longer than
    its ``timeout``: neither its own ``retry`` nor its ``error`` output is for that.
    """

    def __init__(self, whose: str, seconds: float | None = None) -> None:
        super().__init__(whose if seconds is None else f"{whose} {_took_longer(seconds)}")
