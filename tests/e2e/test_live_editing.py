"""A person edits flows, nodes and ``definitions.py`` while ``rayflow-dagster dev`` runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.live_project import DEFINITIONS, chain, save, until
from e2e.webserver import REPOSITORY, Webserver

pytestmark = pytest.mark.e2e

SENSOR = """sensors = [
    SensorDefinition(
        name="once",
        job_name="other",
        evaluation_fn=lambda _: RunRequest(run_key="once"),
        minimum_interval_seconds=1,
        default_status=DefaultSensorStatus.RUNNING,
    )
]
"""
SCHEDULE = {**REPOSITORY, "scheduleName": "nightly"}
SWITCH_ON = """mutation($it: ScheduleSelector!) { startSchedule(scheduleSelector: $it) {
  __typename ... on ScheduleStateResult { scheduleState { status } } } }"""
SWITCHED = """query($it: ScheduleSelector!) { scheduleOrError(scheduleSelector: $it) {
  ... on Schedule { scheduleState { status } } } }"""
RUNS = """query($job: String!) { runsOrError(filter: {pipelineName: $job}) {
  ... on Runs { results { runId status tags { key value } } } } }"""
STARTED = "query($id: ID!) { runOrError(runId: $id) { ... on Run { stepStats { stepKey } } } }"


def steps(server: Webserver, flow: str) -> set[str]:
    return {op["name"] for op in server.job(flow).get("solids", [])}


def has_step(server: Webserver, flow: str, step: str) -> Callable[[], bool]:
    return lambda: step in steps(server, flow)


def test_a_saved_flow_is_there_by_itself(dev: Webserver, live_project: Path) -> None:
    save(live_project, "edited", "First", "Added")
    save(live_project, "brand_new", "Alone")
    until(has_step(dev, "edited", "Added"), dev)
    until(has_step(dev, "brand_new", "Alone"), dev)

    (live_project / "flows" / "brand_new.json").unlink()
    until(lambda: not steps(dev, "brand_new"), dev)
    # Both were saved at once, and one look may find both.
    changes = [line for line in dev.log.splitlines() if "after a change of" in line]
    assert any("flows/edited.json" in line for line in changes)


def test_a_flow_that_breaks_touches_no_other_and_comes_back(
    dev: Webserver, live_project: Path
) -> None:
    whole = chain("First", "Mended")
    flow = live_project / "flows" / "edited.json"

    flow.write_text(whole[: len(whole) // 2])
    until(has_step(dev, "edited", "edited_cannot_run"), dev)
    assert "it is not JSON" in dev.job("edited")["description"]
    until(lambda: "flows/edited.json cannot run: it is not JSON" in dev.log, dev)
    assert dev.run("other").status == "SUCCESS"

    flow.write_text(whole)
    until(has_step(dev, "edited", "Mended"), dev)
    until(lambda: "flows/edited.json can run again" in dev.log, dev)
    assert dev.run("edited").status == "SUCCESS"


def test_a_run_in_progress_keeps_its_flow_while_that_is_edited(
    dev: Webserver, live_project: Path, tmp_path: Path
) -> None:
    go_on = tmp_path / "go_on"
    run = dev.launch("long", path=str(go_on))
    until(lambda: "Before" in str(dev.query(STARTED, id=run)["stepStats"]), dev)

    save(live_project, "long", "Before", "Replaced")
    until(has_step(dev, "long", "Replaced"), dev)
    go_on.touch()
    kept, edited = dev.finished(run), dev.run("long")

    assert kept.status == edited.status == "SUCCESS"
    assert set(kept.steps) == {"Start", "Before", "After", "Return"}
    assert set(edited.steps) == {"Start", "Before", "Replaced", "Return"}
    assert kept.tags["rayflow/flow_hash"] != edited.tags["rayflow/flow_hash"]


def test_the_daemon_learns_of_a_change_and_a_schedule_stays_on_though_its_code_was_broken(
    dev: Webserver, live_project: Path
) -> None:
    dev.query(SWITCH_ON, it=SCHEDULE)

    (live_project / "definitions.py").write_text("raise RuntimeError('half done')\n")
    until(lambda: "after a change of definitions.py: RuntimeError: half done" in dev.log, dev)
    (live_project / "definitions.py").write_text(DEFINITIONS.replace("sensors = []\n", SENSOR))

    until(lambda: '"once"' in json.dumps(dev.query(RUNS, job="other")), dev)
    state = dev.query(SWITCHED, it=SCHEDULE)["scheduleState"]
    assert state == {"status": "RUNNING"}
