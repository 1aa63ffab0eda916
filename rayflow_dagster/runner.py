"""Running one node once: the code that surrounds an author's ``process``, wherever it runs.

It applies constants, checks what goes in and what comes out against the declared ports, decides
which exec outputs fired, and collects log records. Actors and the in-process fake share it.
"""

import asyncio
import inspect
import logging
import numbers
import pickle
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pickle import PicklingError
from typing import Any

from .errors import NodeExecutionError, describe, message_of
from .node import RayflowNode
from .port_check import check_inputs, check_returned
from .secrets.lookup import SecretLookup, SecretVariables, shown_error
from .secrets.references import Mask
from .types import HowFar, LogRecord, NodeMetadata, RunDetails
from .values.crossing import Sent, crossed, not_read, not_sent
from .values.measures import measures
from .values.preview import preview
from .values.stored import StoredValue, check_seen, is_inline, is_url
from .values.storing import store_value
from .values.unchanged import fingerprint, handed_on
from .variables.store import WriteTracking, pickled

MAX_LOG_RECORDS = 1000
MAX_LOG_LENGTH = 10_000
MAX_PROGRESS_LENGTH = 200
_UNPICKLED = (TypeError, AttributeError, PicklingError, RecursionError)
"""What pickling raises."""


@dataclass(frozen=True, slots=True)
class NodeCall:
    """One execution of one node: which class, with which constants."""

    node_id: str
    class_path: str
    constants: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class NodeReply:
    """What became of a ``NodeCall``.

    ``outputs`` are values or object refs by output name; ``exception`` is the node's own, with
    its traceback, and then nothing fired. ``mask`` hides the secrets that the node was given.
    ``handed_on`` names the outputs that are an input just as it came, and that input.
    """

    outputs: dict[str, Any] = field(default_factory=dict)
    exec_fired: tuple[str, ...] = ()
    exception: BaseException | None = None
    details: RunDetails = field(default_factory=RunDetails)
    mask: Mask = field(default_factory=Mask)
    handed_on: dict[str, str] = field(default_factory=dict)


def run_node_class(
    make: Callable[[], RayflowNode],
    metadata: NodeMetadata,
    call: NodeCall,
    inputs: Mapping[str, Any],
    variables: WriteTracking,
    environment: Mapping[str, str] | None = None,
    reply: NodeReply | None = None,
) -> NodeReply:
    """Run ``process`` of the object that ``make`` gives. Never raises for a fault of the node.

    ``make`` is the node class, or what hands out a resident object of it. An ``async`` process
    runs in an event loop of its own. Secrets are looked up in ``environment``; None for this
    process's. ``reply`` is the one that is filled, for who looks at it while the node runs.
    """
    execution = _Execution(
        metadata, call, inputs, variables, SecretLookup(call.node_id, environment), reply
    )
    with execution:
        returned = execution.process(make)
        if inspect.isawaitable(returned):
            returned = _finished(returned)
        execution.finish(returned)
    return execution.reply


async def await_node_class(
    make: Callable[[], RayflowNode],
    metadata: NodeMetadata,
    call: NodeCall,
    inputs: Mapping[str, Any],
    variables: WriteTracking,
    environment: Mapping[str, str] | None = None,
    reply: NodeReply | None = None,
) -> NodeReply:
    """As ``run_node_class``, with an ``async`` process on the event loop that runs already."""
    execution = _Execution(
        metadata, call, inputs, variables, SecretLookup(call.node_id, environment), reply
    )
    with execution:
        returned = execution.process(make)
        if inspect.isawaitable(returned):
            returned = await returned
        execution.finish(returned)
    return execution.reply


