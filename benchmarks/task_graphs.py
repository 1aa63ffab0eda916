"""Real task graphs (WfCommons instances): is the makespan near what any scheduler could reach?

Each task becomes a node that blocks for a hundredth of the seconds that the task really took, with
exec edges from its parents. Recorded runs in the repository's ``dagster.yaml``, on a Ray that is up
with 8 worker slots and at rest: it has idle processes, and no worker yet. The makespan is from the
first step's start to the last step's end, START and RETURN included. No schedule can be shorter
than the critical path, nor than all work divided by the slots; it is compared with the longer of
the two.

The files are looked for in ``../shared/data/wfcommons/`` beside this repository, or in the folder
that WFCOMMONS names; without any, nothing is measured.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path

from _bench import (
    REPOSITORY,
    Row,
    alternate,
    embedded_ray,
    is_quick,
    medians,
    our_instance,
    report,
    rest,
)
from _flows import task_graph
from _runs import build, watch

SLOTS = 8
SCALE = 1 / 100
FOLDER = REPOSITORY.parent / "shared" / "data" / "wfcommons"


@dataclass(frozen=True, slots=True)
class Tasks:
    """A task graph: seconds and parents of each task."""

    seconds: Mapping[str, float]
    parents: Mapping[str, Sequence[str]]

    def bound(self, slots: int) -> float:
        """The least makespan that any schedule can have, in seconds."""
        ends: dict[str, float] = {}
        for task in TopologicalSorter(self.parents).static_order():
            before = max((ends[parent] for parent in self.parents[task]), default=0.0)
            ends[task] = before + self.seconds[task]
        return max(*ends.values(), sum(self.seconds.values()) / slots)


def main() -> None:
    """Measure, print and write."""
    quick = is_quick(__doc__)
    folder = Path(os.environ.get("WFCOMMONS", FOLDER))
    files = sorted(folder.glob("*.json"))
    if not files:
        report("task_graphs", [], quick=quick, notes=[f"not measured; {folder} has no task graphs"])
        return
    scale, repeat = (SCALE / 50, 1) if quick else (SCALE, 3)
    graphs = {file.stem: read(file, scale) for file in files}
    with embedded_ray(SLOTS), our_instance() as instance:
        jobs = {
            name: build(task_graph(tasks.seconds, tasks.parents)) for name, tasks in graphs.items()
        }

        def makespan(name: str) -> float:
            rest(SLOTS)
            return watch(jobs[name], instance).span

        found = alternate({name: partial(makespan, name) for name in jobs}, repeat)
    rows = [
        Row(f"{name} ({len(graphs[name].seconds)} tasks): makespan vs the least possible",
            seconds, graphs[name].bound(SLOTS), 1.2)
        for name, seconds in medians(found).items()
    ]  # fmt: skip
    report("task_graphs", rows, quick=quick, measured=found)


def read(file: Path, scale: float) -> Tasks:
    """The tasks of a WfCommons instance (schema 1.5), their seconds scaled."""
    workflow = json.loads(file.read_text(encoding="utf-8"))["workflow"]
    took = {task["id"]: task["runtimeInSeconds"] for task in workflow["execution"]["tasks"]}
    tasks = workflow["specification"]["tasks"]
    return Tasks(
        {task["id"]: took[task["id"]] * scale for task in tasks},
        {task["id"]: list(dict.fromkeys(task["parents"])) for task in tasks},
    )


if __name__ == "__main__":
    main()
