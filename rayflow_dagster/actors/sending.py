"""Exceptions between processes: as much of one as can cross, with the author's own frames.

Pickling alone loses the traceback and the causes of an exception, and fails for many that authors
write; and unpickling runs their code, which must not happen on Ray's own threads.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cloudpickle
from tblib import Traceback

from rayflow_dagster.errors import NodeExecutionError, class_names, message_of, stand_in
from rayflow_dagster.optional import optional

MAX_FRAMES = 60
_MAX_CAUSES = 10
_OURS = str(Path(__file__).parent.parent)
_NODES = os.path.join(_OURS, "nodes")


@dataclass(frozen=True, slots=True)
class SentError:
    """An exception on its way.

    ``pickled`` is None where it does not survive pickling; ``names`` (as ``class_names`` tells
    them) and ``message`` then stand for it. ``trace`` has its frames, ``cause`` what it was raised
    from.
    """

    names: tuple[str, ...]
    message: str
    pickled: bytes | None
    trace: dict[str, Any] | None
    cause: "SentError | None" = None
    is_context: bool = False
    """True when ``cause`` was being handled, rather than named with ``raise ... from``."""


def send(error: BaseException, depth: int = _MAX_CAUSES) -> SentError:
    """``error`` as it can cross a process boundary."""
    is_context = error.__cause__ is None and not error.__suppress_context__
    cause = error.__context__ if is_context else error.__cause__
    sent = send(cause, depth - 1) if cause is not None and depth else None
    trace = None
    with optional("sending a traceback"):
        trace = _trace(error)
    return SentError(
        class_names(error), message_of(error), _pickled(error), trace, sent, is_context
    )


def receive(node_id: str, sent: SentError) -> BaseException:
    """The exception again, or a ``NodeExecutionError`` around one of the same name and text."""
    error = _unpickled(sent)
    if error is None:
        error = NodeExecutionError(node_id, stand_in(sent.names, sent.message))
    with optional("receiving a traceback"):  # an author's class may refuse it
        _restore(node_id, error, sent)
    return error


def _restore(node_id: str, error: BaseException, sent: SentError) -> None:
    """Give ``error`` its frames, and what it was raised from."""
    if sent.trace is not None:
        error.__traceback__ = Traceback.from_dict(sent.trace).as_traceback()
    if sent.cause is not None:
        cause = receive(node_id, sent.cause)
        if sent.is_context:
            error.__context__ = cause
        else:
            error.__cause__ = cause


def _pickled(error: BaseException) -> bytes | None:
    try:
        pickled: bytes = cloudpickle.dumps(error)
        survived = type(cloudpickle.loads(pickled)) is type(error)
    except Exception:  # an author's exception may fail to pickle in any way
        return None
    return pickled if survived else None


def _unpickled(sent: SentError) -> BaseException | None:
    if sent.pickled is None:
        return None
    try:
        error = cloudpickle.loads(sent.pickled)
    except Exception:  # its class may not be importable here
        return None
    return error if isinstance(error, BaseException) else None


def _trace(error: BaseException) -> dict[str, Any] | None:
    frames = _own_frames(error.__traceback__)
    if not frames:
        return None
    shortened: TracebackType | None = None
    # Endless recursion has a thousand frames: too deep to pickle, and nobody reads the middle.
    half = MAX_FRAMES // 2
    kept = frames if len(frames) <= MAX_FRAMES else [*frames[:half], *frames[-half:]]
    for frame in reversed(kept):
        shortened = TracebackType(shortened, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    trace: dict[str, Any] = Traceback(shortened).to_dict()
    return trace


def _own_frames(trace: TracebackType | None) -> list[TracebackType]:
    """The frames from the author's first one on: ours above it explain nothing."""
    frames = []
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    for at, frame in enumerate(frames):
        file = frame.tb_frame.f_code.co_filename
        if not file.startswith(_OURS) or file.startswith(_NODES):
            return frames[at:]
    return frames[-1:]
