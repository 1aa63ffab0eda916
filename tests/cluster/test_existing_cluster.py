"""Runs on a cluster of several machines, from a driver that is not on its head."""

import json
from pathlib import Path
from typing import Any

import pytest
from clusters import Machines, said
from drawing import draw, node

pytestmark = pytest.mark.ray

WIDE = [f"where{number}" for number in range(8)]
NODES = '''
import os
import time

import numpy
from helpers import double

from rayflow_dagster import RayflowNode


def machine():
    import ray

    here = ray.get_runtime_context().get_node_id()
    return next(n["NodeManagerAddress"] for n in ray.nodes() if n["NodeID"] == here)


class WhereNode(RayflowNode):
    """Says where it runs, once nodes of its kind have begun on two machines."""

    outputs = {"machine": str}
    KIND = "wide"

    def process(self):
        folder = os.path.join(os.environ["BEGUN"], self.KIND)
        os.makedirs(folder, exist_ok=True)
        here = machine()
        open(os.path.join(folder, here), "w").close()
        while len(os.listdir(folder)) < 2:
            time.sleep(0.05)
        return {"machine": here}


class SpecialNode(RayflowNode):
    outputs = {"machine": str}
    ray_options = {"resources": {"special": 1}}

    def process(self):
        return {"machine": machine()}


class WholeNode(SpecialNode):
    """Needs a whole machine, of which there is one."""

    ray_options = {"num_cpus": 2, "resources": {"special": 1}}


class MakeNode(RayflowNode):
    inputs = {"text": str}
    outputs = {"array": "numpy.ndarray", "machine": str}
    ray_options = {"resources": {"special": 1}}

    def process(self, text):
        return {"array": numpy.full(4_000_000, double(len(text))), "machine": machine()}


class SumNode(RayflowNode):
    inputs = {"array": "numpy.ndarray", "there": str}
    outputs = {"total": float, "elsewhere": bool}
    ray_options = {"resources": {"node:127.0.0.3": 0.01}}

    def process(self, array, there):
        return {"total": float(array.sum()), "elsewhere": machine() != there}


class ReadNode(RayflowNode):
    """Uses what only the shipment brings: a file, the package, the project's runtime_env."""

    outputs = {"text": str, "folder": str, "package": str, "greeting": str}

    def process(self):
        import rayflow_dagster

        with open("words.txt") as file:
            text = file.read()
        return {
            "text": text,
            "folder": os.getcwd(),
            "package": rayflow_dagster.__file__,
            "greeting": os.environ["GREETING"],
        }


class GreedyNode(RayflowNode):
    ray_options = {"resources": {"unheard_of": 1}}

    def process(self):
        return {}
'''
SETTINGS = """
[tool.rayflow_dagster.runtime_env]
env_vars = { GREETING = "hello", BEGUN = "{folder}" }
"""
RUN = """
import asyncio, json, os, sys
from pathlib import Path
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project
from rayflow_dagster.cluster import connection
from rayflow_dagster.errors import ClusterError

def run(flow):
    orchestrator = FlowOrchestrator(Project.at(Path.cwd()))
    return asyncio.run(orchestrator.execute_flow(flow, {}))

def refusal(folder):
    # Why a process that is connected for one project is not for another.
    try:
        connection.connect(shipment=connection.Shipment(folder, "another"))
    except ClusterError as error:
        return str(error)
"""


def write_project(folder: Path) -> None:
    """A project with nodes, which import a module and read a file beside them."""
    (folder / "nodes").mkdir(parents=True)
    (folder / "nodes" / "__init__.py").write_text("")
    (folder / "nodes" / "far.py").write_text(NODES)
    (folder / "helpers.py").write_text("def double(x):\n    return 2 * x\n")
    (folder / "words.txt").write_text("some words")
    (folder / "pyproject.toml").write_text(SETTINGS.replace("{folder}", f"{folder}/begun"))


def run(machines: Machines, project: Path, *flows: Any, before: str = "") -> list[Any]:
    """What ``execute_flow`` answers to each flow, in a driver of its own without its noise; then
    why the driver is refused a connection for another project.
    """
    told = "[*(run(flow) for flow in json.load(sys.stdin)), refusal(Path('/another'))]"
    source = f"{RUN}\n{before}\nprint(json.dumps({told}))"
    process = machines.driver(source, project)
    answers: list[Any] = json.loads(said(process, json.dumps(flows)))
    return answers


