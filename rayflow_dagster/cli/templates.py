"""The files that ``init`` and ``new-node`` write."""

from collections.abc import Mapping

DEFINITIONS = """\
from pathlib import Path

from rayflow_dagster import build_definitions

defs = build_definitions(Path(__file__).with_name("flows"))
"""

WORKSPACE = """\
load_from:
  - python_file: definitions.py
"""

DAGSTER_SETTINGS = """\
# Settings of this project's Dagster instance. `rayflow-dagster run` and `rayflow-dagster dev` copy
# this file into .dagster/, the DAGSTER_HOME of the project. Edit it here, where Dagster itself does
# not read it. No setting names a path: runs, events and values are kept in .dagster/ itself.

# Events are kept in Dagster's own SQLite files, written faster. To swap back to Dagster's class,
# delete these three lines; the runs stay readable either way. For production, use PostgreSQL.
event_log_storage:
  module: rayflow_dagster.instance.event_log
  class: FastSqliteEventLogStorage

# Each run starts in a fresh child of a process that has imported everything already. For Dagster's
# default launcher, delete this line.
run_launcher: {module: rayflow_dagster.instance.launcher, class: WarmRunLauncher}

# A run that nothing holds up is launched at once; with ten in progress, or with limits on its tags
# or on pools, it waits in Dagster's queue. One second is the shortest interval between two looks at
# it. The limit on a tag is what "overlap": "queue" and "cancel" of schedules and sensors rest on.
run_coordinator:
  module: rayflow_dagster.instance.coordinator
  class: PromptRunCoordinator
  config:
    max_concurrent_runs: 10
    dequeue_interval_seconds: 1
    tag_concurrency_limits:
      - {key: rayflow/one_at_a_time, value: {applyLimitPerUniqueValue: true}, limit: 1}

# A run whose process has died unseen (killed, the machine was switched off) is recorded as failed,
# and what it held in pools is free a minute after its end.
run_monitoring: {enabled: true, poll_interval_seconds: 30, free_slots_after_run_end_seconds: 60}

# Such a run is launched again if a trigger started it and no node had run, or if its flow says so
# with "retry_lost". Other runs are run again where their tags say so (dagster/max_retries) only.
run_retries: {enabled: true}

telemetry:
  enabled: false

# No invitation to a newsletter on the first visit.
nux:
  enabled: false
"""

GREET_NODE = '''\
from typing import Any

from rayflow_dagster import RayflowNode


class GreetNode(RayflowNode):
    """Greet somebody by name."""

    category = "text"
    inputs = {"name": str, "times": {"type": int, "default": 1}}
    outputs = {"greeting": str}

    GREETING = "Hello"  # a constant: a flow may set it for each node

    def process(self, name: str, times: int) -> dict[str, Any]:
        self.log.info("greeting %s", name)
        return {"greeting": " ".join([f"{self.GREETING}, {name}!"] * times)}
'''

HELLO_FLOW = """\
{
  "name": "hello",
  "description": "Greet somebody: the first flow of this project.",
  "nodes": [
    {
      "id": "start",
      "type": "start",
      "data": {
        "label": "Start",
        "inputs": {
          "name": {"type": "str", "default": "world", "description": "who is greeted"},
          "times": {"type": "int", "default": 1, "description": "how often"}
        }
      },
      "position": {"x": 80, "y": 120}
    },
    {
      "id": "greet",
      "type": "nodes.greet.GreetNode",
      "data": {"label": "Greet", "constantValues": {"GREETING": "Hello"}},
      "position": {"x": 340, "y": 120}
    },
    {
      "id": "return",
      "type": "return",
      "data": {"label": "Return"},
      "position": {"x": 600, "y": 120}
    }
  ],
  "edges": [
    {"id": "e1", "source": "start", "target": "greet", "sourceHandle": "exec_out", "targetHandle": "exec_in", "type": "exec"},
    {"id": "e2", "source": "greet", "target": "return", "sourceHandle": "exec_out", "targetHandle": "exec_in", "type": "exec"},
    {"id": "e3", "source": "start", "target": "greet", "sourceHandle": "name", "targetHandle": "name", "type": "str"},
    {"id": "e4", "source": "start", "target": "greet", "sourceHandle": "times", "targetHandle": "times", "type": "int"},
    {"id": "e5", "source": "greet", "target": "return", "sourceHandle": "greeting", "targetHandle": "greeting", "type": "str"}
  ]
}
"""  # noqa: E501 - an edge a line is what an author wants to read

GREET_TEST = """\
from rayflow_dagster.testing import run_node_locally

from nodes.greet import GreetNode


def test_somebody_is_greeted_by_name() -> None:
    assert run_node_locally(GreetNode, name="Ada") == {"greeting": "Hello, Ada!"}


def test_the_greeting_can_be_set() -> None:
    outputs = run_node_locally(GreetNode, constants={"GREETING": "Hi"}, name="Ada", times=2)

    assert outputs == {"greeting": "Hi, Ada! Hi, Ada!"}
"""

SETTINGS = """\
# Other packages of node classes, and defaults for the settings of every flow, are named here.
[tool.rayflow_dagster]

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]
addopts = "--import-mode=importlib"
"""

IGNORED = """\
.dagster/
.env
.venv/
__pycache__/
.pytest_cache/
"""

PROJECT: Mapping[str, str] = {
    "definitions.py": DEFINITIONS,
    "workspace.yaml": WORKSPACE,
    "dagster.yaml": DAGSTER_SETTINGS,
    "nodes/__init__.py": '"""The nodes of this project, for the flows in ``flows/``."""\n',
    "nodes/greet.py": GREET_NODE,
    "flows/hello.json": HELLO_FLOW,
    "tests/test_greet.py": GREET_TEST,
    "pyproject.toml": SETTINGS,
    ".gitignore": IGNORED,
}
"""Path in the project -> content."""
KEPT = ("pyproject.toml", ".gitignore")
"""Those that a folder may have already, and keeps."""

PYTEST_SETTINGS = """\
[pytest]
pythonpath = .
addopts = --import-mode=importlib
"""

_NODE = '''\
from typing import Any

from rayflow_dagster import RayflowNode


class {name}(RayflowNode):
    """Say here what the node does."""

    category = "{category}"
    inputs = {{"text": str, "times": {{"type": int, "default": 1}}}}
    outputs = {{"result": str}}

    SEPARATOR = " "  # a constant: a flow may set it for each node

    def process(self, text: str, times: int) -> dict[str, Any]:
        return {{"result": self.SEPARATOR.join([text] * times)}}
'''

_NODE_TEST = """\
from rayflow_dagster.testing import run_node_locally

from {module} import {name}


def test_the_text_is_repeated() -> None:
    assert run_node_locally({name}, text="a", times=2) == {{"result": "a a"}}


def test_one_time_is_the_default() -> None:
    assert run_node_locally({name}, text="a") == {{"result": "a"}}


def test_the_separator_can_be_set() -> None:
    outputs = run_node_locally({name}, constants={{"SEPARATOR": "-"}}, text="a", times=2)

    assert outputs == {{"result": "a-a"}}
"""


def node_source(name: str, category: str) -> str:
    """The file of a node class."""
    return _NODE.format(name=name, category=category)


def node_test_source(module: str, name: str) -> str:
    """The test of a node class."""
    return _NODE_TEST.format(module=module, name=name)
