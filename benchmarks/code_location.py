"""How long does a code location of 200 flows of 20 nodes take to load, and does it import ray?

Each measurement is a fresh process that does what Dagster's code server does: import the module,
resolve the repository and all of its definitions, and make the snapshot that the webserver asks
for. Theirs: a Python module that builds the same 200 jobs by hand, with one ``OpDefinition`` per
node, compiled to byte code before. Every flow has ids and labels of its own, so that no two nodes
are alike. The time to import Dagster itself is the same on both sides and left out of the first
row.
"""

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _bench import REPOSITORY, Row, alternate, is_quick, medians, report
from _drawn import SHAPES, plain_ops

from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.project import Project

TARGET = 1.0

OURS = """
from rayflow_dagster import build_definitions

defs = build_definitions({flows!r})
"""

THEIRS = """
from _by_hand import build_by_hand
from dagster import Definitions, in_process_executor

JOBS = {jobs!r}

defs = Definitions(
    jobs=[build_by_hand(name, ops, executor_def=in_process_executor) for name, ops in JOBS.items()]
)
"""

CHILD = """
import json, sys, time

begun = time.perf_counter()
import dagster
from dagster._core.remote_representation.external_data import RepositorySnap

imported = time.perf_counter()
module = __import__(sys.argv[1])
repository = module.defs.get_repository_def()
repository.load_all_definitions()
RepositorySnap.from_def(repository, defer_snapshots=True)
loaded = time.perf_counter()
jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
print(json.dumps({
    "dagster": imported - begun,
    "location": loaded - imported,
    "jobs": len(jobs),
    "ops": sum(len(job.graph.node_dict) for job in jobs),
    "broken": sum("rayflow/broken" in job.tags for job in jobs),
    "ray": "ray" in sys.modules,
}))
"""


def main() -> None:
    quick = is_quick(__doc__)
    flows, nodes = (5, 10) if quick else (200, 20)
    with tempfile.TemporaryDirectory(prefix="rfb-location-") as name:
        folder = Path(name)
        ops = write_modules(folder, flows, nodes)
        load(folder, "ours", flows, ops)  # the first load also writes byte code and flow bytes
        load(folder, "theirs", flows, ops)
        whole: dict[str, list[float]] = {"ours": [], "theirs": []}

        def case(module: str) -> Callable[[], float]:
            def measured() -> float:
                found = load(folder, module, flows, ops)
                whole[module].append(found["dagster"] + found["location"])
                return found["location"]

            return measured

        found = alternate({module: case(module) for module in whole}, 1 if quick else 7)
    middle, both = medians(found), medians(whole)
    question = f"{flows} flows of {nodes} nodes: load / by hand"
    rows = [
        Row(question, middle["ours"], middle["theirs"], TARGET),
        Row("the same with the import of Dagster", both["ours"], both["theirs"], TARGET),
    ]
    notes = ["ray was not imported by any load of ours (each was asked)"]
    report("code_location", rows, quick=quick, measured=found, notes=notes)


def write_modules(folder: Path, flows: int, nodes: int) -> int:
    """``ours.py`` with its folder of flows, and ``theirs.py``; how many ops each has."""
    rng = random.Random(1)
    project = Project.at(REPOSITORY)
    drawn = folder / "flows"
    drawn.mkdir()
    jobs: dict[str, Any] = {}
    for number in range(flows):
        draw = list(SHAPES.values())[number % len(SHAPES)]
        name = f"flow_{number}"
        text = own_ids(json.dumps(draw(nodes, name)), rng)
        (drawn / f"{name}.json").write_text(text, encoding="utf-8")
        jobs[name] = plain_ops(compile_flow(json.loads(text), name, project))
    (folder / "ours.py").write_text(OURS.format(flows=str(drawn)), encoding="utf-8")
    (folder / "theirs.py").write_text(THEIRS.format(jobs=jobs), encoding="utf-8")
    return sum(len(ops) for ops in jobs.values())


def own_ids(flow: str, rng: random.Random) -> str:
    """The flow with node ids that no other flow has, as an editor gives them."""
    document = json.loads(flow)
    ids = {node["id"]: f"node_{rng.getrandbits(48):012x}" for node in document["nodes"]}
    for node in document["nodes"]:
        node["id"] = ids[node["id"]]
    for edge in document["edges"]:
        edge["source"], edge["target"] = ids[edge["source"]], ids[edge["target"]]
    return json.dumps(document)


def load(folder: Path, module: str, flows: int, ops: int) -> dict[str, Any]:
    """Load the code location in a process of its own; what it says of itself."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, module],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    shape = (found["jobs"], found["ops"], found["broken"], found["ray"])
    if shape != (flows, ops, 0, False):
        raise SystemExit(f"{module} did not load as it must: {found}")
    return found


if __name__ == "__main__":
    main()
