"""What a run reports, both ways of running, without Ray: the in-process fake runs the nodes."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_flows import write_flow
from drawing import draw, node
from flow_nodes.raises import ERRORS
from running import PROJECT
from shapes import SHAPES, TESTS, Shape

from rayflow_dagster.cli.direct import DirectRunner
from rayflow_dagster.cli.flows import FlowFile
from rayflow_dagster.cli.recorded import RecordedRunner
from rayflow_dagster.cli.report import NodeReport, RunReport
from rayflow_dagster.compiler.callees import FlowFolder
from rayflow_dagster.compiler.flow import read_flow
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process

Open = Callable[[str], FlowFile]
NOTHING = node("constant", values={"VALUE": 1})
RUNNERS = {"direct": DirectRunner, "recorded": RecordedRunner}
# Every way a run can end; that all shapes come out right is tested where the runs are made.
ENDS = {"branch_join", "failing_node", "no_return_reached", "handled_error"}


class Watched:
    """Keeps what it is told, as ``(word, node id)`` or ``(word, node id, text)``."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def started(self, node: NodeReport) -> None:
        self.told.append(("started", node.id))

    def retrying(self, node: NodeReport, reason: str) -> None:
        self.told.append(("retrying", node.id, reason))

    def settled(self, node: NodeReport) -> None:
        self.told.append(("settled", node.id))

    def printed(self, node: NodeReport, text: str) -> None:
        self.told.append(("printed", node.id, text))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ``DAGSTER_HOME`` for all runs here: making one takes longer than a run."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def shared_home(untouched_process: None, home: Path) -> None:
    os.environ["DAGSTER_HOME"] = str(home)


@pytest.fixture(params=RUNNERS)
def run(request: pytest.FixtureRequest, flow_of: Open) -> Callable[..., tuple[RunReport, Watched]]:
    """``run("linear", a=1)`` runs that flow directly, and then again as a recorded run."""

    def run_it(name: str, /, **inputs: Any) -> tuple[RunReport, Watched]:
        watched = Watched()
        runner = RUNNERS[request.param](flow_of(name), in_process)
        return runner.run(inputs, watched), watched

    return run_it


@pytest.mark.parametrize("shape", [each for each in SHAPES if each.name in ENDS], ids=str)
def test_the_report_says_what_became_of_every_node(run, shape: Shape):
    report, _ = run(shape.name, **shape.inputs)

    assert report.success == shape.success
    assert report.result == shape.result
    assert {node.id: node.status for node in report.nodes} == shape.statuses
    assert report.as_dict()["nodes_executed"] == shape.nodes_executed
    assert all(text in (report.error or "") for text in shape.error)


def test_the_return_that_was_reached_is_told(run):
    assert run("branch_join", flag=True, value=7)[0].as_dict()["return"] == "return"
    assert run("no_return_reached", flag=False)[0].as_dict()["return"] is None


def test_a_direct_and_a_recorded_run_name_an_error_alike(flow_of: Open):
    errors = [
        RUNNERS[way](flow_of("failing_node"), in_process).run({"value": 1}, Watched()).error
        for way in RUNNERS
    ]

    assert errors == ["Node boom failed: ValueError: boom: on purpose"] * 2


def test_a_failure_carries_the_nodes_own_exception_inputs_and_frames(run):
    report, _ = run("failing_node", value=1)
    (failed,) = report.of("failed")

    assert failed.fault is not None
    assert failed.fault.text == "ValueError: boom: on purpose"
    assert failed.fault.input_lines() == "value = 1"
    assert "boom.py" in failed.fault.traceback


