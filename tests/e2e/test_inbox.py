"""Requests over HTTP, run by the real daemon, which may be away or die."""

import time
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance
from forked_pythons import ForkedPythons
from inbox.inbox_flows import INBOX, Caller, flow_of, write_flow
from inbox.inbox_processes import daemon, kill, started

from rayflow_dagster.defs.triggers.inbox_sensor import REQUEST_TAG

pytestmark = pytest.mark.e2e

SECONDS = 180.0
PROJECT = Path(__file__).parents[2]
DEFINITIONS = """
from pathlib import Path
from rayflow_dagster import build_definitions
defs = build_definitions(Path(__file__).with_name("flows"))
"""


@pytest.fixture
def order_flows(tmp_path: Path) -> Path:
    """A project whose one flow takes requests; its sensor is on and looks every second."""
    folder = tmp_path / "project" / "flows"
    folder.mkdir(parents=True)
    sensor = {**INBOX, "running": True, "min_interval": 1, "max_per_tick": 3}
    write_flow(folder, "order", flow_of({"n": "int"}, sensor))
    (folder.parent / "definitions.py").write_text(DEFINITIONS)
    (folder.parent / "workspace.yaml").write_text("load_from: [{python_file: definitions.py}]\n")
    return folder


def ended(caller: Caller, request_ids: list[str]) -> list[dict[str, Any]]:
    """What became of requests, once all have ended."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        told = [caller.about(request_id) for request_id in request_ids]
        if not {each["status"] for each in told} & {"waiting", "started"}:
            return told
        time.sleep(1)  # or they would be too many questions
    raise AssertionError(f"the requests have not all ended: {told}")


def results(caller: Caller, request_ids: list[str]) -> list[object]:
    """The results of requests, once all have one."""
    told = ended(caller, request_ids)
    assert {each["status"] for each in told} == {"success"}, told
    return [each["result"] for each in told]


def test_every_request_starts_one_run_though_the_daemon_was_away_and_is_killed(
    order_flows: Path,
    home: Path,
    ray_folder: Path,
    pythons: ForkedPythons,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with started(pythons, order_flows, home) as (_, caller):
        early = [caller.started("order", {"n": number}) for number in range(3)]
        assert {caller.about(each)["status"] for each in early} == {"waiting"}

        with daemon(order_flows.parent, home, ray_folder) as process:
            assert results(caller, early) == [{"n": number} for number in range(3)]
            between = [caller.started("order", {"n": number}) for number in range(3, 8)]
            first = results(caller, between[:1])
            kill(process)
        late = [caller.started("order", {"n": number}) for number in (8, 9)]

        with daemon(order_flows.parent, home, ray_folder):
            assert results(caller, late) == [{"n": 8}, {"n": 9}]
            told = ended(caller, [*early, *between])

    # All that was in progress was killed with the daemon. What had begun its work has failed; what
    # had not was launched again.
    assert first == [{"n": 3}]
    assert all(each["run_id"] for each in told)
    assert [each["result"] for each in told if each["status"] == "success"] == [
        {"n": number} for number, each in enumerate(told) if each["status"] == "success"
    ]
    failed = [number for number, each in enumerate(told) if each["status"] == "failure"]
    assert len(failed) <= 3  # as many as one tick starts

    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with DagsterInstance.get() as instance:
        first_ones = [run for run in instance.get_runs() if run.parent_run_id is None]
    carried = [run.tags[REQUEST_TAG] for run in first_ones]
    assert sorted(carried) == sorted([*early, *between, *late])