def far(name: str, **data: Any) -> dict[str, Any]:
    return node(f"nodes.far.{name}Node", **data)


def wide_flow() -> dict[str, Any]:
    nodes = {name: far("Where") for name in WIDE}
    wires = [f"start > {name}, {name} > return, {name}.machine - return.{name}" for name in WIDE]
    return draw(
        {"start": "start", **nodes, "special": far("Special"), "return": "return"},
        ",".join([*wires, "start > special, special > return, special.machine - return.special"]),
    )


def whole_flow() -> dict[str, Any]:
    """Six nodes beside each other, then one that needs a whole machine."""
    nodes = {name: far("Where", values={"KIND": "whole"}) for name in WIDE[:6]}
    wires = [f"start > {name}, {name} > whole" for name in nodes]
    return draw(
        {"start": "start", **nodes, "whole": far("Whole"), "return": "return"},
        ",".join([*wires, "whole > return, whole.machine - return.machine"]),
    )


def array_flow() -> dict[str, Any]:
    return draw(
        {
            "start": "start",
            "make": far("Make", values={"text": "abc"}),
            "sum": far("Sum"),
            "return": "return",
        },
        "start > make, make > sum, sum > return, make.array - sum.array, make.machine - sum.there,"
        "sum.total - return.total, sum.elsewhere - return.elsewhere",
    )


def greedy_flow() -> dict[str, Any]:
    return draw(
        {"start": "start", "greedy": far("Greedy"), "return": "return"},
        "start > greedy, greedy > return",
    )


def reading_flow() -> dict[str, Any]:
    outputs = ("text", "folder", "package", "greeting")
    wires = [f"read.{name} - return.{name}" for name in outputs]
    return draw(
        {"start": "start", "read": far("Read"), "return": "return"},
        ",".join(["start > read", "read > return", *wires]),
    )


@pytest.fixture(scope="module")
def answers(machines: Machines, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Of four flows, run by one driver, and of a second project."""
    project = tmp_path_factory.mktemp("project")
    write_project(project)
    return run(machines, project, wide_flow(), array_flow(), greedy_flow(), whole_flow())


def test_a_wide_flow_spreads_over_the_machines_and_special_nodes_go_where_they_must(answers):
    assert answers[0]["error"] is None
    found = answers[0]["result"]
    assert len({found[name] for name in WIDE}) == 2
    assert found["special"] == "127.0.0.2"


def test_a_large_array_made_on_one_machine_is_used_on_another(answers):
    assert answers[1]["error"] is None
    assert answers[1]["result"] == {"total": 4_000_000 * 6.0, "elsewhere": True}


def test_what_no_machine_has_is_refused_before_the_run(answers):
    error = answers[2]["error"]
    assert "node 'greedy' asks for" in error
    assert "unheard_of 1" in error
    assert "special 1" in error
    assert answers[2]["nodes_executed"] == 0


def test_idle_workers_end_on_the_machine_that_a_node_needs(answers):
    assert answers[3]["error"] is None
    assert answers[3]["result"] == {"machine": "127.0.0.2"}


def test_workers_without_the_project_find_it_where_it_was_shipped(machines, tmp_path):
    write_project(tmp_path / "project")
    before = """
connect = connection.connect

def connect_and_move(*arguments, **named):
    connect(*arguments, **named)
    os.rename(os.getcwd(), os.getcwd() + "-moved")

connection.connect = connect_and_move
"""
    answer, _refusal = run(machines, tmp_path / "project", reading_flow(), before=before)
    assert answer["error"] is None
    found = answer["result"]
    assert (found["text"], found["greeting"]) == ("some words", "hello")
    assert str(machines.folder) in found["folder"]
    assert str(machines.folder) in found["package"]


def test_a_second_project_in_one_process_is_refused(answers):
    assert "the cluster's workers have nothing of /another" in answers[4]


def test_the_command_line_prints_what_the_flow_says_and_no_noise(machines, tmp_path):
    """Recorded, then direct."""
    write_project(tmp_path)
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "reading.json").write_text(json.dumps(reading_flow()))
    main = """
from rayflow_dagster.cli import main
main(["run", "reading"], standalone_mode=False)
main(["run", "reading", "--direct"], standalone_mode=False)
"""
    out = said(machines.driver(main, tmp_path))
    assert out.count("some words") == 2
    assert not [word for word in ("Warning", "WARNING", "ERROR", "pid=", "ray::") if word in out]
