"""Flows side by side: the same is said when a code location loads, and by ``validate``."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from defs.triggers.triggered import flow_of

from rayflow_dagster import build_definitions
from rayflow_dagster.cli.validate import check_files

DAILY = {"cron": "@daily"}


def write(project: Path, **flows: dict[str, Any]) -> list[Path]:
    folder = project / "flows"
    folder.mkdir(parents=True)
    (project / "definitions.py").touch()
    for name, flow in flows.items():
        (folder / f"{name}.json").write_text(json.dumps(flow))
    return sorted(folder.glob("*.json"))


def waiting_for(flow: str, **inputs: str) -> dict[str, Any]:
    declared = {name: {"type": "any", "default": None} for name in inputs}
    return flow_of(declared, sensors=[{"type": "flow", "flow": flow, "inputs": inputs}])


def asset(key: str, *deps: str) -> dict[str, Any]:
    flow = flow_of({})
    flow["nodes"][1]["data"] = {"asset": {"key": key, "deps": list(deps)}}
    return flow


def refused(files: list[Path]) -> dict[str, str]:
    """What a code location of these files says of flows that cannot run."""
    repository = build_definitions(files[0].parent).get_repository_def()
    jobs = [job for job in repository.get_all_jobs() if job.tags.get("rayflow/broken")]
    return {job.name: job.description or "" for job in jobs}


@pytest.mark.parametrize(
    ("flows", "later", "told"),
    [
        (
            {
                "nm": flow_of({}, schedules=[{**DAILY, "name": "a_b"}]),
                "nm_a": flow_of({}, schedules=[{**DAILY, "name": "b"}]),
            },
            "nm_a",
            "trigger 'nm_a_b': flow 'nm' has one of this name",
        ),
        ({"a": asset("share"), "b": asset("share")}, "b", "'share' is declared by flow 'a'"),
        ({"a": asset("x", "y"), "b": asset("y", "x")}, "b", "remove one of the deps"),
    ],
)
def test_what_cannot_stand_beside_another_flow_is_refused_and_found(
    tmp_path: Path, flows: dict[str, Any], later: str, told: str
) -> None:
    files = write(tmp_path, **flows, fine=flow_of({}))
    (name, text), *others = refused(files).items()
    assert (name, others) == (later, [])
    assert told in text
    found = {file.path.stem: file for file in check_files(files)}
    assert [stem for stem, file in found.items() if not file.is_valid] == [later]
    assert told in found[later].findings[0].message


@pytest.mark.parametrize(
    ("sensed", "told"),
    [
        (waiting_for("sorce"), "there is no flow 'sorce' here"),
        (waiting_for("sorce"), "did you mean 'source'"),
        (waiting_for("sensed"), "waits for itself"),
        (waiting_for("source", n="{{ result.totl }}"), "flow 'source' returns no 'totl'"),
    ],
)
def test_a_sensor_that_can_hardly_be_meant_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sensed: dict[str, Any], told: str
) -> None:
    source = flow_of({"total": {"type": "int", "default": 1}})
    files = write(tmp_path, source=source, sensed=sensed)
    with caplog.at_level(logging.WARNING, "rayflow_dagster"):
        assert refused(files) == {}
    assert told in caplog.text
    (found,) = [file for file in check_files(files) if file.findings]
    assert (found.path.stem, found.is_valid) == ("sensed", True)
    assert told in found.findings[0].message


def test_a_variable_that_is_not_set_is_told_when_the_flow_loads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = {"type": "str", "default": {"$env": "NO_SUCH_TOKEN"}}
    files = write(tmp_path, secretive=flow_of({"token": token}))
    with caplog.at_level(logging.WARNING, "rayflow_dagster"):
        repository = build_definitions(files[0].parent).get_repository_def()
    assert "flows/secretive.json: " in caplog.text
    assert "NO_SUCH_TOKEN" in caplog.text
    shown = repository.get_job("secretive").metadata["warnings"]
    assert "NO_SUCH_TOKEN" in str(shown.value)


def test_of_many_warnings_some_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = write(tmp_path, **{f"f{number}": waiting_for("gone") for number in range(15)})
    with caplog.at_level(logging.WARNING, "rayflow_dagster"):
        refused(files)
    assert len(caplog.records) == 11
    assert "5 more warnings" in caplog.text
