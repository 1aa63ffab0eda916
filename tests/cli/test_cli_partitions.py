"""``rayflow-dagster run`` of a flow with partitions."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cli_flows import flow_with_inputs, write_flow
from dagster import DagsterInstance

from rayflow_dagster.cli.flows import open_flow
from rayflow_dagster.cli.progress import NoProgress
from rayflow_dagster.cli.recorded import RecordedRunner
from rayflow_dagster.errors import InvalidInputsError
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import InProcessActors, in_process


def write_parted(project: Path, partitions: dict[str, Any]) -> None:
    flow = flow_with_inputs({"day": "str"})
    write_flow(project / "flows" / "parted.json", {**flow, "partitions": partitions})


def partition_of_run(project: Path) -> str:
    """The partition of the one run, which Dagster counts in the job's partition set."""
    os.environ["DAGSTER_HOME"] = str(project / ".dagster")
    with DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
    assert run.tags["dagster/partition_set"] == "parted_partition_set"
    return run.tags["dagster/partition"]


@pytest.mark.ray
def test_the_run_counts_for_the_partition_that_its_input_names(
    ray_session, typed, project: Path
) -> None:
    write_parted(project, {"kind": "daily", "start": "2026-01-01", "input": "day"})
    result = typed("run", "parted", "-i", "day=2026-01-05", "--json")
    assert json.loads(result.stdout)["result"] == {"day": "2026-01-05"}
    assert partition_of_run(project) == "2026-01-05"


@pytest.mark.ray
def test_a_new_dynamic_partition_is_added(ray_session, typed, project: Path) -> None:
    write_parted(project, {"kind": "dynamic", "input": "day"})
    assert typed("run", "parted", "-i", "day=ada").exit_code == 0
    assert partition_of_run(project) == "ada"
    with DagsterInstance.get() as instance:
        assert instance.get_dynamic_partitions("parted") == ["ada"]


@pytest.mark.ray
def test_a_partition_that_is_not_there_is_one_message(ray_session, typed, project: Path) -> None:
    write_parted(project, {"kind": "static", "values": ["north", "south"], "input": "day"})
    result = typed("run", "parted", "-i", "day=east")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: input 'day': there is no partition 'east' (known: north, south)\n"
    )


def test_a_partition_that_is_not_there_is_refused_before_anything_is_started(
    typed, project: Path
) -> None:
    write_parted(project, {"kind": "static", "values": ["north", "south"], "input": "day"})
    started = []

    def connect(orchestrator: FlowOrchestrator) -> InProcessActors:
        started.append(orchestrator)
        return in_process(orchestrator)

    runner = RecordedRunner(open_flow("parted"), connect)
    with pytest.raises(InvalidInputsError, match="there is no partition 'east'"):
        runner.run({"day": "east"}, NoProgress())
    assert started == []


@pytest.mark.ray
@pytest.mark.parametrize("key", ["", "a...b", "a\nb"])
def test_what_cannot_be_a_part_is_refused_as_in_the_flow_file(
    ray_session, typed, project: Path, key
) -> None:
    write_parted(project, {"kind": "dynamic", "input": "day"})
    result = typed("run", "parted", "-i", f"day={key}")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: input 'day': ")
    assert "cannot be a part" in result.stderr
