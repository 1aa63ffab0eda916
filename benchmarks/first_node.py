"""A flow of 100 nodes when Ray is up and there is no actor yet: how soon nodes have run.

Ours: a recorded run of 100 independent trivial nodes in the repository's ``dagster.yaml``; the
time from asking for the run to the end of the first and of the last of the 100 steps. Theirs: an
actor for each of the 100 nodes, as one would have without worker actors; the time until the first
and the last of them answers. They reserve no CPU slot, since Ray would else start two at a time.

Each side has a Ray of its own, just started, in each repetition: nothing is left of the other.
What is imported once per process is imported before.
"""

import contextlib
import io
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from _bench import Row, embedded_ray, is_quick, our_instance, progress, report
from _flows import wide_bumps
from _runs import build, watch
from dagster import DagsterInstance, JobDefinition

SETTLE_SECONDS = 3.0


class Plain:
    """A plain actor class."""

    def ready(self) -> bool:
        """Answer."""
        return True


def main() -> None:
    """Measure, print and write."""
    quick = is_quick(__doc__)
    count, repeat = (3, 1) if quick else (100, 3)
    job = build(wide_bumps(count, durable=False))
    found: dict[str, list[float]] = {}
    with our_instance() as instance:
        with embedded_ray():
            watch(build(wide_bumps(1, durable=False)), instance)
        for _ in range(repeat):
            with idle_ray():
                first, last = ours(job, instance)
            with (
                idle_ray(),
                contextlib.redirect_stdout(io.StringIO()),
            ):  # Ray warns of so many processes
                first_actor, last_actor = theirs(count)
            values = {
                "first": first,
                "last": last,
                "first actor": first_actor,
                "last actor": last_actor,
            }
            for name, value in values.items():
                found.setdefault(name, []).append(value)
                progress(f"{name}: {value:.2f}")
    seconds = {name: median(values) for name, values in found.items()}
    rows = [
        Row(f"first of {count} nodes vs starting {count} actors", seconds["first"],
            seconds["last actor"], 1 / 15),
        Row(f"last of {count} nodes vs starting {count} actors", seconds["last"],
            seconds["last actor"], 1 / 15),
        Row("first node vs first actor", seconds["first"], seconds["first actor"]),
    ]  # fmt: skip
    report("first_node", rows, quick=quick, measured=found)


@contextlib.contextmanager
def idle_ray() -> Iterator[None]:
    """A Ray that was just started and has come to rest: its first idle processes are up."""
    with embedded_ray():
        time.sleep(SETTLE_SECONDS)
        yield


def ours(job: JobDefinition, instance: DagsterInstance) -> tuple[float, float]:
    """Seconds until the first and until the last node had run."""
    ended = watch(job, instance).ended
    nodes = [seconds for step, seconds in ended.items() if step.startswith("n")]
    return min(nodes), max(nodes)


def theirs(count: int) -> tuple[float, float]:
    """Seconds until the first and until the last of ``count`` new actors answers."""
    import ray

    plain: Any = ray.remote(num_cpus=0)(Plain)
    started = time.perf_counter()
    actors = [plain.remote() for _ in range(count)]
    waiting = [actor.ready.remote() for actor in actors]
    ray.wait(waiting, num_returns=1, timeout=600)
    first = time.perf_counter() - started
    ray.get(waiting, timeout=600)
    last = time.perf_counter() - started
    for actor in actors:
        ray.kill(actor)
    return first, last


if __name__ == "__main__":
    main()
