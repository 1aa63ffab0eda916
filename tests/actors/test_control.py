"""Control nodes run in the run's process; whether variables may live there too."""

import asyncio
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from drawing import draw, node

from rayflow_dagster.actors.manager import ActorManager
from rayflow_dagster.actors.variable_users import others_use_variables
from rayflow_dagster.actors.variables import VariableStoreManager
from rayflow_dagster.compiler.loader import NodeLoader
from rayflow_dagster.compiler.registry import BUILTIN_PACKAGE, BUILTIN_ROOT, NodeRegistry, NodeRoot
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.project import Project
from rayflow_dagster.values.stored import StoredValue
from rayflow_dagster.variables.store import GlobalVariableStore

PATIENCE = 60  # seconds; how long a test waits before it gives up
LOGIC = f"{BUILTIN_PACKAGE}.logic."
VARIABLES = f"{BUILTIN_PACKAGE}.variables."
DECLARED = {"n": {"type": "int", "default": 1}, "text": {"type": "str", "default": ""}}


def control_flow() -> Any:
    flow = draw(
        {
            "start": node("start"),
            "compare": node(f"{LOGIC}compare.CompareNode", values={"a": 1, "b": 1}),
            "branch": node(f"{LOGIC}branch.BranchNode", values={"condition": True}),
            "up": node(f"{VARIABLES}increment_variable.IncrementVariableNode",
                       values={"VARIABLE": "n"}),
            "set": node(f"{VARIABLES}set_variable.SetVariableNode",
                        values={"VARIABLE": "text", "value": ""}),
            "get": node(f"{VARIABLES}get_variable.GetVariableNode", values={"VARIABLE": "text"}),
            "return": node("return"),
        },
        "start > compare, compare > up, up > set, set > get, get > branch, branch.true > return",
    )  # fmt: skip
    return {**flow, "variables": DECLARED}


def manager_with(store: Any) -> ActorManager:
    orchestrator = FlowOrchestrator(Project.at(Path(__file__).parent))
    manager = ActorManager(orchestrator.node_loader, store)
    manager.prepare(orchestrator.load(control_flow()))
    return manager


@pytest.fixture
def local(ray_session: None) -> Iterator[ActorManager]:
    manager = manager_with(GlobalVariableStore(DECLARED))
    yield manager
    manager.cleanup_actors()


@pytest.mark.ray
def test_a_control_node_has_run_when_dispatch_returns_and_needs_no_actor(local):
    future = local.dispatch("compare", {"a": 1, "b": [2]})
    assert future.done()
    reply = future.result()
    assert (reply.outputs, reply.exec_fired) == ({"result": False}, ("exec_out",))
    assert reply.details["pid"] == os.getpid()
    assert local.dispatch("branch", {"condition": True}).result().exec_fired == ("true",)
    assert local._pool.size == 0


@pytest.mark.ray
def test_its_failure_and_a_wrong_input_are_told_as_those_of_any_node(local):
    reply = local.dispatch("branch", {"condition": "yes"}).result()
    assert isinstance(reply.exception, TypeError)
    assert reply.details["input_previews"] == {"condition": "'yes'"}


@pytest.mark.ray
@pytest.mark.parametrize("kind", ["ref", "file", "large"])
def test_values_that_do_not_travel_inline_are_compared_on_a_worker(local, tmp_path, kind):
    file = tmp_path / "value.pkl"
    file.write_bytes(b"\x80\x04K\x01.")  # a pickled 1
    value = {"ref": ray.put(1), "file": StoredValue(str(file)), "large": "x" * 5000}[kind]
    reply = local.dispatch("compare", {"a": value, "b": 1}).result(PATIENCE)
    assert reply.outputs == {"result": kind != "large"}
    assert reply.details["pid"] != os.getpid()


@pytest.mark.ray
def test_variables_that_only_their_nodes_use_live_in_this_process(local):
    reply = local.dispatch("up", {}).result()
    assert (reply.outputs, reply.details["pid"]) == ({"value": 2}, os.getpid())
    assert "variables" in reply.details
    assert local._pool.size == 0


@pytest.mark.ray
def test_a_large_variable_comes_as_an_object_ref_and_is_stored(local, tmp_path):
    local._control._store.set("text", "x" * 5000)
    reply = local.dispatch("get", {}, str(tmp_path)).result()
    assert ray.get(reply.outputs["value"]) == "x" * 5000
    assert StoredValue(reply.details["stored"]["value"]).load() == "x" * 5000


@pytest.mark.ray
def test_variables_of_an_actor_are_used_from_here_without_a_worker(ray_session):
    variables = VariableStoreManager()
    manager = manager_with(variables.create_declared(DECLARED))
    futures = [manager.dispatch("up", {}) for _ in range(3)]
    assert [future.result(PATIENCE).outputs["value"] for future in futures] == [2, 3, 4]
    assert manager._pool.size == 0
    manager.cleanup_actors()
    variables.cleanup()
    assert manager.dispatch("up", {}).exception(PATIENCE) is not None


@pytest.mark.ray
def test_a_class_that_a_project_puts_in_the_place_of_ours_runs_on_a_worker(ray_session, tmp_path):
    (tmp_path / "branch.py").write_text("")
    root = NodeRoot(f"{BUILTIN_PACKAGE}.logic", tmp_path)
    manager = ActorManager(NodeLoader(NodeRegistry((BUILTIN_ROOT, root))), None)
    manager.prepare(FlowOrchestrator(Project.at(tmp_path)).load(control_flow()))
    assert manager.needs_worker("branch")
    assert not manager_with(None).needs_worker("branch")


