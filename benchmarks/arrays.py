"""A 512 MB array through four nodes: the cost of values beside bare Ray's.

Ours: a recorded run in the repository's ``dagster.yaml``; one node makes the array, three read it
and pass it on; ``durable: false``; nothing is wired to RETURN. The time is from the first step's
start to the last step's end, START and RETURN included. Theirs: one plain actor that does the same
four things; each call's array goes to the next by reference, and the driver awaits a small second
value of each call, as it need not read the array to know that it is there. Both put each returned
array into Ray's object store, one copy of it per node. After a warm-up of each, in turns.

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
from _flows import arrays
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
        job = build(arrays(megabytes))

        def ours() -> float:
            with memory.watched():
                return watch(job, instance).span

        with plain_actor() as actor:
            watch(job, instance)
            bare(actor, megabytes)
            found = alternate(
                {"ours": ours, "bare": lambda: bare(actor, megabytes)},
                repeat,
            )
    seconds = medians(found)
    rows = [
        Row(f"{megabytes} MB through four nodes: steps", seconds["ours"], seconds["bare"], 1.15),
        Row("growth of the run's process, vs 50 MB", memory.growth / 2**20, 50.0, 1.0, "MB"),
    ]
    notes = [] if STATUS.is_file() else ["the process's growth: not measured; there is no /proc"]
    report("arrays", rows if not notes else rows[:1], quick=quick, measured=found, notes=notes)


@contextlib.contextmanager
def plain_actor() -> Iterator[Any]:
    """An actor that is up and takes no slot from the workers."""
    import ray

    plain: Any = ray.remote(num_cpus=0)(Plain)
    actor = plain.remote()
    yield actor
    ray.kill(actor)


def bare(actor: Any, megabytes: int) -> float:
    """Seconds of the same four calls, awaited one after the other."""

    async def calls() -> None:
        array, done = actor.make.options(num_returns=2).remote(megabytes)
        await done
        for _ in range(3):
            array, done = actor.pass_on.options(num_returns=2).remote(array)
            await done

    started = time.perf_counter()
    asyncio.run(calls())
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
