"""``rayflow-dagster prune``, on real Dagster instances."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_flows import flow_with_inputs, write_flow
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from rayflow_dagster.cli.flows import FlowFile
from rayflow_dagster.cli.progress import NoProgress
from rayflow_dagster.cli.prune import PastRun, Rules, past_runs
from rayflow_dagster.cli.recorded import RecordedRunner
from rayflow_dagster.cli.space import MUCH, much_stored, size_text
from rayflow_dagster.testing import in_process

FINISHED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
# Dagster lets no run be queued without a code location; for the rest of its rules it is like these.
GOING = set(DagsterRunStatus) - {*FINISHED, DagsterRunStatus.QUEUED}


@pytest.fixture
def instance(project: Path) -> Iterator[DagsterInstance]:
    """The instance in the project's ``.dagster``."""
    home = project / ".dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    (project / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    os.environ["DAGSTER_HOME"] = str(home)
    with DagsterInstance.get() as found:
        yield found


@pytest.fixture
def values(instance: DagsterInstance) -> Path:
    return Path(instance.storage_directory()) / "rayflow"


def store_values(root: Path, run_id: str | None = None) -> Path:
    """Values as a run stores them; returns their folder."""
    folder = root / (run_id or str(uuid.uuid4()))
    (folder / "steps" / "add").mkdir(parents=True)
    (folder / "steps" / "add" / "result.pkl").write_bytes(b"x" * 1500)
    (folder / "parts").mkdir()
    (folder / "parts" / "digest").write_bytes(b"x" * 500)
    (folder / "variables.pkl").write_bytes(b"x" * 500)
    return folder


def add_run(
    instance: DagsterInstance,
    status: DagsterRunStatus = DagsterRunStatus.SUCCESS,
    parent: str | None = None,
) -> str:
    run_id = str(uuid.uuid4())
    instance.add_run(
        DagsterRun(
            job_name="any", run_id=run_id, status=status, parent_run_id=parent, root_run_id=parent
        )
    )
    return run_id


def test_values_of_a_deleted_run_go_and_those_of_a_known_one_stay(typed, instance, values):
    gone, known = store_values(values), store_values(values, add_run(instance))
    result = typed("prune")
    assert result.exit_code == 0
    assert f"removed the values of run {gone.name}, 2.5 kB: its run is gone" in result.output
    assert "3 files, 2.5 kB removed" in result.output
    assert not gone.exists()
    assert known.exists()
    assert typed("prune").output == "nothing to remove\n"


def test_a_dry_run_says_the_same_and_removes_nothing(typed, instance, values):
    gone = store_values(values)
    result = typed("prune", "--dry-run")
    assert f"would remove the values of run {gone.name}" in result.output
    assert "3 files, 2.5 kB would be removed" in result.output
    assert (gone / "variables.pkl").exists()


def test_only_runs_that_ended_before_the_given_age_lose_their_values(typed, instance, values):
    folders = [store_values(values, add_run(instance, status)) for status in FINISHED]
    assert typed("prune", "--older-than", "30d").output == "nothing to remove\n"
    assert all(folder.exists() for folder in folders)
    assert typed("prune", "--older-than", "0h").output.count("its run ended on ") == len(FINISHED)
    assert not any(folder.exists() for folder in folders)


def test_runs_in_progress_and_what_they_re_execute_stay_whatever_their_age(typed, instance, values):
    run_ids = []
    for status in GOING:
        oldest, deleted = add_run(instance), str(uuid.uuid4())
        parent = add_run(instance, DagsterRunStatus.FAILURE, oldest)
        run_ids += [oldest, parent, deleted]
        run_ids += [add_run(instance, status, parent), add_run(instance, status, deleted)]
    folders = [store_values(values, run_id) for run_id in run_ids]
    assert typed("prune", "--older-than", "0h").output == "nothing to remove\n"
    assert all(folder.exists() for folder in folders)


def test_an_old_run_stays_while_a_younger_one_continues_it():
    runs = {
        "old": PastRun(10.0, None),
        "continued": PastRun(10.0, None),
        "young": PastRun(30.0, "continued"),
        "of the deleted": PastRun(30.0, "deleted"),
    }
    rules = Rules(runs, before=20.0)
    kept = rules.kept()
    reasons = {name: rules.reason(name, kept, is_own=True) for name in [*runs, "deleted"]}
    assert {name for name, reason in reasons.items() if reason} == {"old", "deleted"}


