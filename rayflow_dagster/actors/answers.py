"""What an actor answered, or why it did not: replies, failures, and the futures they settle."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import Any, TypeVar

import ray

from rayflow_dagster.engine.deadline import Deadline
from rayflow_dagster.errors import (
    ClusterError,
    NodeExecutionError,
    NodeTimeoutError,
    RunEndedError,
)
from rayflow_dagster.runner import NodeReply
from rayflow_dagster.values.crossing import not_read, not_sent
from rayflow_dagster.values.stored import opened

from .calls import ActorCall
from .death import crash
from .live import Listening
from .sending import receive
from .serial_thread import SerialThread
from .worker import Envelope

START_SECONDS = 60.0
"""How long ``create_actor`` waits for an actor to come up."""

T = TypeVar("T")
Then = Callable[[BaseException | None], None]


def reply(call: ActorCall, envelope: Envelope, refs: Sequence[Any]) -> NodeReply:
    """The reply: small outputs as values, the others as object refs; or its exception.

    An output that is an input has the input's ref, so that nothing was copied.
    """
    exec_fired, details = envelope.exec_fired, envelope.details
    if envelope.error is not None:
        error = receive(call.node_id, envelope.error)
        return NodeReply({}, exec_fired, error, details)
    small = envelope.outputs
    if not call.spec.outputs:  # of a body, beside none of a node
        return NodeReply(small, exec_fired, None, details)
    outputs = {
        name: small.get(name, ref) for name, ref in zip(call.spec.outputs, refs, strict=True)
    }
    outputs |= {name: call.refs[port] for name, port in envelope.handed_on.items()}
    return NodeReply(outputs, exec_fired, None, details)


class Running:
    """The executions that are on an actor; what their actors answer settles them.

    Args:
        thread: the thread for what must not be done on Ray's own.
        listening: hears what nodes say while they run.
    """

    def __init__(self, thread: SerialThread, listening: Listening) -> None:
        self._thread = thread
        self._listening = listening
        self._futures: set[Future[NodeReply]] = set()

    def add(self, future: "Future[NodeReply]") -> None:
        self._futures.add(future)

    def take(self, future: "Future[NodeReply]") -> bool:
        """Whether it was here until now: one thread alone is told so."""
        try:
            self._futures.remove(future)
        except KeyError:
            return False
        return True

    def limit(self, call: ActorCall) -> None:
        """Fail a call once it is ``until``, wherever it is then."""
        if call.until is not None:
            self._cut(call, call.until, call.until.cut_off)

    def _cut(self, call: ActorCall, limit: Deadline, why: Callable[[], BaseException]) -> None:
        def cut() -> None:
            # What has answered meanwhile may have another call by now.
            is_there = self.take(call.future)
            if is_there:
                _end_place(call)  # first: what follows the failure may be sent there
            fail(call.future, NodeExecutionError(call.node_id, why()))
            if not is_there and self.take(call.future):  # it has come there meanwhile
                _end_place(call)

        limit.hold(call.future, cut)

    def fail_all(self, error: BaseException) -> None:
        for future in list(self._futures):
            fail(future, error)
        self._futures.clear()

    def send(
        self,
        run: Any,
        call: ActorCall,
        *before: Any,
        end: Callable[[], None] | None = None,
        then: Then = lambda _: None,
    ) -> None:
        """Send a call to an actor's ``run``, with ``before`` ahead of the usual arguments.

        ``then`` is told the error or None once the actor is free again: on Ray's own thread, where
        it must not wait nor end an actor, or on ``thread`` when the call could not be sent. The
        call's inputs are let go of, and its refs when it is settled. ``end`` is called where the
        call has taken longer than it may: it ends the actor, and does not wait for that. Without
        it, the actor keeps the limits of its calls itself.
        """

        def answered(done: "Future[bytes]") -> None:
            is_wanted = self.take(call.future)
            call.end_place = None  # it may hold the call
            then(done.exception())
            if not is_wanted:  # it was cut off
                call.refs = {}
                self._listening.drop(call.heard)
                return
            settle = partial(self._settle, call, done, outputs)
            asks = self._listening.may_lie(call.heard)
            if not asks or not self._thread.do(partial(self._hear_first, call, settle)):
                settle()

        self.add(call.future)
        if call.future.done() and self.take(call.future):  # it was cut off on its way here
            self._thread.do(partial(then, RunEndedError()))
            return
        call.sent = time.monotonic()
        if call.hear is not None:
            call.heard = self._listening.key(call.hear)
        try:
            refs = call.send(run, *before)
        except Exception as error:  # an input that cannot be pickled
            self.take(call.future)
            fail(call.future, NodeExecutionError(call.node_id, error))
            self._thread.do(partial(then, error))
            return
        *outputs, envelope = refs if call.spec.outputs else [refs]
        if end is not None:
            call.end_place = end
            self._limit_itself(call)
        if call.future.done() and self.take(call.future):  # it was cut off just now
            _end_place(call)
        envelope.future().add_done_callback(answered)

    def _limit_itself(self, call: ActorCall) -> None:
        limit = Deadline.of_node(call.node_id, call.spec.timeout)
        if limit is not None:
            self._cut(call, limit, limit.exceeded)
            call.future.add_done_callback(lambda _: limit.close())

    def _hear_first(self, call: ActorCall, settle: Callable[[], None]) -> None:
        """Settle a call once all is told that its node has said on the way."""
        self._listening.take(call.heard)
        settle()

    def _settle(self, call: ActorCall, done: "Future[bytes]", outputs: Sequence[Any]) -> None:
        """Settle a call with its answer: at once, if no author's code is in it."""
        if error := done.exception():
            why = lost(call, error)
            call.refs = {}
            self._listening.drop(call.heard)
            fail(call.future, why)
            return
        envelope = Envelope.unpacked(done.result())
        if call.heard:
            self._listening.rest(call.heard, envelope.details)
        if envelope.error is None:
            settled = reply(call, envelope, outputs)
            call.refs = {}
            succeed(call.future, settled)
        else:  # unpickling an exception runs its author's code, which may call Ray
            self._thread.do(lambda: _settle_failed(call, envelope))


