"""A run whose launcher starts it on another machine, as those for Kubernetes, Docker and ECS do."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun
from dagster._grpc.types import ExecuteRunArgs
from drawing import draw, node

DAGSTER = str(Path(sys.executable).with_name("dagster"))
CODE = """
from pathlib import Path
from rayflow_dagster import build_definitions

defs = build_definitions(Path(__file__).with_name("flows"))
"""
SUM = draw(
    {"start": node("start", inputs={"a": "int"}), "add": "math.add", "return": "return"},
    "start > add, start.a - add.x, start.a - add.y, add > return, add.result - return.sum",
)


class Machine:
    """A copy of the project in a folder of its own, and a home of its own: they share nothing with
    another machine but the database.
    """

    def __init__(self, root: Path, postgres_url: str) -> None:
        self.project = root / "project"
        (self.project / "flows").mkdir(parents=True)
        (self.project / "location.py").write_text(CODE)
        home = root / "home"
        home.mkdir()
        # Does nothing: the test starts the run as such launchers do.
        launcher = {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"}
        settings = {
            "telemetry": {"enabled": False},
            "storage": {"postgres": {"postgres_url": postgres_url}},
            "run_coordinator": {
                "module": "dagster._core.run_coordinator",
                "class": "DefaultRunCoordinator",
            },
            "run_launcher": launcher,
        }
        (home / "dagster.yaml").write_text(json.dumps(settings))
        self.home = home
        paths = {"DAGSTER_HOME": str(home), "PYTHONPATH": str(self.project)}
        self._where: Any = {"cwd": self.project, "env": {**os.environ, **paths}}

    def write(self, name: str, text: str) -> None:
        (self.project / "flows" / f"{name}.json").write_text(text)

    def dagster(self, *arguments: str) -> None:
        subprocess.run([DAGSTER, *arguments], check=True, **self._where)


@pytest.fixture
def here(tmp_path: Path, postgres_url: str) -> Machine:
    return Machine(tmp_path / "here", postgres_url)


@pytest.fixture
def there(tmp_path: Path, postgres_url: str) -> Machine:
    return Machine(tmp_path / "there", postgres_url)


@pytest.fixture
def instance(here: Machine) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(here.home)) as instance:
        yield instance


def run_there(
    instance: DagsterInstance, here: Machine, there: Machine, job: str, **inputs: int
) -> DagsterRun:
    """Launch a run on one machine, lose its files, and execute it on the other."""
    config = json.dumps({"ops": {"start": {"config": inputs}}} if inputs else {})
    before = {run.run_id for run in instance.get_runs()}
    here.dagster("job", "launch", "-m", "location", "-j", job, "--config-json", config)
    shutil.rmtree(here.project)
    shutil.rmtree(here.home / "storage", ignore_errors=True)
    (run,) = (run for run in instance.get_runs() if run.run_id not in before)
    assert run.job_code_origin is not None
    command = ExecuteRunArgs(run.job_code_origin, run.run_id, None).get_command_args()
    there.dagster(*command[command.index("api") :])
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    return ended


@pytest.mark.ray
def test_the_flow_travels_with_the_run(
    ray_session: None, instance: DagsterInstance, here: Machine, there: Machine
) -> None:
    here.write("sum", json.dumps(SUM))
    there.write("sum", json.dumps({**SUM, "edges": []}))

    run = run_there(instance, here, there, "sum", a=2)

    assert run.is_success, " ".join(map(str, instance.all_logs(run.run_id)))
    assert "4" in run.tags["rayflow/result"]


def test_what_was_wrong_with_a_flow_travels_with_its_run(
    instance: DagsterInstance, here: Machine, there: Machine
) -> None:
    here.write("half", "{")
    there.write("half", json.dumps(SUM))

    run = run_there(instance, here, there, "half")

    told = " ".join(str(record) for record in instance.all_logs(run.run_id))
    assert run.is_failure
    assert "it is not JSON" in told