def test_a_handled_failure_is_told_with_the_nodes_own_frames(run):
    report, _ = run("handled_error", fail=True)
    handled = {node.id: node.handled for node in report.nodes if node.handled}
    told = {node["id"]: node["handled"] for node in report.as_dict()["nodes"] if node["handled"]}

    assert report.success
    assert list(handled) == ["fragile"]
    assert handled["fragile"].text == "ValueError: told to fail"
    assert handled["fragile"].input_lines() == "value = 'well'\nfail = True"
    assert "fragile.py" in handled["fragile"].traceback
    assert told["fragile"]["error"] == "ValueError: told to fail"
    assert "fragile.py" in told["fragile"]["traceback"]


def every_error(**keys: Any) -> dict[str, Any]:
    """A flow that meets each error that a node can raise, and some in a group and in a loop."""
    nodes: dict[str, Any] = {"start": "start", "end": "return"}
    wires = "start > end"
    for number, name in enumerate(ERRORS):
        fails = node("raises", values={"ERROR": name, "TIMES": 1000, "value": 1})
        nodes |= {name: fails, f"of_{name}": NOTHING}
        wires += f", start > {name}, {name}.error > of_{name}"
        if number % 4:
            continue
        group, loop = f"group_{name}", f"loop_{name}"
        nodes |= {group: "control.group", f"in_{group}": fails, f"of_{group}": NOTHING}
        nodes |= {loop: node("control.for_each", values={"items": [1]}, on_item_error="skip")}
        nodes[f"in_{loop}"] = fails
        wires += f""", start > {group}, {group}.body > in_{group}, {group}.error > of_{group},
            start > {loop}, {loop}.body > in_{loop}"""
    variables = {"attempts": {"type": "int", "default": 0}}
    return draw(nodes, wires, variables=variables, settings={"ends": "all_settled"}, **keys)


def test_every_error_is_told_alike_by_both_ways_of_running(tmp_path: Path):
    file = write_flow(tmp_path / "errors.json", every_error())
    handled = []
    for runner in RUNNERS.values():
        report = runner(FlowFile(file, PROJECT, read_flow(file)), in_process).run({}, Watched())
        faults = {node.id: node.handled or node.fault for node in report.nodes}
        handled.append({id_: fault.text for id_, fault in faults.items() if fault})

    direct, recorded = handled
    assert len(direct) > 1.4 * len(ERRORS)
    assert recorded == direct


def test_the_nodes_of_a_branch_say_which_exec_outputs_fired(run):
    report, _ = run("branch_join", flag=True, value=7)
    fired = {node.id: node.fired for node in report.nodes}

    assert (fired["branch"], fired["no"]) == (["true"], [])


def test_each_node_is_told_of_once_as_it_settles(run):
    _, watched = run("branch_join", flag=True, value=7)
    settled = [node for word, node, *_ in watched.told if word == "settled"]

    assert sorted(settled) == ["branch", "join", "no", "return", "start", "yes"]
    assert settled.index("start") < settled.index("branch") < settled.index("join")


def test_a_node_brings_its_log_records(run):
    report, _ = run("printer", value="x")
    (printer,) = [node for node in report.nodes if node.id == "printer"]

    assert printer.logs == [("INFO", "logged: x"), ("WARNING", "warned: x")]


def test_a_nodes_time_is_the_time_in_its_own_code(run):
    report, _ = run("parallel_join", value="x")
    seconds = {node.id: node.seconds for node in report.nodes}

    assert all(value is not None and value >= 0 for value in seconds.values())
    assert seconds["slow"] >= 0.05


def test_where_a_nodes_time_went_adds_up_to_its_duration(run):
    report, _ = run("parallel_join", value="x")
    (slow,) = [node for node in report.as_dict()["nodes"] if node["id"] == "slow"]

    assert list(slow["times"]) == ["waiting", "loading", "process", "storing"]
    assert slow["times"]["process"] == slow["seconds"] >= 0.05
    assert slow["duration"] >= sum(slow["times"].values()) - 1e-5
    assert slow["attempts"] == 1


