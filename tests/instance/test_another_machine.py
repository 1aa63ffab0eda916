"""A run whose launcher starts it on another machine, as those for Kubernetes, Docker and ECS do."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRun
from dagster._grpc.types import ExecuteRunArgs
from drawing import draw, node
from forked_pythons import ForkedPythons

COMMANDS = """
import json, sys
from dagster._cli import create_dagster_cli
for command in json.loads(sys.argv[1]):
    create_dagster_cli()(command, standalone_mode=False)
"""
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

    def __init__(self, root: Path, postgres_url: str, pythons: ForkedPythons) -> None:
        self._pythons = pythons
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
        search = os.pathsep.join([str(self.project), os.environ["PYTHONPATH"]])
        self._variables = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": search}

    def write(self, name: str, text: str) -> None:
        (self.project / "flows" / f"{name}.json").write_text(text)

    def dagster(self, *commands: list[str]) -> None:
        """Commands of Dagster, one after the other, in one process."""
        words = ["-c", COMMANDS, json.dumps(commands)]
        self._pythons.run(words, self.project, self._variables).check_returncode()


@pytest.fixture(scope="module")
def instance(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_url: str,
    ray_session: None,
    pythons: ForkedPythons,
) -> Iterator[DagsterInstance]:
    """Has a run of ``sum`` and one of ``half``: launched on one machine, which then has lost its
    files, and executed on another, whose flows are not the same.
    """
    here = Machine(tmp_path_factory.mktemp("here"), postgres_url, pythons)
    there = Machine(tmp_path_factory.mktemp("there"), postgres_url, pythons)
    here.write("sum", json.dumps(SUM))
    here.write("half", "{")
    there.write("sum", json.dumps({**SUM, "edges": []}))
    there.write("half", json.dumps(SUM))
    with DagsterInstance.from_config(str(here.home)) as instance:
        config = json.dumps({"ops": {"start": {"config": {"a": 2}}}})
        launch = ["job", "launch", "-m", "location", "-j"]
        here.dagster([*launch, "sum", "--config-json", config], [*launch, "half"])
        shutil.rmtree(here.project)
        shutil.rmtree(here.home / "storage", ignore_errors=True)
        for run in instance.get_runs():
            assert run.job_code_origin is not None
            command = ExecuteRunArgs(run.job_code_origin, run.run_id, None).get_command_args()
            there.dagster(command[command.index("api") :])
        yield instance


def run_of(instance: DagsterInstance, job: str) -> DagsterRun:
    (run,) = (run for run in instance.get_runs() if run.job_name == job)
    return run


@pytest.mark.ray
def test_the_flow_travels_with_the_run(instance: DagsterInstance) -> None:
    run = run_of(instance, "sum")

    assert run.is_success, " ".join(map(str, instance.all_logs(run.run_id)))
    assert "4" in run.tags["rayflow/result"]


@pytest.mark.ray
def test_what_was_wrong_with_a_flow_travels_with_its_run(instance: DagsterInstance) -> None:
    run = run_of(instance, "half")

    told = " ".join(str(record) for record in instance.all_logs(run.run_id))
    assert run.is_failure
    assert "it is not JSON" in told
