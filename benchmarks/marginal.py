"""What one more node costs, whatever the flow's size: (T(n) - T(1)) / (n - 1).

T(n) is a whole recorded run of n trivial nodes, ``durable: false``, from its record to its end, in
the repository's ``dagster.yaml``, on a Ray that is up and at rest, with two slots: as a chain, and
wide (all independent). The job is built before; its execution plan is not. The
figures of all sizes and both shapes are compared with the smallest of them.
"""

from functools import partial
from statistics import median

from _bench import Row, alternate, embedded_ray, is_quick, our_instance, report, rest
from _flows import Flow, chain, wide_bumps
from _runs import build, record

SLOTS = 2


def main() -> None:
    """Measure, print and write."""
    quick = is_quick(__doc__)
    sizes, repeat = ((5, 20), 1) if quick else ((100, 1000, 3000), 3)
    flows: dict[str, Flow] = {}
    for size in (1, *sizes):
        flows[f"chain {size}"] = chain(size, durable=False)
        flows[f"wide {size}"] = wide_bumps(size, durable=False)
    with embedded_ray(SLOTS), our_instance() as instance:
        jobs = {name: build(flow) for name, flow in flows.items()}
        record(jobs["chain 1"], instance)

        def whole_run(name: str) -> float:
            rest(SLOTS)
            return record(jobs[name], instance)

        found = alternate({name: partial(whole_run, name) for name in jobs}, repeat)
    seconds = {name: median(values) for name, values in found.items()}
    costs = {
        f"{shape} of {size}": (seconds[f"{shape} {size}"] - seconds[f"{shape} 1"]) / (size - 1)
        for shape in ("chain", "wide")
        for size in sizes
    }
    least = min(costs.values())
    rows = [
        Row(f"{name}, per node, vs the cheapest", cost, least, 1.5) for name, cost in costs.items()
    ]
    rows += [Row(f"{shape} of 1, whole run", seconds[f"{shape} 1"]) for shape in ("chain", "wide")]
    report("marginal", rows, quick=quick, measured=found)


if __name__ == "__main__":
    main()
