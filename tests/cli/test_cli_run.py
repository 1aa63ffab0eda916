"""``rayflow-dagster run`` as it is typed, with real Dagster and real Ray."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from cli_flows import flow_with_inputs, write_flow, write_waiting
from dagster import DagsterInstance, DagsterRunStatus
from forked_pythons import ForkedPythons

from rayflow_dagster.cli.flows import open_flow
from rayflow_dagster.cli.report import RunReport
from rayflow_dagster.cli.run import ui_command

RUN = ["-m", "rayflow_dagster", "run"]
KEYS = {
    "success", "result", "return", "error", "findings", "execution_time", "nodes_executed",
    "run_id", "nodes",
}  # fmt: skip


def run_status(project: Path) -> tuple[DagsterRunStatus, ...]:
    os.environ["DAGSTER_HOME"] = str(project / ".dagster")
    with DagsterInstance.get() as instance:
        return tuple(run.status for run in instance.get_runs())


@pytest.mark.parametrize(
    ("typed_inputs", "said"),
    [
        (["-i", "a=x"], "input 'a' takes int, not 'x': give a whole number"),
        ([], "input 'a' (int) is missing"),
        (["-i", "a=1", "-i", "c=1"], "input 'c' is not declared by START"),
    ],
)
def test_wrong_inputs_are_one_message_and_nothing_runs(typed, project: Path, typed_inputs, said):
    result = typed("run", "linear", *typed_inputs)

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert said in result.stderr
    assert not (project / ".dagster").exists()


def test_an_invalid_flow_is_refused_with_every_finding(typed, empty_folder: Path):
    flow = flow_with_inputs({"a": "int"})
    flow["nodes"] += [{"id": "x", "type": "no.Node"}, {"id": "y", "type": "start"}]
    write_flow(empty_folder / "bad.json", flow)
    result = typed("run", "bad.json", "-i", "a=1")

    assert result.exit_code == 1
    assert "no.Node" in result.stderr
    assert "2 START nodes" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_flow_with_the_asset_of_another_is_refused(typed, project: Path):
    flow = flow_with_inputs({})
    flow["nodes"][1]["data"]["asset"] = {"key": "share"}
    for name in ("first", "second"):
        write_flow(project / "flows" / f"{name}.json", flow)
    result = typed("run", "second")

    assert result.exit_code == 1
    assert "asset 'share' is declared by flow 'first' as well" in result.stderr
    assert not (project / ".dagster").exists()


def test_a_fault_before_the_run_is_json_too(typed, project: Path):
    result = typed("run", "linear", "--json", "-i", "a=x")
    document = json.loads(result.stdout)

    assert result.exit_code == 1
    assert set(document) == KEYS
    assert (document["success"], document["run_id"], document["nodes"]) == (False, None, [])
    assert "takes int" in document["error"]


def test_an_input_without_equals_is_a_usage_error(typed, project: Path):
    assert typed("run", "linear", "-i", "a").exit_code == 2
    assert typed("run", "linear", "-i", "a", "--json").exit_code == 2


def test_a_dead_cluster_is_one_message_and_no_run_is_recorded(
    project: Path, pythons: ForkedPythons
):
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    done = pythons.run([*RUN, "linear", "-i", "a=1"], variables=environment)

    assert done.returncode == 1
    assert done.stderr.startswith("Error: nothing answers at Ray address ")
    assert len(done.stderr.splitlines()) == 1
    assert not (project / ".dagster" / "history").exists()


@pytest.mark.ray
def test_a_run_is_shown_as_it_goes_and_recorded(
    ray_session: None, project: Path, pythons: ForkedPythons
):
    done = pythons.run([*RUN, "branch_join", "-i", "flag=yes", "-i", "value=7"])
    lines = done.stdout.splitlines()

    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0] == "branch_join"
    assert any(line.startswith("  ok      Branch") and "→ true" in line for line in lines)
    assert "  skipped No" in lines
    assert lines[-5:-2] == ["result", "  value: 7", "  flag: true"]
    assert lines[-2].startswith("succeeded in ")
    assert lines[-1].endswith("; see it with: rayflow-dagster dev --empty-workspace")
    assert run_status(project) == (DagsterRunStatus.SUCCESS,)


def test_what_shows_the_run_is_told_for_where_it_is_recorded(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    own = RunReport(home=str(project / ".dagster"))
    told = "rayflow-dagster dev"
    flow = open_flow("linear")
    assert ui_command(flow, own) == f"{told} --empty-workspace"

    (project / "definitions.py").touch()
    assert ui_command(flow, own) == f"{told} -f definitions.py"

    (project / "workspace.yaml").touch()
    assert ui_command(flow, own) == told
    elsewhere = RunReport(home="/var/my runs")
    assert ui_command(flow, elsewhere) == f"DAGSTER_HOME='/var/my runs' {told}"

    monkeypatch.chdir(project / "flows")
    assert ui_command(flow, own) == f"cd {project} && {told}"
    monkeypatch.chdir(project.parent)
    assert ui_command(flow, elsewhere) == f"cd work && DAGSTER_HOME='/var/my runs' {told}"

    (project / "workspace.yaml").unlink()
    (project / "pyproject.toml").write_text("[tool.dagster]\nmodule_name = 'definitions'\n")
    assert ui_command(flow, own) == f"cd work && {told}"


@pytest.mark.ray
def test_json_is_all_that_is_on_standard_output(
    ray_session: None, project: Path, pythons: ForkedPythons
):
    (project / "nodes").mkdir()
    (project / "nodes" / "__init__.py").write_text("print('imported')\n")
    (project / "nodes" / "odd.py").write_text(
        "from rayflow_dagster import RayflowNode\n\n\n"
        "class OddNode(RayflowNode):\n"
        "    outputs = {'set': 'any', 'nan': float}\n\n"
        "    def process(self):\n"
        "        return {'set': {1}, 'nan': float('nan')}\n"
    )
    flow = {
        "nodes": [
            {"id": "start", "type": "start", "data": {}},
            {"id": "odd", "type": "nodes.odd.OddNode", "data": {"label": "Odd"}},
            {"id": "return", "type": "return", "data": {}},
        ],
        "edges": [
            {"source": "start", "target": "odd", "type": "exec"},
            {"source": "odd", "target": "return", "type": "exec"},
            *(
                {"source": "odd", "target": "return", "sourceHandle": port, "targetHandle": port}
                for port in ("set", "nan")
            ),
        ],
    }
    write_flow(project / "flows" / "odd.json", flow)
    done = pythons.run([*RUN, "odd", "--json"])
    document = json.loads(done.stdout)

    assert done.returncode == 0
    assert set(document) == KEYS
    assert document["result"] == {"set": "{1}", "nan": "nan"}
    assert [node["status"] for node in document["nodes"]] == ["completed"] * 3
    assert document["nodes"][1]["label"] == "Odd"
    assert document["nodes_executed"] == 3


@pytest.mark.ray
@pytest.mark.parametrize("way", [[], ["--direct"]], ids=["recorded", "direct"])
def test_a_failure_names_the_node_and_its_own_error(ray_session, typed, project: Path, way):
    result = typed("run", "failing_node", "-i", "value=1", *way)

    assert result.exit_code == 1
    shown = result.stderr.splitlines()
    (*lines, frame, code), (behind, named) = shown[:6], shown[-2:]
    assert lines == [
        "Error: node 'boom' (Boom): ValueError: boom: on purpose",
        "  with",
        "    value = 1",
        "  at",
    ]
    assert re.fullmatch(r'    File ".*/flow_nodes/boom.py", line \d+, in process', frame)
    assert code.strip().startswith("raise ValueError")
    assert [behind, named] == ["  not run for it", "    After, Return"]
    assert "2 did not run" in result.stdout


@pytest.mark.ray
def test_verbose_shows_the_frames_of_the_node_and_none_of_ours(ray_session, typed, project: Path):
    frames = [
        line
        for line in typed("run", "failing_node", "-i", "value=1", "-v").stderr.splitlines()
        if line.strip().startswith("File ")
    ]

    assert len(frames) == 1
    assert "boom.py" in frames[0]


@pytest.mark.ray
@pytest.mark.parametrize("way", [[], ["--direct"]], ids=["recorded", "direct"])
def test_what_a_node_logs_and_prints_stands_under_it(ray_session, typed, project: Path, way):
    lines = typed("run", "printer", "-i", "value=x", *way).stdout.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("  ok      Printer"))

    assert lines[first + 1 : first + 5] == [
        "          logged: x",
        "          WARNING warned: x",
        "          printed: x",
        "          to stderr: x",
    ]


@pytest.mark.ray
def test_inputs_of_every_type_reach_the_flow(ray_session, typed, empty_folder: Path):
    inputs = {
        "i": "int", "f": "float", "b": "bool", "s": "str", "l": "list[int]",
        "d": "dict[str, any]", "a": "any", "n": "int | None",
    }  # fmt: skip
    write_flow(empty_folder / "all.json", flow_with_inputs(inputs))
    given = {"i": 1, "f": 2, "b": True, "s": "x", "l": [1], "d": {"k": [None]}, "a": None}
    result = typed(
        "run", "all.json", "--inputs", "-", "-i", "n=null", "-i", "f=2", "--json",
        stdin=json.dumps(given),
    )  # fmt: skip
    document = json.loads(result.stdout)

    assert document["error"] is None
    assert document["result"] == {**given, "n": None}


@pytest.mark.ray
@pytest.mark.parametrize("way", [[], ["--direct"]], ids=["recorded", "direct"])
def test_ctrl_c_stops_the_run(ray_session, project: Path, pythons: ForkedPythons, way):
    at_work = write_waiting(project)
    running = pythons.start([*RUN, "waiting", *way])
    while not at_work.exists():
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate()

    assert running.returncode == 130
    assert "stopped in " in out
    assert "Traceback" not in err
    if not way:
        assert run_status(project) == (DagsterRunStatus.CANCELED,)


@pytest.mark.ray
def test_a_new_projects_flow_runs(ray_session, typed, empty_folder: Path, pythons: ForkedPythons):
    typed("init", "mine")
    done = pythons.run([*RUN, "hello", "-i", "name=Ada"], empty_folder / "mine")

    assert done.returncode == 0, done.stderr
    assert "  greeting: Hello, Ada!" in done.stdout
    assert run_status(empty_folder / "mine") == (DagsterRunStatus.SUCCESS,)


@pytest.mark.ray
def test_the_embedded_ray_can_be_looked_at(ray_session, typed):
    result = typed("ray", "status")

    assert result.output.startswith("the embedded Ray is running: address ")
    assert "2 CPU slots" in result.output
    assert "already running" in typed("ray", "start").output


def test_without_an_embedded_ray_there_is_nothing_to_stop(typed, tmp_path: Path):
    os.environ["RAYFLOW_RAY_DIR"] = str(tmp_path / "r")

    assert typed("ray", "status").output == "the embedded Ray is not running\n"
    assert typed("ray", "stop").output == "the embedded Ray was not running\n"
