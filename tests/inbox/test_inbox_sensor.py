"""Which requests a sensor's tick starts runs for."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, SensorEvaluationContext
from dagster._core.scheduler.instigation import InstigatorType, TickData, TickStatus
from dagster_runs import PROJECT
from defs.triggers.triggered import Ticks, kept_instance, load

from inbox.inbox_flows import INBOX, flow_of
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.triggers.inbox_sensor import (
    MAX_OFFERS,
    InboxRequest,
    inbox_folder,
    inbox_requests,
    mark_offered,
    runs_of,
    skip_requests,
)
from rayflow_dagster.inbox.inputs import RequestInputs
from rayflow_dagster.inbox.store import RequestStore

INPUTS = RequestInputs(types={"n": "int"}, defaults={}, descriptions={}, fixed={})


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def requests(instance: DagsterInstance) -> Iterator[RequestStore]:
    with RequestStore(folder_of(instance)) as store:
        yield store


def folder_of(instance: DagsterInstance) -> Path:
    return inbox_folder(instance, PROJECT.root)


def add(store: RequestStore, number: int) -> str:
    added = store.add("f", {"n": number}, str(number))
    assert added.id is not None
    return added.id


def tick(instance: DagsterInstance, most: int = 10) -> list[str]:
    """What a tick asks runs for."""
    found = inbox_requests(instance, folder_of(instance), "f", INPUTS, most)
    mark_offered(folder_of(instance), [each.id for each in found])
    return [request.id for request in found]


def record_run(instance: DagsterInstance, request_id: str) -> str:
    """What the daemon does with what a tick has asked for."""
    job = build_job(flow_of({}, INBOX), "f", project=PROJECT)
    tags = InboxRequest(request_id, {}).tags
    return instance.create_run_for_job(job, tags=tags).run_id


def test_a_tick_asks_runs_for_waiting_requests_with_the_id_as_tag(
    instance: DagsterInstance, requests: RequestStore
) -> None:
    first, second = add(requests, 1), add(requests, 2)

    found = inbox_requests(instance, folder_of(instance), "f", INPUTS, 10)
    assert found == [InboxRequest(first, {"n": 1}), InboxRequest(second, {"n": 2})]
    assert found[0].tags == {"rayflow/request": first}
    assert len(inbox_requests(instance, folder_of(instance), "f", INPUTS, 1)) == 1
    assert inbox_requests(instance, folder_of(instance), "other", INPUTS, 10) == []


def test_the_sensors_own_inputs_are_added(
    instance: DagsterInstance, requests: RequestStore
) -> None:
    request = add(requests, 1)
    inputs = RequestInputs({"n": "int", "by": "str"}, {}, {}, {"by": "inbox"})

    assert inbox_requests(instance, folder_of(instance), "f", inputs, 10) == [
        InboxRequest(request, {"n": 1, "by": "inbox"})
    ]


def test_a_request_is_asked_for_until_a_run_carries_it_and_then_no_more(
    instance: DagsterInstance, requests: RequestStore
) -> None:
    request = add(requests, 1)

    assert tick(instance) == [request]
    assert tick(instance) == [request]  # the daemon died before it had recorded the run
    run = record_run(instance, request)
    assert tick(instance) == []
    found = requests.find(request)
    assert found is not None
    assert (found.state, found.run_id) == ("taken", run)


def test_a_request_does_not_start_again_when_its_run_is_deleted(
    instance: DagsterInstance, requests: RequestStore
) -> None:
    request = add(requests, 1)
    tick(instance)
    run = record_run(instance, request)
    tick(instance)
    instance.delete_run(run)

    assert tick(instance) == []


def test_of_several_runs_the_first_is_the_requests_own(instance: DagsterInstance) -> None:
    first = record_run(instance, "a")
    record_run(instance, "a")

    assert runs_of(instance, ["a", "b"]) == {"a": first}


def test_a_request_that_comes_between_ticks_is_not_missed(
    instance: DagsterInstance, requests: RequestStore
) -> None:
    seen = []
    for number in range(5):
        request = add(requests, number)
        seen.append(tick(instance) == [request])
        record_run(instance, request)

    assert all(seen)


def test_requests_that_the_changed_flow_does_not_take_are_refused_and_hold_nobody_up(
    instance: DagsterInstance, requests: RequestStore
) -> None:
    added = [requests.add("f", {"n": "text"}, "").id for _ in range(3)]
    fit = add(requests, 1)

    assert tick(instance, most=2) == [fit]
    found = requests.find(str(added[0]))
    assert found is not None
    assert found.state == "refused"
    assert "changed since" in str(found.reason)
    assert "'n' takes int" in str(found.reason)


def test_a_request_that_dagster_cannot_start_is_given_up_and_holds_nobody_up(
    instance: DagsterInstance, requests: RequestStore
) -> None:
    poison, behind = add(requests, 1), add(requests, 2)

    for _ in range(MAX_OFFERS + 5):
        asked = tick(instance)
        # The daemon stops at the first request of a tick that fails.
        started = asked[: asked.index(poison)] if poison in asked else asked
        for request in started:
            record_run(instance, request)

    assert runs_of(instance, [poison, behind]).keys() == {behind}
    found = requests.find(poison)
    assert found is not None
    assert found.state == "refused"
    assert "the ticks" in str(found.reason)
    assert tick(instance) == []


def test_skipped_requests_end_without_a_run(
    instance: DagsterInstance, requests: RequestStore
) -> None:
    request = add(requests, 1)
    skip_requests(
        folder_of(instance),
        [each.id for each in inbox_requests(instance, folder_of(instance), "f", INPUTS, 10)],
        "another run goes on",
    )

    found = requests.find(request)
    assert found is not None
    assert found.state == "skipped"
    assert tick(instance) == []


def test_a_tick_without_any_request_ever_makes_no_store(instance: DagsterInstance) -> None:
    assert inbox_requests(instance, folder_of(instance), "f", INPUTS, 10) == []
    assert not folder_of(instance).exists()


def test_the_sensor_imports_no_web_server() -> None:
    code = (
        "import sys, rayflow_dagster.defs.triggers.inbox_sensor\n"
        "print(*{'starlette', 'uvicorn', 'ray'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


def test_what_is_only_tried_changes_nothing(
    instance: DagsterInstance, requests: RequestStore
) -> None:
    unfit = requests.add("f", {"n": "text"}, "").id
    fit = add(requests, 1)
    for _ in range(MAX_OFFERS + 1):
        found = inbox_requests(instance, folder_of(instance), "f", INPUTS, 10, tries=True)
        assert [each.id for each in found] == [fit]
    assert [each.id for each in requests.waiting("f", 10, 1000)] == [unfit, fit]
    assert tick(instance) == [fit]


@pytest.mark.parametrize("overlap", ["allow", "skip"])
def test_a_dry_run_leaves_the_inbox_as_it_is_and_a_tick_does_not(
    tmp_path: Path, overlap: str
) -> None:
    sensor = {**INBOX, "overlap": overlap}
    repository = load(tmp_path / "p", {"f": flow_of({"n": {"type": "int"}}, sensor)})
    with (
        kept_instance(tmp_path / "home", {}) as instance,
        RequestStore(inbox_folder(instance, tmp_path / "p")) as store,
    ):
        first, second = add(store, 1), add(store, 2)
        asked = [first] if overlap == "skip" else [first, second]

        def evaluated(number: str) -> list[str | None]:
            with SensorEvaluationContext(
                instance.get_ref(),
                instance=instance,
                log_key=["r", "f_inbox", number],
                repository_def=repository,
            ) as context:
                data = repository.get_sensor_def("f_inbox").evaluate_tick(context)
            return [request.run_key for request in data.run_requests or []]

        for _ in range(MAX_OFFERS + 1):
            assert evaluated(str(uuid.uuid4())) == asked
        assert store.offered() == []
        data = TickData("o", "f_inbox", InstigatorType.SENSOR, TickStatus.STARTED, 1.0)
        assert evaluated(str(instance.create_tick(data).tick_id)) == asked
        assert store.offered() == asked
        found = store.find(second)
        assert found is not None
        assert found.state == ("skipped" if overlap == "skip" else "waiting")


def test_two_projects_do_not_take_requests_from_each_other(
    tmp_path: Path, instance: DagsterInstance
) -> None:
    flow = {"f": flow_of({"n": {"type": "int"}}, INBOX)}
    projects = [tmp_path / "one", tmp_path / "two"]
    ticks = [Ticks(load(project, flow), "f_inbox", instance) for project in projects]
    with RequestStore(inbox_folder(instance, projects[1])) as store:
        request = add(store, 1)
    assert [[each.run_key for each in one.tick()] for one in ticks] == [[], [request]]
