"""What nodes print, in whatever way: it is kept for each, and none fails for it."""

import asyncio
import io
import sys
from pathlib import Path

import pytest
from running import PROJECT

from rayflow_dagster.actors.capture import MAX_BYTES, captured_output
from rayflow_dagster.actors.worker import (
    AsyncNodeWorker,
    CallData,
    Envelope,
    Job,
    NodeWorker,
    WorkerSettings,
)
from rayflow_dagster.runner import NodeCall

TALK = "odd_nodes.talking."
SAID = {
    "print": "caf\\udce9\n",
    "click": "café\n",
    "buffer": "café \\xff\n",
    "reconfigured": "latin-1\n",
    "wrapped": "wrapped\n",
    "subprocess": "before\nchild\nafter\n",
    "descriptor": "by descriptor",
    "closed": "closed",
}


def say(worker: NodeWorker, how: str) -> Envelope:
    job = Job(NodeCall("n", f"{TALK}TalkNode", {"HOW": how}), ())
    return Envelope.unpacked(worker.run(job.packed(), CallData(None, {}, ()).packed()))


@pytest.mark.parametrize("how", SAID)
def test_whatever_prints_does_not_fail_its_node_nor_the_next(how: str) -> None:
    worker = NodeWorker(WorkerSettings(PROJECT.registry.roots))
    before = sys.stdout, sys.stderr
    for _ in range(2):
        envelope = say(worker, how)
        assert (envelope.error, envelope.details.get("stdout")) == (None, SAID[how])
        assert say(worker, "print").details["stdout"] == SAID["print"]
    assert (sys.stdout, sys.stderr) == before


def test_nodes_that_run_at_once_each_have_streams_of_their_own() -> None:
    worker = AsyncNodeWorker(WorkerSettings(PROJECT.registry.roots))

    async def all_at_once() -> list[bytes]:
        calls = (NodeCall("n", f"{TALK}SlowTalkNode", {"NAME": name}) for name in "abc")
        given = CallData(None, {}, ()).packed()
        return await asyncio.gather(*(worker.run(Job(call, ()).packed(), given) for call in calls))

    replies = map(Envelope.unpacked, asyncio.run(all_at_once()))
    assert [reply.details["stdout"] for reply in replies] == ["aaa", "bbb", "ccc"]


def test_captured_output_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    with captured_output() as captured:
        for _ in range(3):
            print("x" * MAX_BYTES)  # noqa: T201 - what is tested
    out, err = captured.texts()
    assert MAX_BYTES < len(out) < MAX_BYTES + 100
    assert "left out" in out
    assert err == capsys.readouterr().out == ""


def test_a_stream_is_what_libraries_take_for_one() -> None:
    with captured_output() as captured:
        assert isinstance(sys.stdout, io.TextIOWrapper)
        assert (sys.stdout.encoding, sys.stdout.writable()) == ("utf-8", True)
        assert sys.stdout.fileno() != sys.stderr.fileno()
    assert captured.texts() == ("", "")


def test_descriptors_are_used_again() -> None:
    def use() -> int:
        with captured_output():
            print("x")  # noqa: T201
        return len(list(Path("/proc/self/fd").iterdir()))

    assert use() == use()


def test_what_outlives_its_node_does_not_print_into_another(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def run() -> list[tuple[str, str]]:
        go_on = asyncio.Event()

        async def late() -> None:
            await go_on.wait()
            print("late", end="")  # noqa: T201

        with captured_output() as first:
            left = asyncio.create_task(late())
            await asyncio.sleep(0)
        with captured_output() as second, captured_output() as third:
            go_on.set()
            await left
        return [each.texts() for each in (first, second, third)]

    assert asyncio.run(run()) == [("", "")] * 3
    assert capsys.readouterr().out == "late"