@pytest.mark.ray
@pytest.mark.parametrize("value", [["word"] * 2000, {"$env": "RF_NAME"}], ids=["large", "secret"])
def test_any_value_goes_into_a_variable_that_only_its_nodes_use(ray_session, value):
    values = {"VARIABLE": "v"}
    flow = draw(
        {"start": "start", "put": node("variables.set_variable", values={**values, "value": value}),
         "got": node("variables.get_variable", values=values), "return": "return"},
        "start > put, put > got, got > return, got.value - return.out",
        variables={"v": {"type": "any", "default": None}},
    )  # fmt: skip
    orchestrator = FlowOrchestrator(Project.at(Path(__file__).parent))
    outcome = asyncio.run(orchestrator.execute_flow(flow, {}))  # type: ignore[arg-type]
    assert (outcome["error"], outcome["result"]) == (None, {"out": value})


@pytest.mark.ray
def test_a_node_that_decides_reads_a_large_value_here_and_takes_no_worker(ray_session):
    flow = draw(
        {"start": node("start", inputs={"text": "str"}), "split": node("text.split"),
         "it": node("logic.choose", values={"CASES": {"many": "words.size() > 900"}}),
         "return": node("return"), "few": node("control.fail")},
        "start.text - split.text, split.parts - it.words, it.many > return, it.default > few",
    )  # fmt: skip
    orchestrator = FlowOrchestrator(Project.at(Path(__file__).parent))
    long = asyncio.run(orchestrator.execute_flow(flow, {"text": "word " * 1000}))  # type: ignore[arg-type]
    assert long["error"] is None
    short = asyncio.run(orchestrator.execute_flow(flow, {"text": "word"}))  # type: ignore[arg-type]
    assert "the flow has failed here" in short["error"]
    manager = ActorManager(orchestrator.node_loader, None)
    manager.prepare(orchestrator.load(flow))  # type: ignore[arg-type]
    assert [manager.needs_worker(each) for each in ("split", "it", "few")] == [True, False, False]
    manager.cleanup_actors()


# --- who can touch the variables ------------------------------------------------------------------

NODE = """
    from rayflow_dagster import RayflowNode
    {imports}

    class QuietNode(RayflowNode):
        def process(self):
            {body}
"""


def touches(folder: Path, imports: str, body: str, files: dict[str, str]) -> bool:
    (folder / "nodes/deep").mkdir(parents=True)
    for file in ("nodes/__init__.py", "nodes/deep/__init__.py"):
        (folder / file).touch()
    text = textwrap.dedent(NODE).format(imports=imports, body=body)
    (folder / "nodes/deep/quiet.py").write_text(text)
    for name, content in files.items():
        (folder / name).with_suffix(".py").write_text(content)
    orchestrator = FlowOrchestrator(Project.at(folder))
    flow = draw(
        {"start": node("start"), "quiet": node("nodes.deep.quiet.QuietNode"),
         "log": node(f"{BUILTIN_PACKAGE}.debug.log.LogNode", values={"value": 1}),
         "up": node(f"{VARIABLES}increment_variable.IncrementVariableNode",
                    values={"VARIABLE": "n"}),
         "return": node("return")},
        "start > quiet, quiet > log, log > up, up > return",
    )  # fmt: skip
    graph = orchestrator.load({**flow, "variables": DECLARED})  # type: ignore[typeddict-item]
    return others_use_variables(graph, orchestrator.node_loader)


def test_a_flow_whose_nodes_never_mention_variables_does_not_touch_them(tmp_path):
    assert not touches(tmp_path, "import json, os.path", "pass", {"helper": "x = 'variables'"})


@pytest.mark.parametrize(
    ("imports", "body", "files"),
    [
        ("", "self.variables.get('n')", {}),
        ("", "getattr(self, 'Variables'.lower())", {}),
        ("import helper", "helper.use(self)", {"helper": "def use(n): n.variables.get('n')"}),
        ("from .. import near", "near.use(self)", {"nodes/near": "import helper\n",
                                                   "helper": "# variables"}),
        ("from . import *", "pass", {"nodes/deep/__init__": "# variables"}),
        ("from nodes.near import use", "use(self)",
         {"nodes/near": "from .far import use", "nodes/far": "def use(n): pass  # variables"}),
        ("", "import broken", {"broken": "def ("}),
        ("import json", "import helper", {"helper": "# variables"}),
    ],
)  # fmt: skip
def test_the_word_in_a_module_of_the_project_that_a_node_can_reach_is_enough(
    tmp_path, imports, body, files
):
    assert touches(tmp_path, imports, body, files)


def test_a_node_whose_ancestor_is_not_the_projects_may_touch_them(tmp_path):
    text = "from somewhere import Mixin"
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes/__init__.py").touch()
    (tmp_path / "nodes/mixed.py").write_text(
        f"{text}\nfrom rayflow_dagster import RayflowNode\n"
        "class MixedNode(Mixin, RayflowNode):\n    pass\n"
    )
    loader = FlowOrchestrator(Project.at(tmp_path)).node_loader
    graph: Any = {"nodes": {"n": {"class_path": "nodes.mixed.MixedNode"}}}
    assert others_use_variables(graph, loader)


def test_no_built_in_node_but_the_variable_nodes_mentions_variables():
    files = [file for file in BUILTIN_ROOT.path.rglob("*.py") if file.parent.name != "variables"]
    assert files
    assert not [file for file in files if "variables" in file.read_text()]
