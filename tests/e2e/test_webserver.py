"""The whole product as a user meets it: a real webserver, a real code location, real Ray."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from defs.triggers.triggered import flow_of, record
from docs_blocks import DOCS, blocks

from e2e.webserver import REPOSITORY, Webserver, environment
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.triggers.inbox_sensor import inbox_folder
from rayflow_dagster.inbox.store import RequestStore
from rayflow_dagster.project import Project

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]

SHOUT = '''
from rayflow_dagster import RayflowNode


class ShoutNode(RayflowNode):
    """Say a text aloud."""

    inputs = {"text": str}
    outputs = {"said": str}
    MARK = "!"

    def process(self, text):
        print("printed", text)
        self.log.warning("saying %s", text)
        if text == "nothing":
            raise ValueError("there is nothing to say")
        return {"said": text + self.MARK}
'''
SHOUTING = {
    "name": "shouting",
    "nodes": [
        {
            "id": "start",
            "type": "start",
            "data": {"label": "Start", "inputs": {"text": {"type": "str", "default": "hello"}}},
        },
        {"id": "shout", "type": "nodes.shout.ShoutNode", "data": {"label": "Shout it out"}},
        {"id": "return", "type": "return", "data": {"label": "Return"}},
    ],
    "edges": [
        {"id": "e1", "source": "start", "target": "shout", "sourceHandle": "exec_out",
         "targetHandle": "exec_in", "type": "exec"},
        {"id": "e2", "source": "shout", "target": "return", "sourceHandle": "exec_out",
         "targetHandle": "exec_in", "type": "exec"},
        {"id": "e3", "source": "start", "target": "shout", "sourceHandle": "text",
         "targetHandle": "text", "type": "str"},
        {"id": "e4", "source": "shout", "target": "return", "sourceHandle": "said",
         "targetHandle": "said", "type": "str"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this project with a flow of its own, which tests may change."""
    folder = tmp_path_factory.mktemp("copy") / "project"
    folder.mkdir()
    for name in ("definitions.py", "workspace.yaml"):
        shutil.copy(ROOT / name, folder)
    for name in ("flows", "nodes", "data"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "nodes" / "shout.py").write_text(SHOUT)
    write_flow(folder, "!")
    return folder


@pytest.fixture(scope="module")
def webserver(
    project: Path, ray_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Webserver]:
    """Serves the copy."""
    home = tmp_path_factory.mktemp("home") / "home"
    with Webserver(project, home, ray_folder) as server:
        yield server


def write_flow(project: Path, mark: str) -> None:
    flow = json.loads(json.dumps(SHOUTING))
    flow["nodes"][1]["data"]["constantValues"] = {"MARK": mark}
    (project / "flows" / "shouting.json").write_text(json.dumps(flow))


def test_the_jobs_page_shows_the_flow_its_file_its_inputs_and_the_nodes(
    webserver: Webserver,
) -> None:
    job = webserver.job("order_check")

    assert "Check a file of orders" in job["description"]
    assert "`flows/order_check.json`" in job["description"]
    assert "`max_error_rate`: float, default 0.2" in job["description"]
    assert "the share of bad rows" in job["description"]
    ops = {op["name"]: op["definition"] for op in job["solids"]}
    assert len(ops) == 12
    branch = ops["Accept_the_file"]
    assert branch["description"].startswith("Accept the file\n")
    assert {port["name"] for port in branch["inputDefinitions"]} == {"exec_in", "condition"}
    assert {port["name"] for port in branch["outputDefinitions"]} == {"exec_true", "exec_false"}


def test_a_run_launched_over_graphql_gives_its_result_and_tells_what_its_nodes_did(
    webserver: Webserver,
) -> None:
    run = webserver.run("order_check", path="data/orders.csv", max_error_rate=0.2)

    assert run.status == "SUCCESS"
    assert run.metadata("Accepted", "result")["orders"] == "53"
    assert run.tags["rayflow/result"].startswith('{"orders": 53,')
    assert run.tags["rayflow/return"] == "accepted"
    skipped = {step for step, status in run.steps.items() if status == "SKIPPED"}
    assert skipped == {"Warn", "Rejected"}
    assert set(run.steps.values()) == {"SUCCESS", "SKIPPED"}

    fired = run.metadata("Accept_the_file", "exec_true")
    assert fired["exec output"] == "true"
    assert fired["actor pid"] > 0
    assert fired["actor node"]
    assert run.metadata("Error_rate", "rate")["preview"].startswith("0.13")
    logged = run.of("LogMessageEvent", "Read_orders")
    assert [event["message"] for event in logged] == ["read 61 rows from data/orders.csv"]


