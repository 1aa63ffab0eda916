"""A chain of 100 trivial nodes: what a node costs in a recorded run.

Ours: the flow's job under this package's executor, in the repository's ``dagster.yaml``, on a Ray
that is up. Theirs: the same chain written by hand (``_handmade.py``: the same number of steps, the
same exec and data wires), in Dagster's default instance. Each side pays for everything that it
does in the run's process and outside of it; both print their console log, to nowhere.

- per run: the whole run's time, from its record to its end, by the number of nodes. Ours has the
  start of the worker actor in it, which a longer flow shares among more nodes.
- per node: (T(n) - T(1)) / (n - 1), what one more node costs.

In process with ``mem_io_manager`` keeps values in memory, as our ``durable: false`` does in Ray's
object store; with its default file IO it stores every value, as our durable runs do. The
multiprocess executor starts a process per step, dagster-ray's ``ray_executor`` a Ray job per step:
for these a shorter chain is long enough. The community's async executor (dagster-async-executor)
is told beside them, without a target; it calls plain ops one after the other in one event loop.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import _handmade
import _ray_jobs
from _bench import (
    Row,
    alternate,
    default_instance,
    embedded_ray,
    is_quick,
    medians,
    our_instance,
    report,
)
from _flows import chain
from _runs import build, record, record_elsewhere
from dagster import DagsterInstance

Found = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: nodes of the chains, and repetitions."""

    chain: int
    processes: int
    ray_jobs: int
    repeat: int


FULL = Sizes(chain=100, processes=8, ray_jobs=5, repeat=5)
QUICK = Sizes(chain=5, processes=3, ray_jobs=2, repeat=1)


def main() -> None:
    """Measure, print and write."""
    quick = is_quick(__doc__)
    sizes = QUICK if quick else FULL
    with default_instance() as theirs, our_instance() as ours:
        with embedded_ray():
            found = in_one_process(sizes, ours, theirs)
        found |= processes(sizes, theirs)
        notes: list[str] = []
        if importlib.util.find_spec("dagster_ray") and importlib.util.find_spec("aiohttp_cors"):
            found |= _ray_jobs.in_child(sizes.ray_jobs)
        else:
            notes.append("ray_executor: not measured; dagster-ray or ray[default] is not installed")
    if "async executor long" not in found:
        notes.append("async executor: not measured; dagster-async-executor is not installed")
    report("chain", rows(medians(found), sizes), quick=quick, measured=found, notes=notes)


def in_one_process(sizes: Sizes, ours: DagsterInstance, theirs: DagsterInstance) -> Found:
    """Chains that run in this process, side by side."""
    jobs = {}
    for length, size in ((sizes.chain, "long"), (1, "one")):
        jobs[f"ours in memory {size}"] = build(chain(length, durable=False)), ours
        jobs[f"ours durable {size}"] = build(chain(length)), ours
        jobs[f"in process in memory {size}"] = (
            _handmade.in_process(length, in_memory=True),
            theirs,
        )
        jobs[f"in process files {size}"] = _handmade.in_process(length, in_memory=False), theirs
        if importlib.util.find_spec("dagster_async_executor"):
            jobs[f"async executor {size}"] = _handmade.in_tasks(length), theirs
    cases: dict[str, Callable[[], float]] = {
        name: lambda job=job, instance=instance: record(job, instance)  # type: ignore[misc]
        for name, (job, instance) in jobs.items()
    }
    for name, case in cases.items():
        if name.endswith("one"):
            case()  # imports, and the first connection of each kind
    return alternate(cases, sizes.repeat)


def processes(sizes: Sizes, theirs: DagsterInstance) -> Found:
    """Dagster's default: a process per step."""
    long = {3: _handmade.multiprocess_3, 8: _handmade.multiprocess_8}[sizes.processes]
    return alternate(
        {
            "multiprocess one": lambda: record_elsewhere(_handmade.multiprocess_1, theirs),
            "multiprocess long": lambda: record_elsewhere(long, theirs),
        },
        1,
    )


def rows(found: dict[str, float], sizes: Sizes) -> list[Row]:
    """What the medians say."""

    def per_run(name: str) -> float:
        return found[f"{name} long"] / sizes.chain

    def per_node(name: str, length: int = sizes.chain) -> float:
        return (found[f"{name} long"] - found[f"{name} one"]) / (length - 1)

    told = []
    for how, cost in (("per run", per_run), ("per node", per_node)):
        memory, durable = cost("ours in memory"), cost("ours durable")
        in_memory, files = cost("in process in memory"), cost("in process files")
        told += [
            Row(f"durable: false vs in process, mem_io_manager, {how}", memory, in_memory, 0.25),
            Row(f"durable vs in process, file IO, {how}", durable, files, 0.35),
        ]
    durable = per_node("ours durable")
    told.append(
        Row(
            "durable vs multiprocess executor, per node",
            durable,
            per_node("multiprocess", sizes.processes),
            1 / 100,
        )
    )
    if "ray jobs long" in found:
        theirs = per_node("ray jobs", sizes.ray_jobs)
        told.append(
            Row("durable vs dagster-ray's ray_executor, per node", durable, theirs, 1 / 300)
        )
    if "async executor long" in found:
        theirs = per_node("async executor")
        memory = per_node("ours in memory")
        told.append(
            Row("durable: false vs async executor, mem_io_manager, per node", memory, theirs)
        )
    return told


if __name__ == "__main__":
    main()
