"""Flows that call others: what a call is handed, gives back and hides, through both engines."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from dagster import DagsterInstance
from dagster._core.execution.api import create_execution_plan
from dagster._core.execution.plan.state import KnownExecutionState
from dagster_runs import FlowRun, run_job
from drawing import draw, node
from running import execute, outcomes, project_of

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.orchestrator import FlowOrchestrator
from rayflow_dagster.testing import in_process

Flow = dict[str, Any]
Run = Callable[..., "Outcome"]


class Outcome:
    """What a run came to: of the flow ``flows[0]``, which may call the others."""

    def __init__(self, result: Flow, error: str | None, statuses: dict[str, str]) -> None:
        self.result, self.error, self.statuses = result, error, statuses


@pytest.fixture(params=["direct", "dagster"])
def run(request: pytest.FixtureRequest, memory: DagsterInstance) -> Run:
    """Runs a flow that calls others of ``flows``."""

    def direct(flow: Flow, flows: dict[str, Flow], **inputs: Any) -> Outcome:
        orchestrator = FlowOrchestrator(project_of(flows), connect=in_process)
        found = execute(orchestrator, flow, **inputs)
        return Outcome(found["result"], found["error"], outcomes(orchestrator))

    def dagster(flow: Flow, flows: dict[str, Flow], **inputs: Any) -> Outcome:
        project = project_of(flows)
        job = build_job(flow, "test", project=project, connect=in_process)
        found = run_job(job, compile_flow(flow, "test", project), inputs, memory)
        return Outcome(found.result, None if found.success else errors_of(found), found.statuses)

    return direct if request.param == "direct" else dagster


def errors_of(found: FlowRun) -> str:
    failures = [event.step_failure_data for event in found.events if event.is_step_failure]
    return "; ".join(str(failure.error_display_string) for failure in failures)


START = node("start", inputs={"x": {"type": "int", "default": 0}})
DOUBLE = draw(
    {"start": START, "sum": "add", "end": "return"},
    "start > sum, start.x - sum.x, start.x - sum.y, sum > end, sum.result - end.y",
)
CALL = node("flow", flow="double")
ONE_CALL = draw(
    {"start": START, "call": CALL, "end": "return"},
    "start > call, start.x - call.x, call > end, call.y - end.y",
)


def test_a_call_is_handed_what_start_declares_and_gives_what_return_takes(run: Run) -> None:
    found = run(ONE_CALL, {"double": DOUBLE}, x=4)
    assert (found.result, found.error) == ({"y": 8}, None)


@pytest.mark.parametrize("tell", [{}, {"tell": node("debug.log", values={"value": "told"})}])
@pytest.mark.parametrize("retry", [{}, {"retry": {"max": 1, "delay": 0.01}}])
def test_what_begins_behind_another_node_does_not_begin_once_a_return_is_reached(
    run: Run, retry: dict[str, Any], tell: dict[str, Any]
) -> None:
    slow = {"slow": node("sleep", values={"SECONDS": 0.5}), "boom": "boom", "other": "return"}
    wires = "start > slow, slow > boom, boom > other, start.x - end.y, "
    wires += "start > tell, tell > end" if tell else "start > end"
    ends = draw({"start": START, **slow, **tell, "end": node("return", label="End")}, wires)
    flow = draw(
        {"start": START, "call": node("flow", flow="ends", **retry), "end": "return",
         "no": "return"},
        "start > call, start.x - call.x, call.End > end, call.y - end.y, call.other > no",
    )  # fmt: skip
    found = run(flow, {"ends": ends}, x=4)
    assert (found.result, found.error) == ({"y": 4}, None)


ANY = node("start", inputs={"x": "any"})


@pytest.mark.parametrize("retry", [{}, {"retry": {"max": 1}}])
def test_a_call_is_handed_what_start_declares_or_fails(run: Run, retry: dict[str, Any]) -> None:
    flow = draw(
        {"start": ANY, "call": node("flow", flow="double", **retry), "end": "return"},
        "start > call, start.x - call.x, call > end, call.y - end.y",
    )
    assert "input 'x' of node 'call' takes int, but got 'abc'" in str(
        run(flow, {"double": DOUBLE}, x="abc").error
    )


@pytest.mark.parametrize("retry", [{}, {"retry": {"max": 1}}])
def test_a_return_takes_what_it_declares_or_fails(run: Run, retry: dict[str, Any]) -> None:
    gives = draw(
        {"start": ANY, "end": node("return", inputs={"y": "int"})},
        "start > end, start.x - end.y",
    )
    flow = draw(
        {"start": ANY, "call": node("flow", flow="gives", **retry), "end": "return"},
        "start > call, start.x - call.x, call > end, call.y - end.y",
    )
    assert "input 'y' of node 'call.end' takes int, but got 'abc'" in str(
        run(flow, {"gives": gives}, x="abc").error
    )
    assert "input 'y' of node 'end' takes int, but got 'abc'" in str(run(gives, {}, x="abc").error)


def test_an_input_that_is_not_wired_has_the_value_of_the_call_or_the_default(run: Run) -> None:
    flow = draw(
        {"start": "start", "a": CALL, "b": node("flow", flow="double", values={"x": 5}),
         "end": "return"},
        "start > a, a > b, b > end, a.y - end.a, b.y - end.b",
    )  # fmt: skip
    assert run(flow, {"double": DOUBLE}).result == {"a": 0, "b": 10}


PARTED = draw(
    {
        "start": START,
        "big?": node("logic.choose", values={"CASES": {"big": "x > 10"}}),
        "high": node("return", label="high"),
        "low": node("return", label="low"),
        "after": node("identity", values={"value": 1}),
    },
    "start > big?, start.x - big?.x, big?.big > high, big?.default > low, start.x - high.x,"
    "start.x - low.x, start.x - low.small, big?.big > after",
)
PARTING = draw(
    {"start": START, "call": node("flow", flow="part"), "a": "return", "b": "return"},
    "start > call, start.x - call.x, call.high > a, call.low > b, call.x - a.x, call.x - b.x,"
    "call.small - b.small",
)


def test_of_several_returns_the_label_of_the_one_that_is_reached_fires(run: Run) -> None:
    high, low = (run(PARTING, {"part": PARTED}, x=x) for x in (11, 3))
    assert (high.result, low.result) == ({"x": 11}, {"x": 3, "small": 3})
    assert (high.statuses["b"], low.statuses["a"]) == ("skipped", "skipped")


@pytest.mark.parametrize("label", ["high", "end"])
def test_what_the_return_that_was_not_reached_takes_does_not_come(run: Run, label: str) -> None:
    """Of two RETURNs with one label no exec output says which it was."""
    parted = draw(
        {
            "start": START,
            "big?": node("logic.choose", values={"CASES": {"big": "x > 10"}}),
            "high": node("return", label=label),
            "low": node("return", label="end"),
        },
        "start > big?, start.x - big?.x, big?.big > high, big?.default > low, start.x - low.small",
    )
    flow = draw(
        {"start": START, "call": node("flow", flow="part"),
         "end": node("return", inputs={"small": {"type": "int", "default": -1}})},
        "start > call, start.x - call.x, call.small - end.small,"
        + ("call > end" if label == "end" else "call.high > end, call.end > end"),
    )  # fmt: skip
    high, low = (run(flow, {"part": parted}, x=x) for x in (11, 3))
    assert ((high.result, high.error), (low.result, low.error)) == (
        ({"small": -1}, None),
        ({"small": 3}, None),
    )
    del flow["nodes"][-1]["data"]["inputs"]
    (found,) = findings(flow, part=parted)
    assert "'call' may be skipped" in found


FITTED = {
    "start": START,
    "call": node("flow", flow="part"),
    "double": node("flow", flow="double", values={"x": 5}),
    "end": "return",
}
FITS = (
    "start > call, start.x - call.x, call.high > double, call.low > double, call.small - double.x,"
    "double > end, double.y - end.y"
)


@pytest.mark.parametrize(("x", "y"), [(3, 6), (11, 10)])
def test_a_value_of_the_call_stands_in_for_what_the_return_that_is_reached_does_not_bring(
    run: Run, x: int, y: int
) -> None:
    found = run(draw(FITTED, FITS), {"part": PARTED, "double": DOUBLE}, x=x)
    assert (found.result, found.error) == ({"y": y}, None)


def test_labels_of_returns_are_told_apart_in_any_script(run: Run) -> None:
    def spelled(flow: Flow) -> Flow:
        text = json.dumps(flow).replace('"high"', '"数据"')
        found: Flow = json.loads(text.replace('"low"', '"清洗"'))
        return found

    found = run(spelled(PARTING), {"part": spelled(PARTED)}, x=11)
    assert (found.result, found.error) == ({"x": 11}, None)


def test_the_first_return_reached_ends_the_called_flow_alone(run: Run) -> None:
    called = draw(
        {"start": "start", "end": "return", "late": "return",
         "slow": node("sleep", values={"SECONDS": 0.2, "value": 1})},
        "start > end, start > slow, slow > late",
    )  # fmt: skip
    flow = draw(
        {
            "start": "start",
            "call": node("flow", flow="called"),
            "one": node("identity", values={"value": 1}),
            "end": "return",
        },
        "start > call, call.end > one, one > end",
    )
    found = run(flow, {"called": called})
    assert found.error is None
    assert found.statuses["one"] == "completed"


COUNTED = draw(
    {"start": "start", "up": "count_up", "end": "return"},
    "start > up, up > end, up.value - end.n",
    variables={"counter": {"type": "int", "default": 0}},
)


@pytest.mark.parametrize(("variables", "a", "b"), [("own", 1, 1), ("shared", 42, 43)])
def test_variables_are_the_calls_own_or_the_callers(
    run: Run, variables: str, a: int, b: int
) -> None:
    call = node("flow", flow="counted", variables=variables)
    flow = draw(
        {"start": "start", "up": "count_up", "a": call, "b": call, "end": "return"},
        "start > up, up > a, a > b, b > end, up.value - end.own, a.n - end.a, b.n - end.b",
        variables={"counter": {"type": "int", "default": 40}},
    )
    assert run(flow, {"counted": COUNTED}).result == {"own": 41, "a": a, "b": b}


@pytest.mark.parametrize(("again_from", "n"), [("call.start", 2), ("call.more", 3), ("start", 2)])
def test_a_call_that_a_re_execution_begins_again_has_new_variables(
    memory: DagsterInstance, again_from: str, n: int
) -> None:
    """As a flow has. One that it goes on with has them as they were."""
    called = draw(
        {"start": "start", "up": "count_up", "more": "count_up", "end": "return"},
        "start > up, up > more, more > end, more.value - end.n",
        variables={"counter": {"type": "int", "default": 0}},
    )
    flow = draw(
        {"start": "start", "call": node("flow", flow="counted"), "end": "return"},
        "start > call, call > end, call.n - end.n",
    )
    project = project_of({"counted": called})
    job = build_job(flow, "test", project=project, connect=in_process)
    compiled = compile_flow(flow, "test", project)
    first = run_job(job, compiled, {}, memory)
    assert first.result == {"n": 2}

    order = ["start", "call.start", "call.up", "call.more", "call.end", "call.Returned", "end"]
    keys = order[order.index(again_from) :]
    before = KnownExecutionState.build_for_reexecution(memory, memory.get_run_by_id(first.run_id))
    plan = create_execution_plan(
        job, step_keys_to_execute=keys, known_state=before.update_for_step_selection(set(keys))
    )
    parent = {"parent_run_id": first.run_id, "root_run_id": first.run_id}
    found = run_job(job, compiled, {}, memory, execution_plan=plan, **parent)
    assert (found.success, found.result) == (True, {"n": n})


def test_only_variables_of_the_same_type_are_shared(run: Run) -> None:
    call = node("flow", flow="counted", variables="shared")
    flow = draw(
        {"start": "start", "call": call, "end": "return"},
        "start > call, call > end, call.n - end.n",
        variables={"counter": {"type": "float", "default": 0.5}},
    )
    assert run(flow, {"counted": COUNTED}).result == {"n": 1}


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"n": {"type": "str"}}, "variable 'n' is of type str in flow 'it' and of type int here"),
        ({"other": {"type": "int"}}, "flow 'it' has no variable of the name of one here"),
        ({}, "flow 'it' has no variable of the name of one here"),
        ({"n": {"type": "int"}, "other": {"type": "int"}}, None),
    ],
)
def test_variables_that_are_not_shared_though_they_are_to_be_are_warned_of(
    declared: dict[str, Any], told: str | None
) -> None:
    called = draw({"start": "start", "end": "return"}, "start > end", variables=declared)
    flow = draw(
        {"start": "start", "call": node("flow", flow="it", variables="shared"), "end": "return"},
        "start > call, call > end",
        variables={"n": {"type": "int", "default": 0}},
    )
    validator = project_of({"it": called}).validator()
    assert validator.validate(flow)[0]
    assert [told in each for each in validator.warnings] == ([True] if told else [])


def test_a_called_flow_does_not_see_the_variables_of_its_caller(run: Run) -> None:
    nosy = draw(
        {"start": "start", "up": "count_up", "end": "return"},
        "start > up, up > end",
    )
    flow = draw(
        {"start": "start", "call": node("flow", flow="nosy"), "end": "return"},
        "start > call, call > end",
        variables={"counter": {"type": "int", "default": 0}},
    )
    error = run(flow, {"nosy": nosy}).error
    assert error is not None
    assert "variable 'counter' is not declared by the flow that node 'call' calls" in error


def test_calls_that_items_make_side_by_side_have_variables_of_their_own(run: Run) -> None:
    twice = draw(
        {"start": "start", "up": "count_up", "again": "count_up", "end": "return"},
        "start > up, up > again, again > end, again.value - end.n",
        variables={"counter": {"type": "int", "default": 0}},
    )
    flow = draw(
        {"start": node("start", inputs={"xs": "list"}), "loop": "control.for_each",
         "call": node("flow", flow="twice"), "end": "return"},
        "start > loop, start.xs - loop.items, loop.body > call, loop.done > end, call.n - end.n",
    )  # fmt: skip
    assert run(flow, {"twice": twice}, xs=list(range(20))).result == {"n": [2] * 20}


@pytest.mark.parametrize("ray", [None, {"num_cpus": 0.5}])
def test_a_call_in_a_body_is_part_of_the_body(run: Run, ray: dict[str, Any] | None) -> None:
    flow = draw(
        {"start": node("start", inputs={"xs": "list[int]"}), "loop": "control.for_each",
         "call": CALL, "end": "return"},
        "start > loop, start.xs - loop.items, loop.body > call, loop.item - call.x,"
        "loop.done > end, call.y - end.ys",
        settings={"ray": ray},
    )  # fmt: skip
    called = {**DOUBLE, "settings": {"ray": ray}}
    found = run(flow, {"double": called}, xs=[1, 2, 3])
    assert (found.result, found.error) == ({"ys": [2, 4, 6]}, None)


def test_calls_stand_in_each_other_and_have_bodies_in_them(run: Run) -> None:
    all_of = draw(
        {"start": node("start", inputs={"xs": "list[int]"}), "loop": "control.for_each",
         "call": CALL, "end": "return"},
        "start > loop, start.xs - loop.items, loop.body > call, loop.item - call.x,"
        "loop.done > end, call.y - end.ys",
    )  # fmt: skip
    flow = draw(
        {"start": node("start", inputs={"xs": "list[int]"}),
         "one": node("flow", flow="all_of"), "two": node("flow", flow="all_of"), "end": "return"},
        "start > one, start.xs - one.xs, one > two, one.ys - two.xs, two > end, two.ys - end.ys",
    )  # fmt: skip
    found = run(flow, {"double": DOUBLE, "all_of": all_of}, xs=[1, 2])
    assert (found.result, found.error) == ({"ys": [4, 8]}, None)


FAILING = draw(
    {"start": "start", "bad": node("boom", label="Bad one"), "end": "return"},
    "start > bad, bad > end",
)


def test_a_failure_in_a_called_flow_is_the_calls(run: Run) -> None:
    flow = draw(
        {"start": "start", "call": node("flow", flow="failing"), "end": "return"},
        "start > call, call > end",
    )
    error = run(flow, {"failing": FAILING}).error
    assert error is not None
    assert "node 'call.bad'" in error


def test_a_call_that_fails_goes_on_at_its_error(run: Run) -> None:
    flow = draw(
        {"start": "start", "call": node("flow", flow="failing"), "end": "return"},
        "start > call, call.error > end, call.error - end.error",
    )
    found = run(flow, {"failing": FAILING})
    assert found.error is None
    assert found.result["error"]["node_id"] == "call.bad"


def test_a_call_is_tried_again_whole(run: Run) -> None:
    flaky = draw(
        {"start": "start", "up": "count_up", "bad": node("fragile"), "few": node(
            "logic.choose", values={"CASES": {"few": "n < 3"}}), "end": "return"},
        "start > up, up > few, up.value - few.n, few.few > bad, few.default > end,"
        "up.value - end.n, up.value - bad.value",
        variables={"counter": {"type": "int", "default": 0}},
    )  # fmt: skip
    flaky["nodes"][2]["data"]["constantValues"] = {"fail": True}
    flow = draw(
        {"start": "start", "call": node("flow", flow="flaky", variables="shared",
                                        retry={"max": 2, "delay": 0}), "end": "return"},
        "start > call, call > end, call.n - end.n",
        variables={"counter": {"type": "int", "default": 0}},
    )  # fmt: skip
    found = run(flow, {"flaky": flaky})
    assert (found.result, found.error) == ({"n": 3}, None)


def test_a_call_that_reaches_no_return_fails(run: Run) -> None:
    nowhere = draw(
        {"start": START, "when": node("logic.choose", values={"CASES": {"big": "x > 10"}}),
         "end": "return"},
        "start > when, start.x - when.x, when.big > end",
    )  # fmt: skip
    flow = draw(
        {"start": "start", "call": node("flow", flow="nowhere"), "end": "return"},
        "start > call, call > end",
    )
    error = run(flow, {"nowhere": nowhere}).error
    assert error is not None
    assert "the flow ended without reaching a RETURN" in error
    flow = draw(
        {"start": "start", "call": node("flow", flow="nowhere"), "end": "return"},
        "start > call, call.error > end, call.error - end.error",
    )
    assert run(flow, {"nowhere": nowhere}).result["error"]["node_id"] == "call"


def findings(flow: Flow, **flows: Flow) -> list[str]:
    return project_of(flows).validator().validate(flow)[1]  # type: ignore[arg-type]


def call_of(name: Any, **data: Any) -> Flow:
    return draw(
        {"start": "start", "call": node("flow", flow=name, **data), "end": "return"},
        "start > call, call > end",
    )


@pytest.mark.parametrize("name", ["double.json", "flows/double", "./double.json"])
def test_a_flow_that_is_named_by_its_file_is_told_its_name(name: str) -> None:
    (found,) = findings(call_of(name), double=DOUBLE)
    assert found.endswith("; did you mean 'double'? A flow is named without folder and '.json'")


def test_a_flow_that_is_not_there_is_named_with_those_that_are() -> None:
    (found,) = findings(call_of("dubble"), double=DOUBLE)
    assert found == (
        "node 'call' data.flow: there is no flow 'dubble' in flows (flows: double); "
        "did you mean 'double'?"
    )


@pytest.mark.parametrize("name", [None, "", 3])
def test_a_call_names_a_flow(name: Any) -> None:
    assert any("data.flow" in found for found in findings(call_of(name), double=DOUBLE))


def test_a_flow_that_calls_itself_is_refused_with_the_path() -> None:
    flows = {"a": call_of("b"), "b": call_of("c"), "c": call_of("a")}
    (found,) = findings(call_of("a"), **flows)
    told = "node 'call' data.flow: flow 'a' calls itself (a -> b -> c -> a), and so would"
    assert found.startswith(told)
    (found,) = findings(flows["c"], **flows)
    assert found.startswith(told)


def test_a_broken_flow_is_named_with_its_file_and_first_finding() -> None:
    (found,) = findings(call_of("broken"), broken=draw({"start": "start"}, ""))
    assert found.startswith("node 'call' data.flow: flow 'broken' (broken.json) cannot be called: ")
    assert "RETURN" in found
    (found,) = findings(call_of("half"), half={"edges": []})
    assert "(half.json)" in found


def test_a_flow_that_keeps_variables_between_runs_cannot_be_called() -> None:
    kept = {**COUNTED, "variables": {"counter": {"type": "int", "default": 0, "scope": "flow"}}}
    (found,) = findings(call_of("kept"), kept=kept)
    assert "keeps variable 'counter' between its runs" in found


def test_no_return_of_a_called_flow_is_called_error() -> None:
    called = draw(
        {"start": "start", "a": node("return", label="error"), "b": node("return", label="b")},
        "start > a, start > b",
    )
    (found,) = findings(call_of("called"), called=called)
    assert "label 'error'" in found


def test_flows_that_call_each_other_more_and_more_often_are_refused() -> None:
    def twice(name: str) -> Flow:
        return draw(
            {"start": "start", "a": node("flow", flow=name), "b": node("flow", flow=name),
             "end": "return"},
            "start > a, a > b, b > end",
        )  # fmt: skip

    flows = {f"f{at}": twice(f"f{at - 1}") for at in range(1, 19)}
    found, _ = findings(twice("f18"), f0=draw({"start": "start", "end": "return"}, "start > end"),
                        **flows)  # fmt: skip
    assert "more than 10,000 nodes" in found


def test_the_ports_of_a_call_are_checked_as_those_of_any_node() -> None:
    needs = draw({"start": node("start", inputs={"x": "int"}), "end": "return"}, "start > end")
    (found,) = findings(call_of("needs"), needs=needs)
    assert "'x'" in found
    flow = draw(
        {"start": "start", "call": CALL, "end": "return"},
        "start > call, call > end, call.z - end.z",
    )
    (found,) = findings(flow, double=DOUBLE)
    assert "'z'" in found
    flow = draw(
        {"start": node("start", inputs={"x": "str"}), "call": CALL, "end": "return"},
        "start > call, start.x - call.x, call > end",
    )
    (found,) = findings(flow, double=DOUBLE)
    assert "str" in found


def test_a_value_that_only_some_returns_bring_needs_another_beside_it() -> None:
    needs = {**FITTED, "double": "identity"}
    flow = draw(needs, FITS.replace("double.x", "double.value").replace("double.y", "double.value"))
    (found,) = findings(flow, part=PARTED)
    assert "node 'double' input 'value': its source 'call' may be skipped, or end at a" in found
    only_there = FITS.replace("call.high > double", "call.high > other")
    flow = draw({**FITTED, "double": CALL, "other": "return"}, only_there)
    assert not findings(flow, part=PARTED, double=DOUBLE)


def test_a_setting_of_a_call_is_read_and_checked() -> None:
    (found,) = findings(call_of("double", variables="mine"), double=DOUBLE)
    assert "data.variables" in found


def test_the_hash_of_a_flow_tells_of_the_flows_that_it_calls() -> None:
    hashes = {
        compile_flow(ONE_CALL, "test", project_of({"double": called})).hash
        for called in (DOUBLE, {**DOUBLE, "description": "Twice as much."})
    }
    assert len(hashes) == 2


def test_each_node_of_a_called_flow_has_an_id_of_its_own() -> None:
    flow = compile_flow(ONE_CALL, "test", project_of({"double": DOUBLE}))
    body = flow.graph["nodes"]["call"]["body"]
    assert list(body["nodes"]) == ["call.start", "call.sum", "call.end"]


def test_no_node_has_an_id_as_those_of_a_flow_that_is_called_have_in_a_run() -> None:
    flow = draw(
        {"start": START, "call": CALL, "call.sum": "add", "end": "return"},
        "start > call, start.x - call.x, call > call.sum, call.sum > end",
    )
    flow["nodes"][2]["data"]["constantValues"] = {"x": 1, "y": 2}
    flow["edges"][2] |= {"source": "call", "sourceHandle": "exec_out", "target": "call.sum"}
    flow["edges"][2]["targetHandle"] = "exec_in"
    flow["edges"][3] |= {"source": "call.sum", "sourceHandle": "exec_out", "target": "end"}
    (found,) = findings(flow, double=DOUBLE)
    assert found == (
        "node 'call.sum': its id begins with 'call.', as those of the nodes do that 'call' calls; "
        "give it another id"
    )


def test_edges_of_a_call_and_around_it_may_have_one_id(run: Run) -> None:
    flow = draw(
        {"start": START, "call": CALL, "end": "return"},
        "start > call, start.x - call.x, call > end, call.y - end.y",
    )
    for edge in flow["edges"]:
        edge["id"] = f"call.{edge['id']}"
    assert run(flow, {"double": DOUBLE}, x=4).result == {"y": 8}