def test_what_is_not_a_runs_folder_of_ours_stays(typed, instance, values):
    strange = store_values(values)
    (strange / "notes.txt").touch()
    others = [values / "models", values / "forms"]
    for folder in others:
        folder.mkdir(parents=True)
    file = values / str(uuid.uuid4())
    file.touch()
    assert typed("prune", "--older-than", "0h").output == "nothing to remove\n"
    assert all(path.exists() for path in (strange, file, *others))


def test_a_real_run_leaves_what_prune_finds(
    typed, instance, values, project, flow_of: Callable[[str], FlowFile]
):
    write_flow(project / "flows" / "text.json", flow_with_inputs({"text": "str"}))
    runner = RecordedRunner(flow_of("text"), connect=in_process)
    report = runner.run({"text": "x" * 5000}, NoProgress())
    assert report.success
    assert (values / str(report.run_id)).is_dir()
    assert typed("prune").output == "nothing to remove\n"
    instance.delete_run(str(report.run_id))
    typed("prune")
    assert not (values / str(report.run_id)).exists()


def test_a_place_that_is_named_counts_as_the_instances_own(typed, instance, tmp_path):
    gone = store_values(tmp_path / "elsewhere")
    result = typed("prune", "--storage", f"file://{tmp_path}/elsewhere")
    assert result.exit_code == 0
    assert not gone.exists()


def test_where_flows_store_their_values_only_known_runs_lose_theirs(
    typed, instance, project, tmp_path
):
    """Another instance may store there, too."""
    shared = tmp_path / "shared"
    (project / "pyproject.toml").write_text(
        f'[tool.rayflow_dagster]\nsettings = {{ storage = "{shared}" }}\n'
    )
    foreign, own = store_values(shared), store_values(shared, add_run(instance))
    typed("prune", "--older-than", "0h")
    assert foreign.exists()
    assert not own.exists()


def test_a_place_that_cannot_be_read_is_said_and_the_rest_is_pruned(typed, instance, values):
    gone = store_values(values)
    result = typed("prune", "--storage", "nowhere://bucket")
    assert result.exit_code == 1
    assert "nowhere://bucket could not be pruned" in result.output
    assert not gone.exists()


@pytest.mark.parametrize("age", ["30", "d", "-1d", "soon", "1.5d"])
def test_an_age_that_is_none_is_refused(age, typed, instance):
    result = typed("prune", "--older-than", age)
    assert result.exit_code == 2
    assert "write for example 30d" in result.output


def test_without_a_home_there_is_nothing_to_prune(typed, empty_folder):
    result = typed("prune")
    assert result.exit_code == 1
    assert "there is nothing to prune: DAGSTER_HOME is not set" in result.output
    assert list(empty_folder.iterdir()) == []


def test_runs_are_read_page_by_page(instance, monkeypatch):
    monkeypatch.setattr("rayflow_dagster.cli.prune._PAGE", 2)
    wanted = {add_run(instance) for _ in range(5)}
    assert set(past_runs(instance)) == wanted


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"),
     (1_234_567, "1.2 MB"), (5 * 10**9, "5.0 GB"), (7 * 10**12, "7.0 TB")],
)  # fmt: skip
def test_sizes_are_for_people(size, text):
    assert size_text(size) == text


def test_values_that_take_little_are_not_told_of(values: Path) -> None:
    assert much_stored(values) is None
    store_values(values)
    assert much_stored(values) is None


def test_values_that_take_much_are_told_of_with_what_removes_them(values: Path) -> None:
    take_much_space(values)
    told = much_stored(values)
    assert told is not None
    assert told.startswith(f"stored values of 2 runs take 5.0 GB in {values}; ")
    assert "rayflow-dagster prune" in told


def test_only_what_prune_would_look_at_counts(values: Path) -> None:
    take_much_space(values).rename(values / "flows")
    assert much_stored(values) is None


def take_much_space(values: Path) -> Path:
    """A file as large as what is told of, with nothing in it, so that the disk has room."""
    store_values(values)
    run = store_values(values)
    with (run / "parts" / "digest").open("wb") as file:
        file.truncate(MUCH)
    return run
