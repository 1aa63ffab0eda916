"""What only helps ends no run: each such part with its call failing."""

import asyncio
import logging
import os
import subprocess
import sys
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster_runs import PROJECT, run_in_dagster
from drawing import draw, node

from rayflow_dagster.actors.sending import receive, send
from rayflow_dagster.optional import optional
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import InProcessActors, in_process

FLOW = draw(
    {"start": node("start", inputs={"value": "int"}), "return": "return"},
    "start > return, start.value - return.value",
)


def test_a_failure_is_told_once_until_there_was_a_success(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def try_it(divisor: int) -> int:
        with optional("dividing"):
            return 1 // divisor
        return -1

    with caplog.at_level(logging.WARNING):
        assert [try_it(divisor) for divisor in (0, 0, 1, 0)] == [-1, -1, 1, -1]

    assert [record.message for record in caplog.records] == [
        "dividing failed; everything else goes on"
    ] * 2
    assert "ZeroDivisionError" in caplog.text


def test_interrupts_and_exits_pass() -> None:
    for kind in (KeyboardInterrupt, SystemExit):
        with pytest.raises(kind), optional("being interrupted"):
            raise kind


class _WontEnd(InProcessActors):
    def cleanup_actors(self) -> None:
        super().cleanup_actors()
        raise ZeroDivisionError("of ending")


def _connect_wont_end(orchestrator: Any) -> InProcessActors:
    actors = in_process(orchestrator)
    actors.__class__ = _WontEnd
    return actors


def test_a_direct_run_outlives_its_listener_and_the_ending_of_its_actors() -> None:
    orchestrator = FlowOrchestrator(
        PROJECT, connect=_connect_wont_end, on_settled=lambda result: result["nothing"]
    )

    outcome = asyncio.run(orchestrator.execute_flow(FLOW, {"value": 5}))

    assert (outcome["result"], outcome["error"]) == ({"value": 5}, None)


def test_a_job_outlives_the_ending_of_its_actors_and_a_tag_that_cannot_be_written(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(instance), "add_run_tags", lambda *_: 1 // 0)

    run = run_in_dagster(FLOW, {"value": 5}, instance, connect=_connect_wont_end)

    assert run.result == {"value": 5}


class ClosedError(Exception):
    """Takes no attribute, and no note."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)

    def add_note(self, note: str) -> None:
        raise TypeError(note)


def test_an_exception_that_refuses_its_traceback_crosses_all_the_same() -> None:
    try:
        raise ClosedError("of the author") from ValueError("why")
    except ClosedError as error:
        sent = send(error)

    received = receive("a", sent)

    assert (type(received), str(received)) == (ClosedError, "of the author")


def test_a_reader_that_leaves_ends_no_run() -> None:
    source = """
import sys
from rayflow_dagster.cli.terminal import open_console
console = open_console()
sys.stdin.readline()
for _ in range(3):
    console.print("a node has run")
print("went on", file=sys.stderr)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate("gone\n")

    assert (process.returncode, errors) == (0, "went on\n")


def test_a_process_without_free_descriptors_does_not_take_the_head_for_dead() -> None:
    source = """
import os, resource
from rayflow_dagster.cluster.watch import HeadWatch
watch = HeadWatch("127.0.0.1:1", print, print)
watch.stop()
print(watch._problem())
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
print(repr(watch._problem()))
"""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=os.environ, check=True
    )

    assert done.stdout.splitlines() == ["[Errno 111] Connection refused", "''"]
