"""The example flows, started by the real daemon; their results are read back."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance
from inbox.inbox_processes import daemon

from e2e.example_project import example_project, put, results, runs_of, ticks_of, wait_until
from rayflow_dagster.defs.storage import kept_variables

pytestmark = pytest.mark.e2e

ORDERS = """order_id,date,customer,country,product,quantity,unit_price
O-1,2026-01-05,Ada,ES,pen,3,2.5
O-2,2026-01-05,Bo,SE,ink,1,4.0
"""
MORE = "O-3,2026-01-06,Cy,FR,pad,2,1.5\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example flows, with triggers on that are made to look often.

    One for all tests, so that the schedule's minute passes while the others run.
    """
    folder = example_project(tmp_path_factory.mktemp("triggers") / "project", ORDERS)
    switch_on(folder, "nightly_revenue", "schedules", cron="* * * * *")
    switch_on(folder, "visits", "schedules", cron="* * * * *", inputs={"visitor": "Ada"})
    switch_on(folder, "sales_share", "sensors", flow="nightly_revenue", min_interval=1)
    switch_on(folder, "arrived_orders", "sensors", min_interval=1)
    switch_on(folder, "new_orders", "sensors", every=1)
    return folder


@dataclass
class Daemon:
    """The daemon of the project."""

    project: Path
    home: Path
    ray_folder: Path
    process: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def start(self) -> None:
        self.process.enter_context(daemon(self.project, self.home, self.ray_folder))

    def end(self) -> None:
        self.process.close()


@pytest.fixture(scope="module")
def running(project: Path, home: Path, ray_folder: Path) -> Iterator[Daemon]:
    """Is up when a test begins and when it ends."""
    started = Daemon(project, home, ray_folder)
    started.start()
    yield started
    started.end()


def switch_on(project: Path, flow: str, kind: str, /, **keys: Any) -> None:
    """Have a flow's first trigger on from the start, with these keys changed or, if it has none,
    these alone.
    """
    file = project / "flows" / f"{flow}.json"
    drawn = json.loads(file.read_text())
    drawn.setdefault(kind, [{}])[0] |= {"running": True, **keys}
    file.write_text(json.dumps(drawn))


def ticked(instance: DagsterInstance, times: int) -> Callable[[], bool]:
    """Whether some trigger has ticked so often."""

    return lambda: any(len(ticks) >= times for ticks in ticks_of(instance))


def test_every_file_and_every_order_starts_one_run_though_the_daemon_restarts(
    project: Path, recorded: DagsterInstance, running: Daemon
) -> None:
    files = [put(project / "inbox" / "one.csv", ORDERS)]
    assert len(results(recorded, "arrived_orders", 1)) == 1
    results(recorded, "new_orders", 2)
    running.end()
    files.append(put(project / "inbox" / "two.csv", ORDERS + MORE))
    with (project / "data" / "orders.csv").open("a") as orders:
        orders.write(MORE)
    running.start()
    arrived = results(recorded, "arrived_orders", 2)
    new = results(recorded, "new_orders", 3)
    wait_until(ticked(recorded, 5), running.home)
    assert len(runs_of(recorded, "arrived_orders")) == 2
    assert len(runs_of(recorded, "new_orders")) == 3
    assert [(each["path"], each["revenue"]) for each in arrived] == [
        (str(files[0]), 11.5),
        (str(files[1]), 14.5),
    ]
    assert sorted((each["order_id"], each["worth"]) for each in new) == [
        ("O-1", 7.5),
        ("O-2", 4.0),
        ("O-3", 3.0),
    ]


def test_a_schedule_starts_a_flow_and_its_success_starts_another(
    recorded: DagsterInstance, running: Daemon
) -> None:
    first = results(recorded, "nightly_revenue", 1)[0]
    share = results(recorded, "sales_share", 1)[0]
    assert first["revenue"] in (11.5, 14.5)  # an order came with the other test
    assert first["at"].endswith(("+01:00", "+02:00"))
    assert share == {"share": first["revenue"] / 10_000}
    run = runs_of(recorded, "sales_share")[-1]
    assert run.tags["dagster/sensor_name"] == "sales_share_flow"
    made = recorded.get_latest_materialization_event(AssetKey(["sales", "share_of_target"]))
    assert made is not None


def test_runs_of_a_schedule_keep_variables_for_the_next(
    recorded: DagsterInstance, running: Daemon
) -> None:
    counted = [each["visits"] for each in results(recorded, "visits", 1)]
    assert counted == list(range(1, len(counted) + 1))
    kept = kept_variables(recorded, "visits", str(running.project)).read()
    assert kept["last_visitor"].value == "Ada"
    assert kept["visits"].value >= len(counted)
