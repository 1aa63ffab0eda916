"""What is kept of variables between runs, without Dagster: read, written back, in conflict."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forked_pythons import ForkedPythons

from rayflow_dagster.errors import StorageError, VariableError
from rayflow_dagster.secrets.references import Secret
from rayflow_dagster.variables.kept import (
    BY_HAND,
    Kept,
    KeptVariables,
    RunVariables,
    packed,
    unpacked,
)
from rayflow_dagster.variables.store import GlobalVariableStore, Snapshot

DECLARED = {
    "count": {"type": "int", "default": 0, "scope": "flow"},
    "cursor": {"type": "str | None", "default": None, "scope": "flow"},
}
Start = Callable[[str], "Run"]


class Run:
    """A run that reads what is kept, writes as it is told, and then succeeds."""

    def __init__(self, kept: KeptVariables, run_id: str, declared: Any = DECLARED) -> None:
        self._run = RunVariables(kept, run_id, declared)
        self.variables = GlobalVariableStore(declared, self._run.read())

    def succeed(self) -> list[str]:
        self._run.note(self.variables.snapshot())
        return self._run.keep()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'variables.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def kept(url: str, request: pytest.FixtureRequest) -> KeptVariables:
    """One flow's; each test has a flow of its own."""
    return KeptVariables(url, request.node.name)


@pytest.fixture
def start(kept: KeptVariables) -> Start:
    return lambda run_id: Run(kept, run_id)


def values(kept: KeptVariables) -> dict[str, Any]:
    return {name: found.value for name, found in kept.read().items()}


def test_nothing_is_kept_at_first_and_a_run_begins_with_the_defaults(kept, start):
    assert kept.read() == {}
    run = start("a")
    assert (run.variables.get("count"), run.variables.get("cursor")) == (0, None)


def test_the_next_run_begins_with_what_a_run_has_kept(kept, start):
    first = start("a")
    first.variables.increment("count", 2)
    first.variables.set("cursor", "page 1")
    assert first.succeed() == ["count", "cursor"]

    second = start("b")
    assert (second.variables.get("count"), second.variables.get("cursor")) == (2, "page 1")
    found = kept.read()
    assert [(each.version, each.changed_by) for each in found.values()] == [(1, "a"), (1, "a")]


def test_a_run_that_only_reads_writes_nothing(kept, start):
    run = start("a")
    run.variables.get("count")
    assert run.succeed() == []
    assert kept.read() == {}


def test_a_run_that_does_not_succeed_writes_nothing(kept, start):
    start("a").variables.increment("count")
    assert kept.read() == {}


def test_increments_of_runs_that_overlap_add_up(kept, start):
    first, second, third = start("a"), start("b"), start("c")
    for run, by in ((first, 1), (second, 10), (third, 100)):
        run.variables.increment("count", by)
        run.variables.increment("count", by)
        run.succeed()
    assert values(kept) == {"count": 222}


def test_an_increment_is_added_to_what_another_run_has_set(kept, start):
    first, second = start("a"), start("b")
    first.variables.increment("count", 5)
    second.variables.set("count", 100)
    second.succeed()
    first.succeed()
    assert values(kept) == {"count": 105}


@pytest.mark.parametrize("other", ["set", "increment"])
def test_a_set_of_what_another_run_wrote_fails_the_later_run_and_says_why(kept, start, other):
    first, second = start("run-a"), start("run-b")
    first.variables.set("count", 7)
    getattr(second.variables, other)("count", 1)
    second.succeed()

    with pytest.raises(VariableError) as failure:
        first.succeed()

    said = str(failure.value)
    assert "variable 'count' of flow" in said
    assert "run run-b wrote it after run run-a had read it" in said
    assert "Launch the flow anew" in said
    assert values(kept) == {"count": 1}


def test_a_run_in_conflict_keeps_none_of_its_variables(kept, start):
    first, second = start("a"), start("b")
    for run in (first, second):
        run.variables.increment("count")
        run.variables.set("cursor", "mine")
    second.succeed()
    with pytest.raises(VariableError, match="kept none of its variables"):
        first.succeed()
    assert values(kept) == {"count": 1, "cursor": "mine"}


def test_runs_one_after_the_other_are_never_in_conflict(kept, start):
    for run_id in ("a", "b"):
        run = start(run_id)
        run.variables.set("cursor", run_id)
        run.succeed()
    assert kept.read()["cursor"].version == 2


def test_a_set_by_hand_is_in_conflict_as_one_of_a_run(kept, start):
    run = start("a")
    run.variables.set("cursor", "mine")
    kept.set("cursor", "by hand")
    with pytest.raises(VariableError, match=f"{BY_HAND} wrote it after run a had read it"):
        run.succeed()
    assert values(kept) == {"cursor": "by hand"}


def test_a_reset_gives_the_default_again_and_is_a_write_for_runs_in_progress(kept, start):
    first = start("a")
    first.variables.set("cursor", "x")
    first.variables.increment("count", 3)
    first.succeed()
    sets, adds = start("b"), start("c")
    kept.reset("cursor")
    kept.reset("count")
    assert [each.has_value for each in kept.read().values()] == [False, False]
    assert start("d").variables.get("cursor") is None

    sets.variables.set("cursor", "y")
    with pytest.raises(VariableError, match=BY_HAND):
        sets.succeed()
    adds.variables.increment("count", 4)
    adds.succeed()
    assert kept.read()["count"].value == 4


