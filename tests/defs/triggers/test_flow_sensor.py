"""Sensors of other flows, on real runs of real jobs."""

import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RepositoryDefinition,
)
from defs.triggers.triggered import Ticks, flow_of, job_of, kept_instance, load, record
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rayflow_dagster.compiler.validator import FlowValidator
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.errors import TriggerError
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process

FIRST = flow_of({"n": {"type": "int", "default": 7}})


def after(on: str = "success", **inputs: Any) -> dict[str, Any]:
    defaults = {"n": ("int", 0), "status": ("str", ""), "run": ("str", "")}
    sensor = {"type": "flow", "flow": "first", "on": on, "inputs": inputs}
    return flow_of(
        {name: dict(zip(("type", "default"), defaults[name], strict=True)) for name in inputs},
        sensors=[sensor],
    )


def run_first(instance: DagsterInstance, project: Path) -> str:
    job = build_job(FIRST, "first", project=Project(project), connect=in_process)
    return job.execute_in_process(instance=instance).run_id


def test_a_success_starts_a_run_with_the_result(tmp_path: Path, instance: DagsterInstance) -> None:
    flow = after(n="{{ result.n }}", run="{{ run.run_id }}", status="{{ run.status }}")
    ticks = Ticks(load(tmp_path, {"first": FIRST, "next": flow}), "next_flow", instance)
    run_first(instance, tmp_path)
    assert ticks.tick() == []  # what ended before the first look is not new
    run_id = run_first(instance, tmp_path)
    (request,) = ticks.tick()
    assert request.run_key == run_id
    given = request.run_config["ops"]["start"]["config"]
    assert given == {"n": 7, "run": run_id, "status": "success"}
    assert ticks.tick() == []


@pytest.mark.parametrize(
    ("on", "told"),
    [
        ("success", ["success"]),
        ("failure", ["failure"]),
        ("either", ["failure", "success"]),
    ],
)
def test_success_failure_or_either_start_it(
    tmp_path: Path, memory: DagsterInstance, on: str, told: list[str]
) -> None:
    flow = after(on, status="{{ run.status }}")
    repository = load(tmp_path, {"first": FIRST, "next": flow})
    ticks = Ticks(repository, "next_flow", memory)
    assert ticks.inputs() == []
    first = job_of(repository, "first")
    for status in (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED):
        record(memory, first, status)
    record(memory, job_of(repository, "next"), DagsterRunStatus.SUCCESS)
    assert sorted(given["status"] for given in ticks.inputs()) == told