def test_where_the_time_of_a_node_that_failed_went_adds_up_to_its_duration(run):
    report, _ = run("failing_node", value=1)
    (failed,) = report.of("failed")
    told = failed.as_dict()

    assert list(told["times"]) == ["waiting", "loading", "process", "storing"]
    assert told["times"]["process"] == told["seconds"] > 0
    assert told["duration"] >= sum(told["times"].values()) - 1e-5


def test_what_return_stores_is_told_where_its_time_went(flow_of: Open):
    runner = RUNNERS["recorded"](flow_of("parallel_join"), in_process)
    report = runner.run({"value": "x" * 5000}, Watched())
    told = {node.id: node.as_dict() for node in report.nodes}

    for each in (told["start"], told["return"]):  # what the run's own process stores
        assert each["times"]["storing"] > 0
        assert each["duration"] >= sum(each["times"].values()) - 1e-5
    assert told["return"]["times"]["loading"] > 0


def test_attempts_are_counted(run):
    report, _ = run("retry_then_success", value="x")

    assert {node.attempts for node in report.nodes} == {1, 3}
    assert report.of("pending", "skipped") == []


def test_what_did_not_run_has_no_attempts(run):
    report, _ = run("failing_node", value=1)

    assert {node.attempts for node in report.of("pending", "skipped")} == {0}


def test_skipped_and_pending_nodes_have_no_time(run):
    report, _ = run("failing_node", value=1)

    assert [node.seconds for node in report.of("pending", "skipped")] == [None, None]


def test_a_recorded_run_tells_of_retries(flow_of: Open):
    watched = Watched()
    RecordedRunner(flow_of("retry_then_success"), in_process).run({"value": "x"}, watched)
    retries = [told for told in watched.told if told[0] == "retrying"]

    assert [reason for _, _, reason in retries] == [
        "ConnectionError: attempt 1 fails",
        "ConnectionError: attempt 2 fails",
    ]


def test_a_direct_run_records_nothing(flow_of: Open, project: Path):
    del os.environ["DAGSTER_HOME"]
    report = DirectRunner(flow_of("linear"), in_process).run({"a": 1}, Watched())

    assert report.run_id is None
    assert not (project / ".dagster").exists()


BROKEN = {"handled_error", "retry_then_success"}


class Broken:
    """A watcher of which nothing works."""

    def __getattr__(self, name: str) -> Any:
        raise BrokenPipeError(name)


@pytest.mark.parametrize("kind", RUNNERS)
@pytest.mark.parametrize("shape", [each for each in SHAPES if each.name in BROKEN], ids=str)
def test_a_watcher_that_fails_changes_nothing_of_a_run(
    kind: str, shape: Shape, flow_of: Open
) -> None:
    runner = RUNNERS[kind](flow_of(shape.name), in_process)

    report = runner.run(shape.inputs, Broken())

    assert report.success == shape.success
    assert report.result == shape.result
    assert {node.id: node.status for node in report.nodes} == shape.statuses


def calling(folder: Path, wires: str) -> FlowFile:
    """A flow that calls another, which doubles ``x`` and fails where that is not right."""
    called = draw(
        {"start": node("start", inputs={"x": "int"}), "sum": node("add", label="Sum"),
         "check": node("logic.assert", values={"CONDITION": "x < 10"}), "end": "return"},
        "start > check, start.x - check.x, check > sum, start.x - sum.x, start.x - sum.y,"
        "sum > end, sum.result - end.y",
    )  # fmt: skip
    flow = draw(
        {"start": node("start", inputs={"x": "int"}),
         "which": node("logic.choose", values={"CASES": {"calls": "x > 0"}}),
         "call": node("flow", flow="called", label="Twice"),
         "end": node("return", values={"y": 0})},
        wires,
    )  # fmt: skip
    write_flow(folder / "called.json", called)
    project = Project(TESTS, ("flow_nodes",), called=FlowFolder(folder))
    return FlowFile(write_flow(folder / "calling.json", flow), project, flow)


WIRES = (
    "start > which, start.x - which.x, which.calls > call, which.default > end, start.x - call.x,"
    "call > end, call.y - end.y"
)
INSIDE = ("start", "check", "sum", "end")


