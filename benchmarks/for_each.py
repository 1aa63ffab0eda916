"""A loop over items: what an item costs, beside a bare Ray call and beside Dagster's own loop.

- fused: the whole body, ten trivial nodes, of an item after the other, against one awaited call of
  a plain Ray actor for each item;
- unfused: a body of three nodes that each are a call of their own (they may be tried again after a
  delay, so that the body is not fused), per node, against a node of a direct chain;
- 200 items whose one node waits 0.5 s without blocking, all at once, against 0.5 s and what the
  same loop costs with nodes that wait 0 s;
- Dagster: a recorded run of a loop over items with one trivial node, against ``DynamicOut`` and
  ``map`` with one trivial op under the in-process executor, per item;
- growth of this process's resident memory by a loop over 10,000 items with three nodes;
- deciding: what the loop of a body costs per node beside the nodes themselves, for 10 items and for
  10,000.

Per item and per node leave out what does not grow: (T(n) - T(1)) / (n - 1) on both sides.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from _bench import BENCHMARKS, Row, alternate, embedded_ray, is_quick, medians, our_instance, report
from _flows import WAIT, Flow, chain, loop
from _runs import build, record
from arrays import resident
from dagster import (
    DagsterInstance,
    DynamicOut,
    DynamicOutput,
    In,
    JobDefinition,
    graph,
    in_process_executor,
    mem_io_manager,
    op,
)
from direct import bare_chain, ours

NODES = 10


def main() -> None:
    """Measure, print and write."""
    quick = is_quick(__doc__)
    items, nodes, waits, mapped, repeat = (5, 9, 5, 3, 1) if quick else (1000, 100, 200, 100, 5)
    many = 50 if quick else 10_000
    with embedded_ray(), our_instance() as instance, DagsterInstance.ephemeral() as theirs:
        one_by_one = loop(NODES, parallel=1)
        unfused = loop(3, parallel=1, retry={"max": 1, "delay": 1})
        found = alternate(
            {
                "fused": looped(one_by_one, items),
                "fused one": looped(one_by_one, 1),
                "bare": lambda: bare_chain(items),
                "bare one": lambda: bare_chain(1),
                "unfused": looped(unfused, nodes // 3),
                "unfused one": looped(unfused, 1),
                "chain": ours(chain(nodes), nodes),
                "chain one": ours(chain(1), 1),
                "waiting": looped(waiting(waits, 0.5), waits),
                "not waiting": looped(waiting(waits, 0.0), waits),
                "not waiting one": looped(waiting(waits, 0.0), 1),
                "recorded": recorded(items, instance),
                "recorded one": recorded(1, instance),
                "dynamic": lambda: record(dynamic(mapped), theirs),
                "dynamic one": lambda: record(dynamic(1), theirs),
            },
            repeat,
        )
        before = resident()
        looped(loop(3), many)()
        growth = (resident() - before) / 1e6
    few, lots = deciding(10, of=many), deciding(many, of=many)
    seconds = medians(found)

    def each(name: str, count: int) -> float:
        return (seconds[name] - seconds[f"{name} one"]) / (count - 1)

    rows = [
        Row(f"fused body of {NODES} nodes vs a bare call, per item",
            each("fused", items), each("bare", items), 1.5),
        Row("unfused body of 3 nodes vs a direct chain, per node",
            each("unfused", nodes // 3) / 3, each("chain", nodes), 1.3),
        Row(f"{waits} items that wait 0.5 s at once vs 0.5 s and what they cost",
            seconds["waiting"] - seconds["not waiting one"],
            0.5 + seconds["not waiting"] - seconds["not waiting one"], 1.2),
        Row("recorded run vs DynamicOut.map in process, per item",
            each("recorded", items), each("dynamic", mapped)),
        Row(f"resident memory, {many} items of 3 nodes, vs 100 MB", growth, 100.0, 1.0, "MB"),
        Row(f"deciding, per node, {many} items vs 10", lots, few, 1.2),
    ]  # fmt: skip
    report("for_each", rows, quick=quick, measured=found)


def waiting(parallel: int, seconds: float) -> Flow:
    """A loop over items whose node waits."""
    flow = loop(1, WAIT, parallel=parallel)
    waits = next(node for node in flow["nodes"] if node["id"] == "n0")
    waits["data"] = {"constantValues": {"SECONDS": seconds}}
    return flow


def looped(flow: Flow, count: int) -> Callable[[], float]:
    """Runs a loop over so many items without Dagster, and gives its seconds."""
    from rayflow_dagster import FlowOrchestrator
    from rayflow_dagster.project import Project

    def run() -> float:
        orchestrator = FlowOrchestrator(Project.at(BENCHMARKS, ["bench_nodes"]))
        inputs = {"xs": list(range(count))}
        started = time.perf_counter()
        outcome = asyncio.run(orchestrator.execute_flow(flow, inputs))  # type: ignore[arg-type]
        seconds = time.perf_counter() - started
        if not outcome["success"] or len(outcome["result"]["out"]) != count:
            raise RuntimeError(f"the flow failed: {outcome['error']}")
        return seconds

    return run


def recorded(count: int, instance: DagsterInstance) -> Callable[[], float]:
    """Records a run of a loop over so many items with one node."""
    flow = loop(1)
    flow["nodes"][0]["data"]["inputs"]["xs"] = {"type": "list", "default": list(range(count))}
    job = build(flow)
    return lambda: record(job, instance)


def dynamic(count: int) -> JobDefinition:
    """Dagster's own loop over so many items with one op."""

    @op(out=DynamicOut(int))
    def items() -> Any:
        for number in range(count):
            yield DynamicOutput(number, mapping_key=str(number))

    @op(ins={"value": In(int)})
    def bump(value: int) -> int:
        return value + 1

    @op
    def finish(values: list[int]) -> int:
        return len(values)

    @graph
    def mapped() -> None:
        finish(items().map(bump).collect())

    resources = {"io_manager": mem_io_manager}
    return mapped.to_job(executor_def=in_process_executor, resource_defs=resources)


def deciding(count: int, *, of: int) -> float:
    """Seconds per node of a loop over ``count`` items in this process whose nodes do nothing at
    all; each time that is taken is of ``of`` items.
    """
    from rayflow_dagster import FlowOrchestrator
    from rayflow_dagster.engine.fused import Here
    from rayflow_dagster.engine.iteration import SomeIterations
    from rayflow_dagster.project import Project
    from rayflow_dagster.runner import NodeReply

    compiled = FlowOrchestrator(Project.at(BENCHMARKS, ["bench_nodes"])).load(loop(3))  # type: ignore[arg-type]
    region = compiled["nodes"]["loop"]

    def nothing(*_: Any) -> NodeReply:
        return NodeReply({"value": 1}, ("exec_out",))

    here = Here(region["body"], nothing)
    asked = SomeIterations(0, list(range(count)), {}, {}, seconds=1e9)
    least = float("inf")
    repeat = of // count
    for _ in range(5):
        started = time.process_time()
        for _ in range(repeat):
            here.iterations(region, asked)
        least = min(least, (time.process_time() - started) / (3 * count * repeat))
    return least


if __name__ == "__main__":
    main()
