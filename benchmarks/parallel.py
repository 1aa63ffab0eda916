"""Nodes that run at the same time: 64 that block on 8 worker slots, and 200 that wait.

- 64 nodes that block for 0.25 s each, on a Ray with 8 worker slots, against the ideal of
  64 x 0.25 s / 8 = 2 s.
- 200 ``async`` nodes that wait for 0.5 s each, against 0.5 s and 200 times what a node costs. The
  cost is that of the same 200 nodes with a wait of nothing: (T(200) - T(1)) / 199.

Both are recorded runs in the repository's ``dagster.yaml`` on a Ray that is up and at rest: it has
idle processes, and no worker yet. What is compared is the time from the first step's start to the
last step's end, START and RETURN included; the whole run, with its set-up, is told below.
"""

from statistics import median

from _bench import Row, alternate, embedded_ray, is_quick, our_instance, report, rest
from _flows import SLEEP, WAIT, wide
from _runs import Run, build, watch
from dagster import DagsterInstance

SLOTS = 8
BLOCKED = 0.25
WAITED = 0.5


def main() -> None:
    """Measure, print and write."""
    quick = is_quick(__doc__)
    blocking, waiting, repeat = (8, 10, 1) if quick else (64, 200, 5)
    flows = {
        "blocking": wide(blocking, SLEEP, durable=False, SECONDS=BLOCKED),
        "waiting": wide(waiting, WAIT, durable=False, SECONDS=WAITED),
        "wait of nothing": wide(waiting, WAIT, durable=False, SECONDS=0.0),
        "one": wide(1, WAIT, durable=False, SECONDS=0.0),
    }
    runs: dict[str, list[Run]] = {name: [] for name in flows}
    with embedded_ray(SLOTS), our_instance() as instance:
        jobs = {name: build(flow) for name, flow in flows.items()}
        watch(jobs["one"], instance)

        def case(name: str, instance: DagsterInstance = instance) -> float:
            rest(SLOTS)
            runs[name].append(watch(jobs[name], instance))
            return runs[name][-1].span

        found = alternate({name: lambda name=name: case(name) for name in flows}, repeat)  # type: ignore[misc]
    span = {name: median(values) for name, values in found.items()}
    whole = {name: median(run.seconds for run in each) for name, each in runs.items()}
    cost = (span["wait of nothing"] - span["one"]) / (waiting - 1)
    ideal = blocking * BLOCKED / SLOTS
    first = WAITED + waiting * cost
    rows = [
        Row(f"{blocking} nodes blocking {BLOCKED} s, {SLOTS} slots: steps",
            span["blocking"], ideal, 1.2),
        Row("the same, whole run", whole["blocking"], ideal),
        Row(f"{waiting} async nodes of {WAITED} s: steps vs {WAITED} s + nodes x cost",
            span["waiting"], first, 1.1),
        Row("the same, whole run", whole["waiting"], first),
        Row("cost of such a node", cost),
    ]  # fmt: skip
    report("parallel", rows, quick=quick, measured=found)


if __name__ == "__main__":
    main()
