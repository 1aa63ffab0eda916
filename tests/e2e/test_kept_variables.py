"""Two recorded runs through the command line, and what the first keeps for the second."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from forked_pythons import ForkedPythons

from e2e.webserver import environment

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]


def test_a_second_run_begins_with_what_the_first_has_kept(
    tmp_path: Path, ray_folder: Path, pythons: ForkedPythons
) -> None:
    (tmp_path / "flows").mkdir()
    shutil.copy(ROOT / "flows" / "visits.json", tmp_path / "flows")
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.rayflow_dagster]\n")

    def typed(*arguments: str) -> dict[str, Any]:
        command = ["-m", "rayflow_dagster", *arguments, "--json"]
        variables = {**environment(ray_folder), "DAGSTER_HOME": str(tmp_path / ".dagster")}
        done = pythons.run(command, tmp_path, variables)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    (tmp_path / ".dagster").mkdir()
    shutil.copy(ROOT / "dagster.yaml", tmp_path / ".dagster")
    first = typed("run", "visits", "-i", "visitor=Ada")
    second = typed("run", "visits", "-i", "visitor=Grace")

    assert first["result"] == {"visits": 1, "last_visitor": None}
    assert second["result"] == {"visits": 2, "last_visitor": "Ada"}
    found = {each["name"]: each for each in typed("variables", "visits")["variables"]}
    assert (found["visits"]["value"], found["last_visitor"]["value"]) == (2, "Grace")
    assert found["visits"]["changed_by"] == second["run_id"]