def _end_place(call: ActorCall) -> None:
    end, call.end_place = call.end_place, None
    if end is not None:
        end()


def _settle_failed(call: ActorCall, envelope: Envelope) -> None:
    call.refs = {}
    try:
        answer = reply(call, envelope, ())
    except Exception as problem:  # the author's exception may misbehave in any way
        fail(call.future, NodeExecutionError(call.node_id, problem))
    else:
        succeed(call.future, answer)


def lost(call: ActorCall, error: BaseException) -> NodeExecutionError:
    """What to say when the answer is not the node's own."""
    node_id, limit = call.node_id, call.spec.timeout
    if isinstance(error, ray.exceptions.RayActorError):
        if limit is not None and time.monotonic() - call.sent >= limit:  # it was ended for that
            return NodeExecutionError(node_id, NodeTimeoutError(f"node '{node_id}'", limit))
        return NodeExecutionError(node_id, crash(error))
    if isinstance(error, ray.exceptions.RayTaskError):
        text = _not_travelled(call, error.cause)
        return NodeExecutionError(node_id, RuntimeError(text))
    return NodeExecutionError(node_id, error)


def _not_travelled(call: ActorCall, cause: BaseException) -> str:
    """Ray fails with an error of its own where an input cannot be read, and with the one that
    pickling raised where an output cannot be sent.
    """
    if isinstance(cause, ray.exceptions.RaySystemError):
        return not_read(call.refs, cause)
    return not_sent(call.spec.outputs, cause)


def not_started(node_id: str, error: BaseException) -> BaseException:
    """What to raise when an actor for a node could not be started."""
    if isinstance(error, ray.exceptions.RayTaskError):
        cause: BaseException = error.cause
        return cause
    if isinstance(error, ray.exceptions.GetTimeoutError):
        text = f"it did not come up within {START_SECONDS:g} s; is the cluster fully used?"
    elif isinstance(error, ray.exceptions.RayError):
        text = str(error)
    else:
        return error
    return ClusterError(f"an actor for node '{node_id}' could not be started: {text}")


def fetched(value: Any) -> Any:
    """The value itself, of a ref or of one that was stored."""
    return opened(ray.get(value) if isinstance(value, ray.ObjectRef) else value)


def succeed(future: "Future[T]", result: T) -> None:
    try:
        future.set_result(result)
    except InvalidStateError:  # whoever asked has given up
        tell_cancelled(future)


def fail(future: "Future[Any]", error: BaseException) -> None:
    try:
        future.set_exception(error)
    except InvalidStateError:  # whoever asked has given up
        tell_cancelled(future)


def tell_cancelled(future: "Future[Any]") -> None:
    """Let those who wait for a cancelled future know; until then they sleep."""
    if future.cancelled():
        future.set_running_or_notify_cancel()