@pytest.mark.parametrize(
    ("x", "told", "ran"),
    [
        (4, ["start", "which", *(f"call.{each}" for each in INSIDE), "call", "end"], 8),
        (11, ["start", "which", "call.start", "call.check"], 4),
        (0, ["start", "which", "call", "end"], 3),
    ],
)  # fmt: skip
def test_the_nodes_of_a_called_flow_are_told_of_but_for_a_call_that_is_skipped(
    tmp_path: Path, x: int, told: list[str], ran: int
):
    watched = Watched()
    report = RecordedRunner(calling(tmp_path, WIRES), in_process).run({"x": x}, watched)
    assert [each for word, each, *_ in watched.told if word == "settled"] == told
    assert report.as_dict()["nodes_executed"] == ran
    labels = {each.id: each.label for each in report.nodes}
    assert (labels["call"], labels["call.sum"], labels["call.end"]) == (
        "Twice", "Twice.Sum", "Twice.end"
    )  # fmt: skip
    assert {each.id for each in report.of("failed")} == ({"call.check"} if x == 11 else set())


def test_the_time_of_a_call_is_that_of_the_flow_that_it_calls(tmp_path: Path):
    report = RecordedRunner(calling(tmp_path, WIRES), in_process).run({"x": 4}, Watched())
    lasted = {each.id: each.duration or 0.0 for each in report.nodes}
    assert lasted["call"] > max(lasted[f"call.{each}"] for each in INSIDE)


def test_what_is_handled_in_a_body_is_told_both_ways(tmp_path: Path):
    nodes = {
        "start": node("start", inputs={"xs": "list"}),
        "group": "control.group",
        "loop": node("control.for_each", on_item_error="skip"),
        "bad": "fragile",
        "end": "return",
    }
    wires = (
        "start > group, group.done > end, group.body > loop, start.xs - loop.items,"
        "loop.body > bad, loop.item - bad.fail, loop.item - bad.value"
    )
    flow = draw(nodes, wires)
    project = Project(TESTS, ("flow_nodes",))
    file = FlowFile(write_flow(tmp_path / "skips.json", flow), project, flow)
    for runner in RUNNERS.values():
        report = runner(file, in_process).run({"xs": [False, True]}, Watched())
        assert report.success
        ((handled, node_id),) = [(each.handled, each.id) for each in report.nodes if each.handled]
        assert node_id == "group"
        assert handled.text == "item 1, node 'bad': ValueError: told to fail"
        assert handled.input_lines() == "fail = True\nvalue = True"
        assert "fragile.py" in handled.traceback


@pytest.mark.parametrize(
    ("kind", "said"), [("boom", "ValueError: boom: bang"), ("control.fail", "on purpose")]
)
def test_what_fails_in_a_body_is_named_with_its_place_both_ways(
    tmp_path: Path, kind: str, said: str
):
    values = {"MESSAGE": "on purpose"} if kind == "control.fail" else {}
    called = {"start": "start", "bad": node(kind, values=values), "end": "return"}
    ends = "start > bad, bad > end" if kind == "boom" else "start > bad, start > end"
    write_flow(tmp_path / "called.json", draw(called, ends))
    call = node("flow", flow="called", retry={"max": 1, "delay": 0})
    flow = draw({"start": "start", "call": call, "end": "return"}, "start > call, call > end")
    project = Project(TESTS, ("flow_nodes",), called=FlowFolder(tmp_path))
    file = FlowFile(write_flow(tmp_path / "calling.json", flow), project, flow)
    for runner in RUNNERS.values():
        report = runner(file, in_process).run({}, Watched())
        (failed,) = report.of("failed")
        assert failed.fault is not None
        assert failed.fault.text.startswith("flow 'called', node 'call.bad': ")
        assert failed.fault.text.endswith(said)
        assert failed.fault.text in (report.error or "")