def test_the_launch_over_graphql_of_the_docs_runs_a_partition(webserver: Webserver) -> None:
    (block,) = blocks(DOCS / "partitions.md", "graphql")
    answer = webserver.query(block.text)

    assert answer["__typename"] == "LaunchRunSuccess", answer
    run = webserver.finished(answer["run"]["runId"])
    assert run.status == "SUCCESS"
    assert run.tags["dagster/partition"] == "2024-03-05"


def test_another_input_takes_the_other_branch(webserver: Webserver) -> None:
    run = webserver.run("order_check", max_error_rate=0.05)

    assert run.status == "SUCCESS"
    assert run.steps["Rejected"] == "SUCCESS"
    assert run.steps["Accepted"] == "SKIPPED"
    assert run.tags["rayflow/result"].startswith('{"reasons": {')
    assert run.tags["rayflow/return"] == "rejected"


def test_a_failed_node_shows_its_own_exception_and_its_inputs(webserver: Webserver) -> None:
    run = webserver.run("order_check", path="data/missing.csv")

    assert run.status == "FAILURE"
    (failure,) = run.of("ExecutionStepFailureEvent", "Read_orders")
    cause = failure["error"]["cause"]
    assert cause["message"].startswith("FileNotFoundError: ")
    assert "path = 'data/missing.csv'" in cause["message"]
    assert any("read_orders.py" in line for line in cause["stack"])


def test_what_a_node_prints_and_logs_stands_at_its_step(webserver: Webserver) -> None:
    run = webserver.run("shouting", text="good morning")

    assert run.tags["rayflow/result"] == '{"said": "good morning!"}'
    logged = run.of("LogMessageEvent", "Shout_it_out")
    assert [(e["level"], e["message"]) for e in logged] == [("WARNING", "saying good morning")]
    assert webserver.captured(run, "Shout_it_out")["stdout"] == "printed good morning\n"