def test_each_run_starts_one_though_a_tick_takes_few(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    flow = after(run="{{ run.run_id }}")
    flow["sensors"][0]["max_per_tick"] = 3
    repository = load(tmp_path, {"first": FIRST, "next": flow})
    ticks = Ticks(repository, "next_flow", memory)
    ticks.tick()
    job = job_of(repository, "first")
    runs = [record(memory, job, DagsterRunStatus.SUCCESS).run_id for _ in range(7)]
    started = [given["run"] for _ in range(4) for given in ticks.inputs()]
    assert sorted(started) == sorted(runs)


def test_a_result_that_start_does_not_take_fails_the_tick_and_is_not_lost(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    flow = after(run="{{ result.n }}")
    ticks = Ticks(load(tmp_path, {"first": FIRST, "next": flow}), "next_flow", instance)
    ticks.tick()
    cursor = ticks.cursor
    run_first(instance, tmp_path)
    for _ in range(2):
        with pytest.raises(Exception, match="takes str, not 7"):
            ticks.tick()
    assert ticks.cursor == cursor


def test_the_cursor_forgets_runs_that_are_long_over(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    repository = load(tmp_path, {"first": FIRST, "next": after()})
    ticks = Ticks(repository, "next_flow", memory)
    ticks.tick()
    ticks.cursor = json.dumps({"since": 0.0, "seen": {"long-ago": 5.0}})
    run = record(memory, job_of(repository, "first"), DagsterRunStatus.SUCCESS)
    assert len(ticks.tick()) == 1
    assert list(json.loads(ticks.cursor or "")["seen"]) == [run.run_id]


LATE_SECONDS = 50
"""How much later than another one a change that is older may come to be seen."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[DagsterInstance, RepositoryDefinition]]:
    """An instance whose runs a database has, and a flow that waits for ``first``. SQLite's is in
    memory: on disk each of hundreds of writes would wait for it.
    """
    folder = tmp_path_factory.mktemp("stored")
    flow = after(run="{{ run.run_id }}")
    flow["sensors"][0]["max_per_tick"] = 5
    repository = load(folder / "project", {"first": FIRST, "next": flow})
    if request.param == "sqlite":
        with DagsterInstance.ephemeral() as instance:
            yield instance, repository
        return
    database = {"postgres": {"postgres_url": request.getfixturevalue("postgres_url")}}
    with kept_instance(folder / "home", {"storage": database}) as instance:
        yield instance, repository


class Upstream:
    """Runs of ``first`` that go on, and end one by one, in any order."""

    def __init__(self, instance: DagsterInstance, count: int, order: random.Random) -> None:
        self._storage = instance.run_storage
        self._order = order
        self.ids = [str(uuid.UUID(int=order.getrandbits(128))) for _ in range(count)]
        for run_id in self.ids:
            going = DagsterRun("first", run_id=run_id, status=DagsterRunStatus.STARTED)
            self._storage.add_run(going)

    def end(self, run_id: str, time: datetime) -> None:
        """End a run within ``LATE_SECONDS`` before or after a time."""
        late = timedelta(seconds=self._order.randint(0, LATE_SECONDS))
        event = DagsterEvent(DagsterEventType.PIPELINE_SUCCESS.value, "first")
        self._storage.handle_run_event(run_id, event, time - late)

    def touch(self, run_id: str) -> None:
        """Change a run that has ended."""
        self._storage.add_run_tags(run_id, {"seen": "yes"})


@settings(
    max_examples=4,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    counts=st.lists(st.integers(0, 15), min_size=1, max_size=4),
    minutes=st.integers(0, 5),
    seed=st.integers(0, 2**32),
)
@example(counts=[3, 60, 3], minutes=2, seed=1)
def test_each_run_that_ends_starts_one_run_whatever_the_order_and_number(
    stored: tuple[DagsterInstance, RepositoryDefinition],
    counts: list[int],
    minutes: int,
    seed: int,
) -> None:
    instance, repository = stored
    instance.run_storage.wipe()
    order = random.Random(seed)
    time = datetime.now(UTC) - timedelta(days=1)
    before = Upstream(instance, order.randint(0, 3), order)
    for run_id in before.ids:
        before.end(run_id, time)
    ticks = Ticks(repository, "next_flow", instance)
    ticks.tick()
    upstream = Upstream(instance, sum(counts), order)
    open_runs = order.sample(upstream.ids, len(upstream.ids))
    started: Counter[str] = Counter()
    for count in counts:
        for run_id in open_runs[:count]:
            upstream.end(run_id, time)
        del open_runs[:count]
        time += timedelta(minutes=minutes)
        started.update(request.run_key or "" for request in ticks.tick())
    while requests := ticks.tick():
        started.update(request.run_key or "" for request in requests)
    assert started == Counter(upstream.ids)


def test_a_run_that_ended_long_ago_is_not_new_when_it_is_tagged(
    stored: tuple[DagsterInstance, RepositoryDefinition],
) -> None:
    instance, repository = stored
    instance.run_storage.wipe()
    upstream = Upstream(instance, 3, random.Random(0))
    first, second, third = upstream.ids
    time = datetime.now(UTC) - timedelta(days=1)
    upstream.end(first, time)
    ticks = Ticks(repository, "next_flow", instance)
    ticks.tick()
    upstream.end(second, time + timedelta(minutes=5))
    assert [request.run_key for request in ticks.tick()] == [second]
    upstream.end(third, time + timedelta(minutes=10))
    upstream.touch(first)
    assert [request.run_key for request in ticks.tick()] == [third]
    upstream.touch(second)
    assert ticks.tick() == []


def test_runs_of_another_project_with_a_flow_of_the_name_start_nothing(
    tmp_path: Path, memory: DagsterInstance
) -> None:
    flows = {"first": FIRST, "next": after(run="{{ run.run_id }}")}
    own, other = (load(tmp_path / name, flows) for name in ("own", "other"))
    ticks = Ticks(own, "next_flow", memory)
    ticks.tick()
    runs = [
        record(memory, job, DagsterRunStatus.SUCCESS, job.run_tags).run_id
        for job in (job_of(other, "first"), job_of(own, "first"))
    ]
    assert [request.run_key for request in ticks.tick()] == runs[1:]


@pytest.mark.parametrize("cursor", ["1", "x", "[]", '{"since": 1}', '{"since": 0, "seen": 3}'])
def test_a_cursor_of_another_kind_is_told(
    tmp_path: Path, memory: DagsterInstance, cursor: str
) -> None:
    ticks = Ticks(load(tmp_path, {"first": FIRST, "next": after()}), "next_flow", memory)
    ticks.cursor = cursor
    with pytest.raises(TriggerError, match="clear it in the UI"):
        ticks.tick()


@pytest.mark.parametrize("on", ["failure", "either"])
def test_a_result_of_runs_that_may_have_failed_is_a_finding(on: str) -> None:
    told = "\n".join(FlowValidator().validate(after(on, n="{{ result.n }}"))[1])
    assert "only if the flow has succeeded" in told