class _Execution:
    """One execution: what surrounds ``process``. As a block, it makes any error the node's."""

    def __init__(
        self,
        metadata: NodeMetadata,
        call: NodeCall,
        inputs: Mapping[str, Any],
        variables: WriteTracking,
        secrets: SecretLookup,
        reply: NodeReply | None,
    ) -> None:
        self._metadata = metadata
        self._call = call
        self._inputs = inputs
        self._variables = variables
        self._secrets = secrets
        self._log = _RecordingLogger(call.node_id, secrets.mask)
        self._fingerprints = {
            name: found for name, value in inputs.items() if (found := fingerprint(value))
        }
        self.reply = NodeReply() if reply is None else reply
        self.reply.mask = secrets.mask
        self.reply.details["logs"] = self._log.records

    def __enter__(self) -> None:
        self._started = self.reply.details["started"] = time.monotonic()

    def process(self, make: Callable[[], RayflowNode]) -> Any:
        """Call ``process``; what it returns, an awaitable where it is ``async``."""
        node = make()
        inputs, constants = self._inputs, self._call.constants
        node.variables = self._variables
        if not getattr(node, "passes_secrets_on", False):
            inputs, constants = self._looked_up()
            node.variables = SecretVariables(self._variables, self._secrets)
        check_inputs(self._call.node_id, self._metadata["inputs"], inputs)
        for name, value in constants.items():
            setattr(node, name, crossed(value))  # what the node does to it ends with it
        node.node_id = self._call.node_id
        node.log = self._log
        node._take_how_far = self._take_how_far
        return node.process(**inputs)

    def _take_how_far(self, done: float, total: float | None, text: str) -> None:
        for each in (done, 1 if total is None else total):
            if not isinstance(each, numbers.Real):
                raise ValueError(f"progress takes numbers, not {preview(each)}")
        of = None if total is None else float(total)
        shown = self.reply.mask.hide(str(text)[:MAX_PROGRESS_LENGTH])
        self.reply.details["how_far"] = HowFar(done=float(done), total=of, text=shown)

    def _looked_up(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The inputs and the constants, with the values of secrets."""
        kinds, look_up = self._metadata["inputs"], self._secrets.looked_up
        declared = self._metadata["constants"]
        inputs = {
            name: look_up(value, f"input '{name}'", kinds.get(name, "any"))
            for name, value in self._inputs.items()
        }
        constants = {
            name: look_up(value, f"constant '{name}'", declared[name]["type"])
            if name in declared
            else value
            for name, value in self._call.constants.items()
        }
        return inputs, constants

    def finish(self, returned: Any) -> None:
        """Take what ``process`` returned apart."""
        reply, node_id = self.reply, self._call.node_id
        outputs, reply.exec_fired = check_returned(node_id, self._metadata, returned)
        reply.outputs = {name: self._secrets.restored(value) for name, value in outputs.items()}
        if self._fingerprints:
            reply.handed_on = handed_on(reply.outputs, self._inputs, self._fingerprints)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        details = self.reply.details
        if error is not None:  # the author's code may fail in any way
            shown = _as_exception(self._call.node_id, error)
            mask = self.reply.mask
            self.reply.exception = shown_error(shown, mask) if mask else shown
            details["input_previews"] = previews(self._inputs, mask)
        details["seconds"] = time.monotonic() - self._started
        if not self._log.records:
            del details["logs"]
        if self._log.left_out:
            details["logs_left_out"] = self._log.left_out
        if self._variables.written:
            _keep_variables(self._call.node_id, self.reply, self._variables)
        return True


def part_outputs(call: NodeCall, reply: NodeReply, store_in: str | None = None) -> dict[str, Any]:
    """Take those outputs out of ``reply`` that do not travel inline, and return them.

    Each has a preview and measures in the reply's details and, with ``store_in``, is written to
    that folder or URL. A failure to write is the node's.
    """
    mask = reply.mask
    apart = {
        name: value
        for name, value in reply.outputs.items()
        if not is_inline(value) or (mask and mask.shows(repr(value)))  # events have inline ones
    }
    if mask:
        reply.details["has_secrets"] = True
        reply.details["previews"] = previews(reply.outputs, mask)
    elif apart:
        reply.details["previews"] = previews(apart, mask)
    for name in apart:
        del reply.outputs[name]
    if not apart:
        return apart
    reply.details["measures"] = {name: measures(value) for name, value in apart.items()}
    if store_in is None:
        return apart
    stored = reply.details["stored"] = {}
    for name, value in apart.items():
        try:
            check_seen(store_in)
            stored[name] = store_value(store_in, name, value)
        except Exception as error:  # a value that cannot be pickled, a full disk
            problem = f"{mask.hide(describe(error))}. {_way_out(error, store_in)}"
            text = f"output '{name}' could not be stored in {store_in}: {problem}"
            reply.exception = NodeExecutionError(call.node_id, RuntimeError(text))
            reply.outputs, reply.exec_fired = {}, ()
            del reply.details["stored"]
            return {}
    return apart


def run_apart(
    call: NodeCall,
    inputs: Mapping[str, Any],
    run: Callable[[Mapping[str, Any]], NodeReply],
    store_in: str | None = None,
) -> NodeReply:
    """Run a node as far from others as on an actor of its own, in a process that runs several: on
    copies of its inputs, with which ``run`` runs it. Those of its outputs that do not travel inline
    come as ``Sent``; an output that cannot be sent is the node's failure.

    Raises:
        Exception: an input cannot cross.
    """
    reply = run({name: _own(name, value) for name, value in inputs.items()})
    declared = list(reply.outputs)
    apart = part_outputs(call, reply, store_in)
    if reply.exception is not None:
        return reply
    try:
        sent = {name: Sent.of(value) for name, value in apart.items()}
    except Exception as error:  # the author's classes may fail in any way
        failure = RuntimeError(not_sent(apart, error))
        return NodeReply(exception=NodeExecutionError(call.node_id, failure))
    values = {**pickle.loads(pickle.dumps(reply.outputs)), **sent}
    reply.outputs = {name: values[name] for name in declared}
    return reply


def _own(name: str, value: Any) -> Any:
    """An input as the node gets it: nobody else has it."""
    try:
        return opened_here(value) if isinstance(value, (Sent, StoredValue)) else crossed(value)
    except Exception as error:  # as above
        raise RuntimeError(not_read([name], error)) from error


def opened_here(value: Any) -> Any:
    """The value itself, where one was sent or stored."""
    if isinstance(value, Sent):
        return value.opened()
    return value.load() if isinstance(value, StoredValue) else value


def _way_out(error: Exception, location: str) -> str:
    """What to do about a value that could not be stored."""
    # What writes to a URL may also fail with errors of its own.
    of_url = is_url(location) and not isinstance(error, _UNPICKLED)
    if of_url or isinstance(error, OSError):
        return "Mend the place, or name another one in the flow's settings.storage"
    return "Return a value that can be pickled"


def _keep_variables(node_id: str, reply: NodeReply, variables: WriteTracking) -> None:
    """Note the variables as the node leaves them, for re-execution; else that is its failure."""
    try:
        reply.details["variables"] = pickled(variables.snapshot())
    except Exception as error:  # the store is gone, or a value cannot be pickled
        if reply.exception is None:
            problem = reply.mask.hide(describe(error))
            text = f"the variables it wrote could not be kept: {problem}"
            reply.exception = NodeExecutionError(node_id, RuntimeError(text))
            reply.outputs, reply.exec_fired = {}, ()


def _as_exception(node_id: str, error: BaseException) -> Exception:
    """The error as one that fails a node; ``SystemExit`` itself would end whoever raises it."""
    if isinstance(error, Exception):
        return error
    return NodeExecutionError(node_id, error).with_traceback(error.__traceback__)


def _finished(awaitable: Any) -> Any:
    """What ``awaitable`` gives, run in a loop of its own; on another thread if this one has one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_awaited(awaitable))
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, _awaited(awaitable)).result()


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def previews(values: Mapping[str, Any], mask: Mask) -> dict[str, str]:
    """A bounded text of every value, without secrets."""
    return {name: mask.hide(preview(value)) for name, value in values.items()}


