"""What other processes do to an event log in tests: started anew, so they import this module."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from event_logs import event, log, messages, open_files, open_instance, open_storage

PATIENCE = 60
"""Seconds after which a wait has failed: a machine may be slow."""


@contextmanager
def process(work: Callable[..., None], *args: Any) -> Iterator[tuple[Any, Connection]]:
    """A new process doing ``work(pipe, *args)``, killed at the end, and our end of the pipe."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=work, args=(theirs, *args))
    child.start()
    theirs.close()
    try:
        yield child, ours
    finally:
        child.kill()
        child.join()
        child.close()
        ours.close()


def receive(pipe: Connection) -> Any:
    assert pipe.poll(PATIENCE), "the other process says nothing"
    return pipe.recv()


def write_steps_for_ever(pipe: Connection, home: Path, run_id: str) -> None:
    """Tell the number of each step as soon as its end is stored."""
    storage = open_storage(home)
    number = 0
    while True:
        storage.store_event(event(run_id, "STEP_START", f"start {number}"))
        storage.store_event(log(run_id, f"log {number}"))
        storage.store_event(event(run_id, "STEP_SUCCESS", f"end {number}"))
        pipe.send(number)
        number += 1


def write_steps(pipe: Connection, home: Path, run_id: str, name: str, count: int) -> None:
    """Once told to, write steps to the run and status changes to the index."""
    storage = open_storage(home)
    pipe.send("ready")
    pipe.recv()
    for number in range(count):
        storage.store_event(event(run_id, "STEP_START", f"{name} start {number}"))
        storage.store_event(event(run_id, "STEP_SUCCESS", f"{name} end {number}"))
        storage.store_event(event(run_id, "PIPELINE_START", f"{name} status {number}"))
    storage.dispose()
    pipe.send("done")


def watch(pipe: Connection, home: Path, run_id: str) -> None:
    """Tell each event that a watcher of the run is told, as the webserver's live log does."""
    with open_instance(home) as instance:
        instance.watch_event_logs(run_id, None, lambda entry, _: pipe.send(entry.user_message))
        pipe.send("watching")
        pipe.recv()


def fork_while_writing(pipe: Connection, home: Path, run_id: str, forks: int) -> None:
    """Fork again and again while threads write; each child writes, reads and ends."""
    storage = open_storage(home)
    is_over = threading.Event()
    counts = [0, 0]

    def write(writer: int) -> None:
        while not is_over.is_set():
            storage.store_event(log(run_id, f"thread {writer} {counts[writer]}"))
            if counts[writer] % 7 == 0:
                storage.store_event(event(run_id, "STEP_SUCCESS", f"step {writer}"))
            counts[writer] += 1

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(2)]
    for thread in threads:
        thread.start()
    codes = []
    for number in range(forks):
        storage.store_event(log(run_id, f"held at fork {number}"))
        child = os.fork()
        if child == 0:
            _be_child(storage, home, run_id, number)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    is_over.set()
    for thread in threads:
        thread.join()
    storage.dispose()
    pipe.send((codes, counts))


def _be_child(storage: Any, home: Path, run_id: str, number: int) -> None:
    code = 1
    try:
        # SQLite's locks belong to a process: not even an open file may come along.
        assert open_files(home) == []
        # A child that waits for a lock which nobody here will ever release.
        signal.alarm(PATIENCE)
        storage.store_event(log(run_id, f"child {number} log"))
        storage.store_event(event(run_id, "STEP_SUCCESS", f"child {number} end"))
        storage.store_event(event(run_id, "PIPELINE_START", f"child {number} status"))
        assert f"child {number} end" in messages(storage, run_id)
        storage.store_event(log(run_id, f"child {number} last"))
        storage.dispose()
        code = 0
    finally:
        os._exit(code)
