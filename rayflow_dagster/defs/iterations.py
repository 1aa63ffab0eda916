"""The iterations of a region that have ended, kept where a re-execution finds them: a log per run
and step, to which each is appended as it ends.
"""

import os
import pickle
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

from dagster import DagsterEventType, DagsterInstance, DagsterRun

from rayflow_dagster.engine.iteration import Progress, Recorded
from rayflow_dagster.values.stored import file_system, is_url, join, read_bytes, store_bytes

from .compiled import CompiledFlow
from .session_variables import parent_run, planned_nodes
from .storage import step_folder

NoteVariables = Callable[[bytes], "Future[str] | None"]
"""Takes the variables as an iteration left them; the future is done when they are stored."""
LOG = "iterations"
PART_SECONDS = 5.0
"""How often, at most, a log at a URL gets another part: what is there cannot be appended to."""
_LENGTH = struct.Struct("<Q")
"""Stands before each record; a record that is cut off is none."""


def progress_of(
    flow: CompiledFlow,
    instance: DagsterInstance,
    run: DagsterRun,
    root: str,
    step_key: str,
    note_variables: NoteVariables,
) -> Progress:
    """How far a region has come in the runs that this one goes on from; what it does further is
    kept. ``root`` is where runs store their values.
    """
    found = Progress()
    # This run's own: another attempt of the step may be at work in a process of its own.
    runs = [run, *_resumed(flow, instance, run, step_key)]
    for each in reversed(runs):
        for record in recorded_in(step_folder(root, each.run_id, step_key)):
            found.take(record)
    found.log = IterationLog(step_folder(root, run.run_id, step_key), note_variables)
    return found


def _resumed(
    flow: CompiledFlow, instance: DagsterInstance, run: DagsterRun, step_key: str
) -> Iterator[DagsterRun]:
    """The runs whose region this one goes on with, the nearest first: a run goes on from its parent
    where the region has not succeeded there, and where nothing runs again that leads to it.
    """
    leading = _leading_to(flow, flow.nodes[step_key])
    while leading.isdisjoint(planned_nodes(flow, run)):
        before = parent_run(instance, run)
        if before is None or _has_succeeded(instance, before, step_key):
            return
        yield before
        run = before


def _leading_to(flow: CompiledFlow, node_id: str) -> set[str]:
    """The nodes that a node waits for, directly or not."""
    found: set[str] = set()
    queue = [node_id]
    while queue:
        sources = set(flow.flat["nodes"][queue.pop()]["dependencies"]) - found
        found |= sources
        queue.extend(sources)
    return found


def _has_succeeded(instance: DagsterInstance, run: DagsterRun, step_key: str) -> bool:
    entries = instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_SUCCESS)
    events = (entry.dagster_event for entry in entries)
    return any(event is not None and event.step_key == step_key for event in events)


class IterationLog:
    """The log of one step of this run, which an attempt before may have begun."""

    def __init__(self, folder: str, note_variables: NoteVariables) -> None:
        self._folder = folder
        self._note_variables = note_variables
        self._pending = b""
        self._parts = len(_parts(folder)) if is_url(folder) else 0
        for file in [] if is_url(folder) else _parts(folder):
            # Behind a record that is cut off, because its process died, none would be found.
            os.truncate(file, sum(_LENGTH.size + len(each) for each in _whole(read_bytes(file))))
        self._written = 0.0

    def append(self, recorded: Recorded, variables: bytes | None) -> None:
        """Keep an iteration; at a URL it may wait for others."""
        storing = self._note_variables(variables) if variables is not None else None
        if storing is not None:  # an iteration that is kept does not run again
            storing.result()
        content = pickle.dumps(recorded, protocol=5)
        self._pending += _LENGTH.pack(len(content)) + content
        if not is_url(self._folder) or time.monotonic() - self._written >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet."""
        if self._pending and is_url(self._folder):
            store_bytes(join(self._folder, f"{LOG}-{self._parts:06}"), self._pending)
            self._parts += 1
        elif self._pending:
            path = Path(self._folder) / LOG
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "ab", opener=_private) as file:
                file.write(self._pending)
        self._pending, self._written = b"", time.monotonic()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def recorded_in(folder: str) -> Iterator[Recorded]:
    """The iterations that the log in a folder has, in the order in which they ended."""
    for location in _parts(folder):
        yield from map(pickle.loads, _whole(read_bytes(location)))


def _whole(content: bytes) -> Iterator[bytes]:
    """The records of a log that are not cut off."""
    at = 0
    while at + _LENGTH.size <= len(content):
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        if at + length > len(content):
            return
        yield content[at : at + length]
        at += length


def _parts(folder: str) -> list[str]:
    if not is_url(folder):
        path = Path(folder) / LOG
        return [str(path)] if path.is_file() else []
    filesystem, path_there = file_system(folder)
    found = filesystem.glob(f"{path_there}/{LOG}-*")
    return [join(folder, name.rpartition("/")[2]) for name in sorted(found)]