def test_a_run_of_the_command_line_is_re_executed_from_its_failure(webserver: Webserver) -> None:
    command = [sys.executable, "-m", "rayflow_dagster", "run", "shouting", "-i", "text=nothing"]
    variables = environment(webserver.ray_folder, DAGSTER_HOME=str(webserver.home))
    done = subprocess.run(
        [*command, "--json"],
        cwd=webserver.project,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    failed = webserver.finished(json.loads(done.stdout)["run_id"])
    again = webserver.reexecute_from_failure(failed)

    assert done.returncode == 1
    assert again.status == "FAILURE"
    (failure,) = again.of("ExecutionStepFailureEvent", "Shout_it_out")
    assert failure["error"]["cause"]["message"].startswith("ValueError: there is nothing to say")
    assert again.steps.get("Start") is None


def test_a_run_keeps_the_flow_that_was_loaded_and_only_that_flow_is_re_executed(
    webserver: Webserver, project: Path
) -> None:
    first = webserver.run("shouting")
    failed = webserver.run("shouting", text="nothing")

    write_flow(project, "?")
    unloaded = webserver.run("shouting")
    webserver.reload()
    loaded = webserver.run("shouting")
    again = webserver.reexecute_from_failure(failed)

    assert first.tags["rayflow/result"] == '{"said": "hello!"}'
    assert unloaded.tags["rayflow/result"] == '{"said": "hello!"}'
    assert unloaded.tags["rayflow/flow_hash"] == first.tags["rayflow/flow_hash"]
    assert loaded.tags["rayflow/result"] == '{"said": "hello?"}'
    assert loaded.tags["rayflow/flow_hash"] != first.tags["rayflow/flow_hash"]
    assert failed.status == again.status == "FAILURE"
    assert again.steps.get("Shout_it_out") is None
    (failure,) = again.of("RunFailureEvent")
    assert "was changed since run" in json.dumps(failure)


SENSOR = """mutation($it: SensorSelector!, $cursor: String) {
  sensorDryRun(selectorData: $it, cursor: $cursor) { ... on DryRunInstigationTick {
  evaluationResult { runRequests { runKey } skipReason error { message } } } } }"""
SCHEDULE = """mutation($it: ScheduleSelector!, $at: Float) {
  scheduleDryRun(selectorData: $it, timestamp: $at) { ... on DryRunInstigationTick {
  evaluationResult { runRequests { runKey } skipReason error { message } } } } }"""


def tried_flow(overlap: str) -> dict[str, Any]:
    """A flow that a trigger of each kind starts."""
    sensors = [{"type": "file", "path": "inbox/*.json", "settle": 0}, {"type": "inbox"}]
    return flow_of(
        {},
        schedules=[{"cron": "@daily", "overlap": overlap}],
        sensors=[{**each, "overlap": overlap} for each in sensors],
    )


def dry_run(server: Webserver, flow: str) -> list[bool]:
    """What the UI's buttons do: whether sensor of files, inbox and schedule would start a run."""
    told = [
        server.query(SENSOR, it={**REPOSITORY, "sensorName": f"{flow}_{kind}"}, cursor=None)
        for kind in ("file", "inbox")
    ]
    schedule = {**REPOSITORY, "scheduleName": f"{flow}_schedule"}
    told.append(server.query(SCHEDULE, it=schedule, at=1767571200.0))
    results = [each["evaluationResult"] for each in told]
    assert not [each["error"] for each in results if each["error"]]
    return [bool(each["runRequests"]) for each in results]


def test_a_dry_run_changes_nothing(webserver: Webserver, project: Path) -> None:
    (project / "inbox").mkdir(exist_ok=True)
    (project / "inbox" / "arrived.json").touch()
    overlaps = {f"tried_{overlap}": overlap for overlap in ("allow", "skip", "queue", "cancel")}
    for name, overlap in overlaps.items():
        (project / "flows" / f"{name}.json").write_text(json.dumps(tried_flow(overlap)))
    webserver.reload()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(webserver.home))
        instance = DagsterInstance.get()
    with instance, RequestStore(inbox_folder(instance, project)) as store:
        for name, overlap in overlaps.items():
            store.add(name, {}, overlap)
            job = build_job(tried_flow(overlap), name, project=Project(project))
            sensor, schedule = f"{name}_file", f"{name}_schedule"
            tags = {"dagster/sensor_name": sensor, "dagster/schedule_name": schedule}
            run = record(instance, job, DagsterRunStatus.STARTED, {**job.run_tags, **tags})
            waiting = store.waiting(name, 10, 1000)
            starts = overlap != "skip"
            try:
                assert dry_run(webserver, name) == [starts, True, starts]
                assert [each.run_id for each in instance.get_runs(RunsFilter(job_name=name))] == [
                    run.run_id
                ]
                assert instance.get_run_by_id(run.run_id) == run
                assert store.waiting(name, 10, 1000) == waiting
            finally:
                instance.delete_run(run.run_id)


ASSET = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  groupName isExecutable description kinds
  dependencyKeys { path } dependedByKeys { path }
  assetMaterializations(limit: 1) { runId stepKey metadataEntries { label
    ... on TextMetadataEntry { text } ... on IntMetadataEntry { intValue }
    ... on FloatMetadataEntry { floatValue } } } } } }"""


def test_an_asset_of_a_flow_stands_in_the_graph_and_shows_its_last_run(
    webserver: Webserver,
) -> None:
    key = {"path": ["sales", "daily_report"]}
    before = webserver.query(ASSET, key=key)
    run = webserver.run("daily_report")
    after = webserver.query(ASSET, key=key)

    assert (before["groupName"], before["isExecutable"], before["kinds"]) == (
        "sales",
        False,
        ["ray"],
    )
    assert before["dependencyKeys"] == [{"path": ["sales", "orders"]}]
    assert before["dependedByKeys"] == [{"path": ["sales", "share_of_target"]}]
    assert run.status == "SUCCESS"
    (event,) = after["assetMaterializations"]
    assert (event["runId"], event["stepKey"]) == (run.id, "Report")
    shown = {entry["label"]: entry for entry in event["metadataEntries"]}
    assert shown["result.revenue"]["floatValue"] == 7112.35
    assert shown["size"]["intValue"] == 2
