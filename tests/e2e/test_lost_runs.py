"""Files arrive while processes are killed at named points: no run is lost, and none is doubled.

Every run writes what it does for a file into a journal, so that a second start would show there.
"""

import contextlib
import json
import shutil
import signal
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from drawing import draw, node
from inbox.inbox_processes import daemon, kill

from e2e.example_project import PROJECT, put, ticks_of, wait_until

pytestmark = pytest.mark.e2e

SECONDS = 90.0

JOURNAL = '''
import os
import time
from rayflow_dagster import RayflowNode

class JournalNode(RayflowNode):
    """Writes down that it has worked on a file, and works for a moment."""

    inputs = {{"path": str}}
    outputs = {{"path": str}}

    def process(self, path):
        journal = os.open("{journal}", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(journal, f"{{os.path.basename(path)}}\\n".encode())
        os.fsync(journal)
        os.close(journal)
        time.sleep(0.2)
        return {{"path": path}}
'''


def flow(name: str, **settings: bool) -> dict[str, Any]:
    """Journals each file that arrives in a folder of the flow's name."""
    sensor = {"type": "file", "path": f"data/{name}/*", "min_interval": 1, "running": True}
    return draw(
        {
            "start": node("start", inputs={"path": "str"}),
            "journal": "nodes.journal.JournalNode",
            "return": "return",
        },
        "start > journal, start.path - journal.path, journal > return",
        name=name,
        settings=settings,
        sensors=[{**sensor, "inputs": {"path": "{{ file.path }}"}}],
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lost") / "project"
    for name in ("flows", "nodes", "data/arrived", "data/careful"):
        (folder / name).mkdir(parents=True)
    for name in ("definitions.py", "workspace.yaml"):
        shutil.copy(PROJECT / name, folder)
    (folder / "nodes" / "__init__.py").touch()
    (folder / "nodes" / "journal.py").write_text(JOURNAL.format(journal=folder / "journal"))
    (folder / "flows" / "arrived.json").write_text(json.dumps(flow("arrived")))
    (folder / "flows" / "again.json").write_text(json.dumps(flow("careful", retry_lost=True)))
    return folder


def arrive(project: Path, flow: str, *names: str) -> None:
    for name in names:
        put(project / "data" / flow / name, name)


def journal(project: Path) -> Counter[str]:
    """How often each file was worked on."""
    file = project / "journal"
    return Counter(file.read_text().split()) if file.exists() else Counter()


def runs_of(instance: DagsterInstance, *files: str) -> list[DagsterRun]:
    """The runs of these files, oldest first."""
    runs = reversed(instance.get_runs())
    return [run for run in runs if run.tags["rayflow/started_for"].rpartition("/")[2] in files]


POINTS = ("tick_ended", "launch_begun", "launch_ordered", "run_begins")


def test_each_file_is_worked_on_once_whichever_process_dies(
    project: Path,
    home: Path,
    recorded: DagsterInstance,
    ray_folder: Path,
) -> None:
    """The daemon is killed with its code server at the end of a tick, then in the middle of two
    launches, and the process of a run before its first node.
    """
    crash = {"RAYFLOW_CRASH_AT": ",".join(POINTS), "RAYFLOW_CRASH_NOTES": str(home)}
    files = ("one", "two", "three")
    arrive(project, "arrived", *files)
    deaths = 0
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(daemon(project, home, ray_folder, **crash))

        def is_over() -> bool:
            nonlocal process, deaths
            if not deaths and (home / "tick_ended").exists():
                kill(process)  # Dagster's daemon starts a code server anew after a minute only
            if process.poll() is not None:
                assert process.returncode == -signal.SIGKILL
                deaths += 1
                process = stack.enter_context(daemon(project, home, ray_folder, **crash))
            have_died = all((home / point).exists() for point in POINTS)
            return have_died and journal(project).keys() >= set(files)

        wait_until(is_over, home, SECONDS)
        wait_until(lambda: all(run.is_finished for run in runs_of(recorded, *files)), home, SECONDS)
    assert deaths == 3
    assert [journal(project)[name] for name in files] == [1, 1, 1]
    ends = Counter(run.status for run in runs_of(recorded, *files))
    assert ends.keys() == {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE}
    assert ends[DagsterRunStatus.SUCCESS] == 3


def test_a_file_whose_run_dies_after_a_node_began_is_told_of_or_goes_on_where_its_flow_says_so(
    project: Path,
    home: Path,
    recorded: DagsterInstance,
    ray_folder: Path,
) -> None:
    def told() -> list[str]:
        ticks = chain.from_iterable(ticks_of(recorded))
        return [tick.skip_reason for tick in ticks if "has died" in (tick.skip_reason or "")]

    crash = {"RAYFLOW_CRASH_AT": "node_begins", "RAYFLOW_CRASH_NOTES": str(home)}
    with daemon(project, home, ray_folder, **crash):
        arrive(project, "arrived", "told")
        wait_until(told, home, SECONDS)
        (home / "node_begins").unlink()
        arrive(project, "careful", "again")
        wait_until(lambda: journal(project)["again"], home, SECONDS)
        wait_until(
            lambda: all(run.is_finished for run in runs_of(recorded, "again")), home, SECONDS
        )
    (reason,) = told()
    (lost,) = runs_of(recorded, "told")
    assert "data/arrived/told is not worked through" in reason
    assert lost.run_id in reason
    assert journal(project)["told"] == 0
    first, second = runs_of(recorded, "again")
    assert (first.status, second.status) == (DagsterRunStatus.FAILURE, DagsterRunStatus.SUCCESS)
    assert second.parent_run_id == first.run_id
    assert journal(project)["again"] == 1
