"""Small flows that failed once, each with what is right for it.

They lie in ``../shared/cases``, beside the repository; without that folder they are skipped.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rayflow_dagster.cli.direct import DirectRunner
from rayflow_dagster.cli.flows import open_flow
from rayflow_dagster.cli.progress import NoProgress
from rayflow_dagster.cli.recorded import RecordedRunner
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process

CASES = Path(__file__).parents[2] / "shared" / "cases"
RUNNERS = {"direct": DirectRunner, "recorded": RecordedRunner}

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="there is no ../shared/cases")


@dataclass(frozen=True)
class Case:
    """A flow with its result; ``warnings`` are the rules that its validation warns of, ``lines``
    what its nodes have written to ``out/side.txt`` by the end of its run.
    """

    name: str
    result: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.settings or ''}".strip()


CASES_AND_WHAT_IS_RIGHT = [
    Case("editor_set_and_get", {"x": 5}),
    Case("reader_behind_pure_node", {"x": 6}),
    Case("retry", {"seen": ["x"]}),
    Case("typed_bytearray", {"length": 3}),
    Case("group", warnings=("decoration",)),
    Case("side", warnings=("unawaited_nodes",)),
    Case("side", settings={"ends": "all_settled"}, lines=("audit", "mail")),
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder: a project with the flows and the node classes of the cases."""
    modules = {name: module for name, module in sys.modules.items() if _is_of_nodes(name)}
    for name in modules:
        del sys.modules[name]
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "out").mkdir()
    shutil.copytree(CASES / "nodes", folder / "nodes")
    shutil.copytree(CASES, folder / "flows", ignore=lambda *_: ["nodes", "README.md"])
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    for name in [name for name in sys.modules if _is_of_nodes(name)]:
        del sys.modules[name]
    sys.modules.update(modules)


def _is_of_nodes(name: str) -> bool:
    return name.partition(".")[0] == "nodes"


def _with_settings(case: Case) -> Path:
    file = Path("flows", f"{case.name}.json")
    if case.settings:
        file.write_text(json.dumps({**json.loads(file.read_text()), "settings": case.settings}))
    return file


def test_every_case_is_known() -> None:
    named = {case.name for case in CASES_AND_WHAT_IS_RIGHT}
    assert {file.stem for file in CASES.glob("*.json")} == named


@pytest.mark.parametrize("case", CASES_AND_WHAT_IS_RIGHT, ids=str)
def test_a_case_is_valid_with_the_right_warnings(project: Path, case: Case) -> None:
    flow = json.loads(_with_settings(case).read_text())
    validator = Project.at(project).validator()
    validator.validate(flow)
    found = [(finding.severity, finding.rule) for finding in validator.findings]
    assert found == [("warning", rule) for rule in case.warnings]


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("case", CASES_AND_WHAT_IS_RIGHT, ids=str)
def test_a_case_runs_to_the_right_result(project: Path, case: Case, runner: str) -> None:
    flow = open_flow(str(_with_settings(case)))
    report = RUNNERS[runner](flow, in_process).run({}, NoProgress())

    assert report.error is None
    assert report.result == case.result
    if case.lines is not None:
        assert Path("out", "side.txt").read_text().splitlines() == list(case.lines)
