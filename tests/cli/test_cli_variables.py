"""``rayflow-dagster variables``, and direct runs of a flow that keeps some."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rayflow_dagster.cli.direct import DirectRunner
from rayflow_dagster.cli.flows import open_flow
from rayflow_dagster.cli.progress import NoProgress
from rayflow_dagster.testing import in_process

VISITS = Path(__file__).parents[2] / "flows" / "visits.json"


@pytest.fixture
def visits(project: Path) -> Path:
    """The working folder: a project with the flow ``visits``."""
    (project / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    (project / "flows" / "visits.json").write_bytes(VISITS.read_bytes())
    return project


@pytest.fixture
def shown(typed):
    def show(*order: str) -> dict[str, dict]:
        result = typed("variables", "visits", *order, "--json")
        assert result.exit_code == 0, result.output
        return {each["name"]: each for each in json.loads(result.stdout)["variables"]}

    return show


def test_what_was_never_written_is_shown_with_its_default(visits, typed):
    printed = typed("variables", "visits").output
    assert [line.split()[0] for line in printed.splitlines()] == ["name", "visits", "last_visitor"]
    assert "0 (default)" in printed


def test_what_is_set_is_shown_until_it_is_reset(visits, shown):
    found = shown("set", "visits", "-5")["visits"]
    assert (found["value"], found["changed_by"], found["version"]) == (-5, "the command line", 1)
    assert shown()["visits"]["value"] == -5
    shown("set", "last_visitor", '"Ada"')
    assert shown("reset", "visits")["visits"]["is_default"]
    assert shown()["last_visitor"]["value"] == "Ada"
    assert shown("reset")["last_visitor"]["is_default"]


@pytest.mark.parametrize(
    ("order", "code", "said"),
    [
        (("set", "visits", '"x"'), 1, "variable 'visits' takes int, not 'x'"),
        (("set", "last_visitor", "Ada"), 1, "is not JSON; a text has quotes of its own"),
        (("set", "visit", "1"), 1, "did you mean 'visits'"),
        (("reset", "nothing"), 1, "keeps no variable 'nothing' between runs"),
        (("set", "visits"), 2, "set takes a variable's name and a JSON value"),
        (("reset", "visits", "1"), 2, "reset takes the name of one variable"),
        (("change", "visits"), 2, "'change' is not one of"),
    ],
)
def test_a_wrong_order_changes_nothing_and_says_why(visits, typed, shown, order, code, said):
    result = typed("variables", "visits", *order)
    assert result.exit_code == code
    assert said in result.stderr
    assert all(each["is_default"] for each in shown().values())


def test_a_flow_that_keeps_nothing_says_so(visits, typed):
    assert "keeps no variables between runs" in typed("variables", "linear").output


def test_a_secret_is_shown_and_stored_as_its_reference(visits, shown, monkeypatch):
    monkeypatch.setenv("VISITOR", "hunter2-hunter2")
    reference = {"$env": "VISITOR"}
    assert shown("set", "last_visitor", json.dumps(reference))["last_visitor"]["value"] == reference
    assert shown()["last_visitor"]["value"] == reference
    file = visits / ".dagster" / "storage" / "rayflow" / "variables.db"
    with closing(sqlite3.connect(file)) as database, database:
        rows = database.execute("select value from rayflow_variables").fetchall()
    assert rows == [('{"$env": "VISITOR"}',)]


def test_direct_runs_keep_variables_where_recorded_runs_do(visits, shown):
    for visitor in ("Ada", "Grace"):
        runner = DirectRunner(open_flow("visits"), connect=in_process)
        report = runner.run({"visitor": visitor}, NoProgress())
    assert report.result == {"visits": 2, "last_visitor": "Ada"}
    found = shown()
    assert (found["visits"]["value"], found["last_visitor"]["value"]) == (2, "Grace")
    assert found["visits"]["changed_by"].startswith("direct-")
