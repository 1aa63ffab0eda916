"""Which runs are launched at once, and which wait in Dagster's queue."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from instance.launching import SharingLauncher, create, end_of, make_home, status, write_location
from instance.launching import open_instance as open_home

from rayflow_dagster.instance._dagster import SubmitRunContext
from rayflow_dagster.instance.coordinator import PromptRunCoordinator

Open = Callable[[str], DagsterInstance]

LIMITED_BY_TAG = "  config: {tag_concurrency_limits: [{key: place, limit: 1}]}\n"
LAUNCHER = f"run_launcher: {{module: {SharingLauncher.__module__}, class: SharingLauncher}}\n"
QUEUE = "run_coordinator:\n  module: rayflow_dagster.instance.coordinator\n"
QUEUE += "  class: PromptRunCoordinator\n"


@pytest.fixture(autouse=True, scope="module")
def fork_server() -> Iterator[None]:
    """Ends with the last of these tests."""
    yield
    SharingLauncher.server.close()


@pytest.fixture
def open_instance(tmp_path: Path) -> Iterator[Open]:
    """An instance with these settings of the coordinator."""
    with ExitStack() as stack:

        def open_it(config: str) -> DagsterInstance:
            settings = f"telemetry: {{enabled: false}}\n{LAUNCHER}{QUEUE}{config}"
            home = make_home(tmp_path / "home", settings)
            return stack.enter_context(open_home(home))

        yield open_it


@pytest.fixture
def location(tmp_path: Path) -> Path:
    return write_location(tmp_path / "location")


def submit(
    instance: DagsterInstance, location: Path, op: str, tags: Mapping[str, str] | None = None
) -> str:
    run_id = create(instance, location, op)
    instance.add_run_tags(run_id, tags or {})
    run = instance.get_run_by_id(run_id)
    assert run is not None
    coordinator = instance.run_coordinator
    assert isinstance(coordinator, PromptRunCoordinator)
    coordinator.submit_run(SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]
    return run_id


def test_a_run_that_nothing_holds_up_is_launched_at_once(
    open_instance: Open, location: Path
) -> None:
    instance = open_instance("")
    assert end_of(instance, submit(instance, location, "speak")) == DagsterRunStatus.SUCCESS


def test_runs_beyond_the_allowed_number_wait_and_none_overtakes_them(
    open_instance: Open, location: Path
) -> None:
    instance = open_instance("  config: {max_concurrent_runs: 1}\n")
    first = submit(instance, location, "wait")
    second = submit(instance, location, "speak")
    assert status(instance, second) == DagsterRunStatus.QUEUED
    (location / "open").touch()
    assert end_of(instance, first) == DagsterRunStatus.SUCCESS
    third = submit(instance, location, "speak")
    assert status(instance, third) == DagsterRunStatus.QUEUED
    assert status(instance, second) == DagsterRunStatus.QUEUED


def test_any_number_of_runs_is_launched_without_a_limit(
    open_instance: Open, location: Path
) -> None:
    instance = open_instance("  config: {max_concurrent_runs: -1}\n")
    first = submit(instance, location, "wait")
    assert end_of(instance, submit(instance, location, "speak")) == DagsterRunStatus.SUCCESS
    (location / "open").touch()
    assert end_of(instance, first) == DagsterRunStatus.SUCCESS


def test_no_run_is_launched_when_none_may(open_instance: Open, location: Path) -> None:
    instance = open_instance("  config: {max_concurrent_runs: 0}\n")
    assert status(instance, submit(instance, location, "speak")) == DagsterRunStatus.QUEUED


def test_a_limit_on_its_tags_leaves_the_decision_to_the_queue(
    open_instance: Open, location: Path
) -> None:
    instance = open_instance(LIMITED_BY_TAG)
    queued = submit(instance, location, "speak", {"place": "here"})
    assert status(instance, queued) == DagsterRunStatus.QUEUED


def test_a_limit_on_other_tags_holds_no_run_up(open_instance: Open, location: Path) -> None:
    instance = open_instance(LIMITED_BY_TAG)
    assert end_of(instance, submit(instance, location, "speak")) == DagsterRunStatus.SUCCESS


def test_a_limit_on_a_pool_leaves_the_decision_to_the_queue(
    open_instance: Open, location: Path
) -> None:
    instance = open_instance("")
    instance.event_log_storage.set_concurrency_slots("database", 1)
    assert status(instance, submit(instance, location, "speak")) == DagsterRunStatus.QUEUED