def test_a_reset_of_all_leaves_what_has_its_default_already(kept):
    kept.set("count", 1)
    kept.reset()
    before = kept.read()
    kept.reset()
    kept.reset("cursor")
    assert kept.read() == before
    assert before["count"].version == 2


def test_null_is_a_value_and_not_a_reset(kept):
    kept.set("cursor", None)
    assert kept.read()["cursor"].has_value


def test_nothing_can_be_added_to_a_text_that_somebody_set_meanwhile(kept):
    declared = {"any": {"default": 0, "scope": "flow"}}
    run = Run(kept, "a", declared)
    run.variables.increment("any")
    kept.set("any", "text")
    with pytest.raises(VariableError, match="it is 'text' now, to which 1 cannot be added"):
        run.succeed()


def test_a_value_that_is_not_of_the_declared_type_any_more_fails_the_run_at_its_start(kept, start):
    kept.set("count", "text")
    with pytest.raises(VariableError, match=r"'text' from earlier runs, which is not int.* reset"):
        start("a")


def test_what_is_not_declared_any_more_is_left_alone(kept, start):
    kept.set("gone", 1)
    run = start("a")
    run.variables.increment("count")
    run.succeed()
    assert values(kept) == {"gone": 1, "count": 1}


def test_of_a_secret_the_reference_is_stored_and_never_the_value(tmp_path, monkeypatch):
    monkeypatch.setenv("KEPT_TOKEN", "hunter2-hunter2")
    file = tmp_path / "secret.db"
    kept = KeptVariables(f"sqlite:///{file}", "flow")
    run = Run(kept, "a", {"token": {"scope": "flow", "default": None}})
    run.variables.set("token", [Secret("KEPT_TOKEN")])
    run.succeed()
    assert kept.read()["token"].value == [Secret("KEPT_TOKEN")]
    assert b'{"$env": "KEPT_TOKEN"}' in file.read_bytes()
    assert b"hunter2" not in file.read_bytes()


def test_a_rerun_of_part_of_a_run_that_has_succeeded_reads_anew(kept):
    kept.set("count", 5)
    left = Snapshot(3, {"count": 1, "cursor": "old", "own": 9})  # what it changed is kept already
    run = RunVariables(kept, "a", DECLARED)
    assert run.read(left) == Snapshot(0, {"count": 5, "own": 9})
    assert run.keep() == []


def test_flows_do_not_share_variables(url, kept):
    kept.set("count", 1)
    assert KeptVariables(url, "another flow").read() == {}


def test_what_a_run_has_read_is_stored_without_a_class_of_this_package(kept):
    kept.set("token", {"key": Secret("TOKEN")})
    content = packed(kept.read())
    assert unpacked(content) == kept.read()
    assert b"Kept" not in content


def test_what_an_older_version_has_stored_of_it_is_told_apart():
    assert unpacked(b"crayflow_dagster.kept_variables\nKept\n.") is None


def test_what_was_kept_without_a_project_goes_to_the_first_that_asks(url, request):
    flow = request.node.name
    KeptVariables(url, flow).set("count", 5)
    assert values(KeptVariables(url, flow, "first")) == {"count": 5}
    assert values(KeptVariables(url, flow, "second")) == {}


def test_a_snapshot_that_settles_late_does_not_replace_a_newer_one(kept):
    run = RunVariables(kept, "a", DECLARED)
    store = GlobalVariableStore(DECLARED, run.read())
    store.increment("count")
    older = store.snapshot()
    store.increment("count")
    run.note(store.snapshot())
    run.note(older)
    run.keep()
    assert values(kept) == {"count": 2}


def test_a_sum_of_floats_is_what_the_run_saw_when_nobody_else_wrote(kept):
    declared = {"sum": {"type": "float", "default": 0.0, "scope": "flow"}}
    seen = 0.0
    for by in (0.1, 0.2, 0.3):
        run = Run(kept, "a", declared)
        seen = run.variables.increment("sum", by)
        run.succeed()
    assert values(kept) == {"sum": seen}


def test_a_place_that_cannot_be_reached_is_named_without_its_password(tmp_path):
    (tmp_path / "no database").write_text("this is a text, and long enough to be read as one")
    kept = KeptVariables(f"sqlite:///{tmp_path}/no database", "flow")
    with pytest.raises(StorageError, match=r"flow 'flow' keeps between runs .*no database"):
        kept.read()


ADD = """
import sys
from rayflow_dagster.variables.kept import KeptVariables, Write
url, flow, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
kept = KeptVariables(url, flow)
for number in range(count):
    kept.write("run", {"count": Write(1, -1, 1, 0)})  # a version that is never the present one
"""


def test_processes_that_write_at_the_same_time_lose_nothing(kept, url, pythons: ForkedPythons):
    processes = [pythons.start(["-c", ADD, url, kept.flow, "20"]) for _ in range(4)]
    assert [process.communicate()[1] for process in processes] == [""] * 4
    assert kept.read()["count"] == Kept(80, True, 80, kept.read()["count"].changed, "run")
