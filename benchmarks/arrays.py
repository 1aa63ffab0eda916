"""A 512 MB array through four nodes: the cost of values beside bare Ray's.

Ours: a recorded run in the repository's ``dagster.yaml``; one node makes the array, three read it
and pass it on; ``durable: false``; nothing is wired to RETURN. The time is from the first step's
start to the last step's end, START and RETURN included. Theirs: one plain actor that does the same
four things; each call's array goes to the next by reference, and the driver awaits a small second
value of each call, as it need not read the array to know that it is there. After a warm-up of each,
in turns.

Bare Ray puts each returned array into its object store, one copy of it per call; ours knows an
array again that a node hands on as it came, and copies it once. So a second line has nodes that
each make a new array from the one they get, where both copy as often. There the plain actor has
the object store's memory mapped from the calls before, and the workers of a run are new processes.

The run's process must not hold the bytes: its growth is the most that its resident memory (shared
memory that it maps included) rises above what it had before, over the ten runs after the warm-up.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
from _bench import Row, alternate, embedded_ray, is_quick, medians, our_instance, report
from _flows import NEW_ARRAY, arrays
from _runs import build, watch

STATUS = Path("/proc/self/statm")
PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_SECONDS = 0.02


class Plain:
    """What the four nodes do, as a plain actor class."""

    def make(self, megabytes: int) -> tuple[Any, bool]:
        """An array."""
        return numpy.ones(megabytes * 2**17), True

    def pass_on(self, array: Any) -> tuple[Any, bool]:
        """The same array."""
        assert array[-1] == 1.0
        return array, True

    def make_anew(self, array: Any) -> tuple[Any, bool]:
        """Another array."""
        return array + 1.0, True


class Memory:
    """How far this process's resident memory rises while it is watched, in bytes: above what it
    was when it was first watched.
    """

    def __init__(self) -> None:
        self.growth = 0
        self._before: int | None = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch, if this system tells."""
        if not STATUS.is_file():
            yield
            return
        before = self._before = resident() if self._before is None else self._before
        done = threading.Event()

        def watch_memory() -> None:
            while not done.wait(SAMPLE_SECONDS):
                self.growth = max(self.growth, resident() - before)

        thread = threading.Thread(target=watch_memory, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.growth = max(self.growth, resident() - before)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(STATUS.read_text().split()[1]) * PAGE


def main() -> None:
    """Measure, print and write."""
    quick = is_quick(__doc__)
    megabytes, repeat = (8, 1) if quick else (512, 10)
    memory = Memory()
    with embedded_ray(), our_instance() as instance:
        passing, making = build(arrays(megabytes)), build(arrays(megabytes, then=NEW_ARRAY))

        def ours() -> float:
            with memory.watched():
                return watch(passing, instance).span

        with plain_actor() as actor:
            cases = {
                "ours": ours,
                "bare": lambda: bare(actor, megabytes, "pass_on"),
                "ours anew": lambda: watch(making, instance).span,
                "bare anew": lambda: bare(actor, megabytes, "make_anew"),
            }
            watch(passing, instance)
            bare(actor, megabytes, "pass_on")
            found = alternate(cases, repeat)
    seconds = medians(found)
    rows = [
        Row(f"{megabytes} MB through four nodes: steps", seconds["ours"], seconds["bare"], 1.15),
        Row("the same, each makes a new array", seconds["ours anew"], seconds["bare anew"]),
        Row("growth of the run's process, vs 50 MB", memory.growth / 2**20, 50.0, 1.0, "MB"),
    ]
    notes = [] if STATUS.is_file() else ["the process's growth: not measured; there is no /proc"]
    report("arrays", rows[: 3 - len(notes)], quick=quick, measured=found, notes=notes)


@contextlib.contextmanager
def plain_actor() -> Iterator[Any]:
    """An actor that is up and takes no slot from the workers."""
    import ray

    plain: Any = ray.remote(num_cpus=0)(Plain)
    actor = plain.remote()
    yield actor
    ray.kill(actor)


def bare(actor: Any, megabytes: int, then: str) -> float:
    """Seconds of the same four calls, awaited one after the other."""
    next_call = getattr(actor, then)

    async def calls() -> None:
        array, done = actor.make.options(num_returns=2).remote(megabytes)
        await done
        for _ in range(3):
            array, done = next_call.options(num_returns=2).remote(array)
            await done

    started = time.perf_counter()
    asyncio.run(calls())
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
