"""A small project that is edited while it is served, and how it is edited."""

import itertools
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from e2e.example_project import PROJECT
from e2e.webserver import Webserver

SECONDS = 150.0  # Dagster's daemon looks only once a minute which code there is

WAIT_NODE = '''
import time
from pathlib import Path

from rayflow_dagster import RayflowNode


class WaitNode(RayflowNode):
    """Wait until a file is there."""

    inputs = {"path": str}
    outputs = {"path": str}

    def process(self, path):
        while path and not Path(path).exists():
            time.sleep(0.05)
        return {"path": path}
'''
DEFINITIONS = """
from pathlib import Path

from dagster import DefaultSensorStatus, Definitions, RunRequest, ScheduleDefinition
from dagster import SensorDefinition

from rayflow_dagster import build_definitions

nightly = ScheduleDefinition(name="nightly", job_name="other", cron_schedule="0 3 * * *")
sensors = []
defs = Definitions.merge(
    build_definitions(Path(__file__).with_name("flows")),
    Definitions(schedules=[nightly], sensors=sensors),
)
"""


def make_live_project(folder: Path, orders: str) -> None:
    """Flows that wait, ``edited``, ``long`` and ``other``, and the example flow ``daily_sales``
    with these orders."""
    for name in ("flows", "nodes", "data"):
        (folder / name).mkdir(parents=True)
    (folder / "definitions.py").write_text(DEFINITIONS)
    (folder / "workspace.yaml").write_text("load_from:\n  - python_file: definitions.py\n")
    (folder / "nodes" / "__init__.py").touch()
    (folder / "nodes" / "wait.py").write_text(WAIT_NODE)
    shutil.copytree(PROJECT / "nodes" / "orders", folder / "nodes" / "orders")
    shutil.copy(PROJECT / "flows" / "daily_sales.json", folder / "flows")
    (folder / "data" / "orders.csv").write_text(orders)
    save(folder, "edited", "First")
    save(folder, "long", "Before", "After")
    save(folder, "other", "Only")


def chain(*labels: str) -> str:
    """A flow that waits once for each label, one after the other."""
    nodes: list[dict[str, Any]] = [
        {
            "id": "start",
            "type": "start",
            "data": {"label": "Start", "inputs": {"path": {"type": "str", "default": ""}}},
        },
        *({"id": f"n{i}", "type": "nodes.wait.WaitNode", "data": {"label": label}}
          for i, label in enumerate(labels)),
        {"id": "return", "type": "return", "data": {"label": "Return"}},
    ]  # fmt: skip
    edges = []
    for source, target in itertools.pairwise(nodes):
        ends = {"source": source["id"], "target": target["id"]}
        for kind, out, into in (("exec", "exec_out", "exec_in"), ("str", "path", "path")):
            handles = {"sourceHandle": out, "targetHandle": into}
            edges.append({"id": f"e{len(edges)}", "type": kind, **ends, **handles})
    return json.dumps({"nodes": nodes, "edges": edges})


def save(project: Path, flow: str, *labels: str) -> None:
    (project / "flows" / f"{flow}.json").write_text(chain(*labels))


def until(is_so: Callable[[], bool], server: Webserver) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"it has not come; the log:\n{server.log}"
        time.sleep(0.2)
