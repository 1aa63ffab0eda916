"""What is said of a process that died."""

import json

import pytest

from rayflow_dagster.actors.death import MAX_DEATH, crash
from rayflow_dagster.cluster import _ray

SENTENCE = "Worker exit detail: it was killed by 1 signal, which nobody sent."


@pytest.mark.parametrize(("count", "kept"), [(1, 1), (9, 9), (50, 9)])
def test_how_a_process_died_ends_with_a_whole_sentence(count: int, kept: int) -> None:
    told = str(crash(RuntimeError("of ids and namespaces\n" + " ".join([SENTENCE] * count))))
    assert told.endswith(f" native code): {' '.join([SENTENCE] * kept).removesuffix('.')}")


def test_one_endless_sentence_is_cut() -> None:
    told = str(crash(RuntimeError("exit " + "x" * MAX_DEATH)))
    assert told.endswith("xxx...")


RAY_SAYS = "The actor is dead because its worker process has died. Worker exit detail: "


@pytest.mark.parametrize(
    ("told", "expected", "signal", "code"),
    [
        ("Worker exits unexpectedly. Worker exits with an exit code 3.", "ended itself with code 3",
         None, 3),
        ("Worker exits with an exit code 1. The process receives a SIGTERM.", "ended by SIGTERM",
         "SIGTERM", None),
        ("Task was killed due to the node running low on memory.", "running out of memory",
         None, None),
    ],
)  # fmt: skip
def test_what_ray_knows_of_a_death_is_told(told, expected, signal, code) -> None:
    error = crash(RuntimeError(RAY_SAYS + told))
    assert expected in str(error)
    assert (error.signal, error.code) == (signal, code)


def test_of_a_worker_elsewhere_no_signal_is_made_up() -> None:
    told = "Worker unexpectedly exits with a connection error code 2. End of file."
    error = crash(RuntimeError(f"pid: 1\n{RAY_SAYS}{told}"))
    assert str(error).startswith("its actor died while it ran (killed, out of memory, or a crash")
    assert (error.signal, error.code) == (None, None)


TRACE = """Fatal Python error: Segmentation fault

Thread 0x1 (most recent call first):
  File "/home/ada/nodes/waiting.py", line 3 in wait

Current thread 0x2 (most recent call first):
  File "{json}", line 9 in loads
  File "/home/ada/nodes/crashing.py", line 7 in process
"""


def test_the_line_that_is_told_is_of_the_thread_that_crashed(monkeypatch) -> None:
    written = TRACE.format(json=json.__file__)
    monkeypatch.setattr(_ray, "last_written_by", lambda _: written)
    told = str(crash(RuntimeError("pid: 1\n")))
    assert told.endswith("(Segmentation fault), in native code below "
                         "/home/ada/nodes/crashing.py, line 7")  # fmt: skip