def log_of(details: RunDetails) -> list[LogRecord]:
    """What a node has logged, and behind it a line that says how much of it is left out."""
    logs, left_out = [*details.get("logs", ())], details.get("logs_left_out", 0)
    if left_out:
        text = f"a step shows {MAX_LOG_RECORDS} log records; it has left out {left_out} more"
        logs.append({"level": logging.WARNING, "message": text, "time": time.time()})
    return logs


def share_done(how_far: HowFar) -> float | None:
    """How much of all is done, from 0 to 1; None where nobody knows."""
    return how_far["done"] / how_far["total"] if how_far["total"] else None


def how_far_text(how_far: HowFar) -> str:
    """As people read it: ``40 of 200 (20%), pages read``."""
    done, total = how_far["done"], how_far["total"]
    text = f"{done:g}" if total is None else f"{done:g} of {total:g}"
    if (share := share_done(how_far)) is not None:
        text += f" ({share:.0%})"
    return f"{text}, {how_far['text']}" if how_far["text"] else text


class _RecordingLogger(logging.Logger):
    """``self.log``: keeps bounded records, for the run log of whoever started the node."""

    def __init__(self, node_id: str, mask: Mask) -> None:
        super().__init__(f"rayflow.{node_id}", logging.DEBUG)
        self._mask = mask
        self.records: list[LogRecord] = []
        self.left_out = 0

    def handle(self, record: logging.LogRecord) -> None:
        try:
            message = logging.Formatter("%(message)s").format(record)
        except Exception as error:  # a log call with the wrong arguments must not fail the node
            message = f"{message_of(record.msg)} (its arguments do not fit: {describe(error)})"
        message = self._mask.hide(message)
        if len(self.records) < MAX_LOG_RECORDS:
            text = message[:MAX_LOG_LENGTH]
            self.records.append({"level": record.levelno, "message": text, "time": record.created})
        else:
            self.left_out += 1
