"""``execute_flow`` without Dagster, against bare awaited calls of plain Ray actors.

- a chain of 500: a plain actor whose trivial method is called with a number and awaited, 500 times
  in a row;
- 1000 independent nodes: the same calls, all submitted and then awaited together, on as many plain
  actors as Ray has slots (the machine's cores).

Both start from nothing but a Ray that is up: ours validates and compiles the flow, starts its
workers, runs it and ends them; the bare one starts its actors, makes its calls and kills them.
``per node`` leaves out what does not grow: (T(n) - T(1)) / (n - 1) on both sides.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from _bench import BENCHMARKS, Row, alternate, embedded_ray, is_quick, medians, report
from _flows import Flow, chain, wide_bumps


class Plain:
    """What a node does, as a plain actor class."""

    def bump(self, value: int) -> int:
        """The trivial work."""
        return value + 1


def main() -> None:
    """Measure, print and write."""
    quick = is_quick(__doc__)
    length, width, repeat = (10, 10, 1) if quick else (500, 1000, 5)
    with embedded_ray():
        bare_chain(1)
        ours(chain(1), 1)()
        found = alternate(
            {
                "chain": ours(chain(length), length),
                "bare chain": lambda: bare_chain(length),
                "chain one": ours(chain(1), 1),
                "bare chain one": lambda: bare_chain(1),
                "wide": ours(wide_bumps(width), width),
                "bare wide": lambda: bare_wide(width),
                "wide one": ours(wide_bumps(1), 1),
                "bare wide one": lambda: bare_wide(1),
            },
            repeat,
        )
    rows = []
    seconds = medians(found)
    for shape, count, target in (("chain", length, 1.15), ("wide", width, 1.3)):
        name = {"chain": f"chain of {length}", "wide": f"{width} independent nodes"}[shape]
        whole, bare = seconds[shape], seconds[f"bare {shape}"]
        node = (whole - seconds[f"{shape} one"]) / (count - 1)
        call = (bare - seconds[f"bare {shape} one"]) / (count - 1)
        rows += [
            Row(f"{name}, all of execute_flow", whole, bare, target),
            Row(f"{name}, per node", node, call, target),
        ]
    report("direct", rows, quick=quick, measured=found)


def ours(flow: Flow, count: int) -> Callable[[], float]:
    """Runs a flow without Dagster, and gives its seconds."""
    from rayflow_dagster import FlowOrchestrator
    from rayflow_dagster.project import Project

    def run() -> float:
        orchestrator = FlowOrchestrator(Project.at(BENCHMARKS, ["bench_nodes"]))
        started = time.perf_counter()
        outcome = asyncio.run(orchestrator.execute_flow(flow, {}))  # type: ignore[arg-type]
        seconds = time.perf_counter() - started
        if not outcome["success"] or outcome["nodes_executed"] != count + 2:
            raise RuntimeError(f"the flow failed: {outcome['error']}")
        return seconds

    return run


def bare_chain(length: int) -> float:
    """Seconds of a loop of awaited calls on one actor."""

    async def calls(actors: list[Any]) -> None:
        value = 0
        for _ in range(length):
            value = await actors[0].bump.remote(value)
        assert value == length

    return bare(1, calls)


def bare_wide(width: int) -> float:
    """Seconds of independent calls on as many actors as there are slots."""

    async def calls(actors: list[Any]) -> None:
        refs = [actors[number % len(actors)].bump.remote(0) for number in range(width)]
        assert await asyncio.gather(*refs) == [1] * width

    return bare(os.cpu_count() or 1, calls)


def bare(count: int, calls: Callable[[list[Any]], Awaitable[None]]) -> float:
    """Seconds of starting ``count`` actors, making the calls, and killing the actors."""
    import ray

    plain: Any = ray.remote(num_cpus=1)(Plain)
    started = time.perf_counter()
    actors = [plain.remote() for _ in range(count)]
    asyncio.run(_run(calls, actors))
    for actor in actors:
        ray.kill(actor)
    return time.perf_counter() - started


async def _run(calls: Callable[[list[Any]], Awaitable[None]], actors: list[Any]) -> None:
    await calls(actors)


if __name__ == "__main__":
    main()
