"""Ten runs at once on one Ray with two slots: the slowest of them against its fair share.

Each run has nodes that block for 0.25 s, all ready at once. If the slots were always at work and
the runs took turns, all ten would end together, after all their nodes' time divided by the slots:
that is fair. The runs are ten managers of one process, which is all that Ray sees of runs; their
own set-up is left out. Told beside it: when the last of them had its first answer.
"""

import time
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path
from statistics import median

from _bench import Row, embedded_ray, is_quick, report
from _flows import SLEEP, wide

from rayflow_dagster.actors.manager import ActorManager
from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project

PROJECT = Project.at(Path(__file__).parent, ["bench_nodes"])
SLOTS = 2
RUNS = 10
BLOCKED = 0.25
MOST = 1.3
"""How much longer than fair the slowest may take."""


def main() -> None:
    """Measure, print and write."""
    quick = is_quick(__doc__)
    nodes, repeat = (4, 1) if quick else (24, 3)
    with embedded_ray(SLOTS):
        found = [_ten_runs(nodes) for _ in range(repeat)]
    slowest = median(max(ends) for ends, _ in found)
    first = median(max(firsts) for _, firsts in found)
    fair = RUNS * nodes * BLOCKED / SLOTS
    rows = [
        Row(f"{RUNS} runs of {nodes} nodes blocking {BLOCKED} s, {SLOTS} slots: the slowest",
            slowest, fair, MOST),
        Row("the last run to have its first answer", first, fair),
    ]  # fmt: skip
    measured = {"slowest": [max(ends) for ends, _ in found], "first": [max(f) for _, f in found]}
    report("sharing", rows, quick=quick, measured=measured)


def _ten_runs(nodes: int) -> tuple[list[float], list[float]]:
    """When each run had all its answers, and when its first, in seconds since all were asked."""
    graph = FlowOrchestrator(PROJECT).load(wide(nodes, SLEEP, durable=False, SECONDS=BLOCKED))
    ids = [f"n{number}" for number in range(nodes)]
    runs = [ActorManager(NodeLoader(PROJECT.registry), None) for _ in range(RUNS)]
    for run in runs:
        run.prepare(graph)
    asked = time.perf_counter()
    futures = [[run.dispatch(node_id, {}) for node_id in ids] for run in runs]
    firsts, ends = [0.0] * RUNS, [0.0] * RUNS
    waiting = {future: number for number, each in enumerate(futures) for future in each}
    while waiting:
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            number = waiting.pop(future)
            ends[number] = time.perf_counter() - asked
            firsts[number] = firsts[number] or ends[number]
            if number not in waiting.values():
                runs[number].cleanup_actors()
    return ends, firsts


if __name__ == "__main__":
    main()
