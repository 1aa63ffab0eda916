"""Calls laid open as nested graphs: what their steps come to in Dagster, run again, ended and under
other executors."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    ReexecutionOptions,
    build_reconstructable_job,
    execute_job,
    in_process_executor,
)
from dagster_runs import MULTIPROCESS, FlowRun, read_run, run_and_interrupt, run_job
from drawing import draw, node
from running import PROJECT

from rayflow_dagster.compiler.callees import FlowFolder
from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.compiled import CompiledFlow
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.defs.results import own_steps, run_result
from rayflow_dagster.defs.storage import values_root
from rayflow_dagster.project import Project
from rayflow_dagster.testing import in_process
from rayflow_dagster.types import START_CLASS

Flow = dict[str, Any]
Flows = dict[str, Flow]
"""The flows of a folder by name; the first is the one that runs."""
COUNTER = {"counter": {"type": "int", "default": 0}}


def project_of(flows: Flows) -> Project:
    contents = {name: json.dumps(flow).encode() for name, flow in flows.items()}
    return replace(PROJECT, called=FlowFolder(Path("flows"), contents))


def compiled(flows: Flows) -> CompiledFlow:
    return compile_flow(next(iter(flows.values())), "test", project_of(flows))


EXECUTORS = {
    "ours": None,
    "in process": in_process_executor,
    "multiprocess": MULTIPROCESS,
}


def job_of(flows: str, on_ray: bool = False, executor: str = "ours") -> Any:
    """Dagster reconstructs the job by calling this again."""
    read: Flows = json.loads(flows)
    return build_job(
        next(iter(read.values())),
        "test",
        project=project_of(read),
        executor_def=EXECUTORS[executor],
        connect=None if on_ray else in_process,
    )


def execute(flows: Flows, instance: DagsterInstance, /, *how: Any, **inputs: Any) -> FlowRun:
    job = build_reconstructable_job("test_open_calls", "job_of", (json.dumps(flows), *how))
    result = execute_job(job, instance, run_config={"ops": {"start": {"config": inputs}}})
    return read_run(instance, result.run_id, compiled(flows))


def again(
    flows: Flows, instance: DagsterInstance, run: FlowRun, *how: Any, steps: list[str] | None = None
) -> FlowRun:
    """Run a flow again from failure, or these steps of it."""
    parent = instance.get_run_by_id(run.run_id)
    assert parent is not None
    options = (
        ReexecutionOptions.from_failure(run.run_id, instance)
        if steps is None
        else ReexecutionOptions(run.run_id, step_selection=steps)
    )
    job = build_reconstructable_job("test_open_calls", "job_of", (json.dumps(flows), *how))
    result = execute_job(job, instance, run_config=parent.run_config, reexecution_options=options)
    return read_run(instance, result.run_id, compiled(flows))


def ran(run: FlowRun) -> set[str]:
    """The nodes of which a run has settled the steps."""
    return {node_id for node_id, status in run.statuses.items() if status == "completed"}


def failures(run: FlowRun) -> str:
    return "; ".join(
        str(event.step_failure_data.error_display_string)
        for event in run.events
        if event.is_step_failure
    )


def mended(marker: Path, **data: Any) -> Flow:
    return node("flow_nodes.mended.MendedNode", values={"FILE": str(marker)}, **data)


def counting(marker: Path) -> Flow:
    """Counts with a variable of its own, fails until it is mended, and counts on."""
    return draw(
        {
            "start": node("start", inputs={"x": "any"}),
            "up": node("count_up", values={"BY": 10}),
            "bad": mended(marker),
            "more": node("count_up", values={"BY": 100}),
            "end": "return",
        },
        "start > up, up > bad, start.x - bad.value, bad > more, more > end, bad.value - end.x,"
        "more.value - end.n",
        variables=COUNTER,
    )


def calling(name: str, **data: Any) -> Flow:
    """Calls a flow that takes and gives ``x`` and gives ``n``, and goes on behind it."""
    return draw(
        {
            "start": node("start", inputs={"x": {"type": "any", "default": 7}}),
            "call": node("flow", flow=name, **data),
            "behind": "identity",
            "end": "return",
        },
        "start > call, start.x - call.x, call > behind, call.n - behind.value, behind > end,"
        "call.x - end.x, behind.value - end.n",
    )


def test_a_rerun_goes_on_in_the_call_where_it_failed(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flows = {"outer": calling("counting"), "counting": counting(marker)}
    failed = execute(flows, instance)
    assert failed.statuses["call.bad"] == "failed"
    failed = again(flows, instance, failed)
    assert failed.statuses["call.bad"] == "failed"
    marker.touch()

    rerun = again(flows, instance, failed)

    assert ran(rerun) == {"call.bad", "call.more", "call.end", "call", "behind", "end"}
    assert rerun.result == execute(flows, instance).result == {"x": 7, "n": 111}


def test_a_rerun_from_behind_a_call_runs_none_of_its_steps(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker, there = tmp_path / "mended", tmp_path
    outer = calling("counting")
    outer["nodes"][2] = {"id": "behind", **mended(marker)}
    outer["variables"] = COUNTER
    flows = {"outer": outer, "counting": counting(there)}
    failed = execute(flows, instance)
    assert failed.statuses["behind"] == "failed"
    marker.touch()
    rerun = again(flows, instance, failed)
    assert ran(rerun) == {"behind", "end"}
    assert rerun.result == {"x": 7, "n": 111}


def test_a_rerun_goes_on_in_a_call_that_stands_in_a_call(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flows = {
        "outer": calling("middle"),
        "middle": calling("counting"),
        "counting": counting(marker),
    }
    failed = execute(flows, instance)
    assert failed.statuses["call.call.bad"] == "failed"
    marker.touch()
    rerun = again(flows, instance, failed)
    assert rerun.result == {"x": 7, "n": 111}
    assert ran(rerun).isdisjoint({"start", "call.start", "call.call.start", "call.call.up"})


@pytest.mark.parametrize("on_error", ["stop", "continue"])
def test_a_rerun_runs_the_sibling_that_failed_beside_a_call(
    instance: DagsterInstance, tmp_path: Path, on_error: str
) -> None:
    marker, there = tmp_path / "mended", tmp_path
    outer = draw(
        {"start": node("start", inputs={"x": {"type": "any", "default": 7}}),
         "call": node("flow", flow="counting"), "bad": mended(marker), "end": "return"},
        "start > call, start.x - call.x, start > bad, call > end, bad > end, call.n - end.n",
        variables=COUNTER, on_error=on_error,
    )  # fmt: skip
    flows = {"outer": outer, "counting": counting(there)}
    failed = execute(flows, instance)
    assert failed.statuses["bad"] == "failed"
    marker.touch()
    rerun = again(flows, instance, failed)
    assert rerun.result == {"n": 111}


SELECTIONS = {
    "inside": (["call.more"], {"call.more"}),
    "last": (["call.Returned"], {"call"}),
    "behind": (["behind", "end"], {"behind", "end"}),
    "inside and behind": (["call.up", "behind"], {"call.up", "behind"}),
    "in a call that it calls": (["call.call.up", "call.behind"], {"call.call.up", "call.behind"}),
}


@pytest.mark.parametrize("which", [*SELECTIONS])
def test_the_steps_that_are_selected_run_and_no_others(
    instance: DagsterInstance, tmp_path: Path, which: str
) -> None:
    flows = {"outer": calling("counting"), "counting": counting(tmp_path)}
    if which == "in a call that it calls":
        flows = {"outer": calling("middle"), "middle": flows["outer"]} | {
            "counting": flows["counting"]
        }
    steps, nodes = SELECTIONS[which]
    run = execute(flows, instance)
    rerun = again(flows, instance, run, steps=steps)
    assert rerun.success, failures(rerun)
    assert ran(rerun) == nodes


def test_a_call_runs_alone_where_it_is_selected_and_nothing_ran_before(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    flows = {"outer": calling("counting"), "counting": counting(tmp_path)}
    job = build_reconstructable_job("test_open_calls", "job_of", (json.dumps(flows),))
    result = execute_job(job, instance, op_selection=["start", "call"])
    run = read_run(instance, result.run_id, compiled(flows))
    assert run.success, failures(run)
    assert ran(run) == {"start", *inside(flows)}


def inside(flows: Flows) -> set[str]:
    """The nodes that a call is, itself among them."""
    return {id_ for id_ in compiled(flows).steps if id_.partition(".")[0] == "call"}


def test_a_call_that_is_selected_whole_begins_with_new_variables(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker, slow = tmp_path / "mended", counting(tmp_path)
    slow["nodes"][1] = {"id": "up", **mended(marker)}
    flows = {"outer": calling("slow"), "slow": slow}
    marker.touch()
    run = execute(flows, instance)
    assert run.result == {"x": 7, "n": 102}
    marker.unlink()
    steps = compiled(flows).steps
    failed = again(
        flows, instance, run, steps=[steps[id_] for id_ in (*inside(flows), "behind", "end")]
    )
    assert failed.statuses["call.up"] == "failed"
    marker.touch()

    rerun = again(flows, instance, failed)

    assert rerun.result == run.result


def test_of_a_call_that_goes_on_the_variables_go_on(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    """Beside it, another call of the same flow has its own."""
    marker = tmp_path / "mended"
    outer = draw(
        {"start": "start", "a": node("flow", flow="counting"), "b": node("flow", flow="waiting"),
         "end": "return"},
        "start > a, a > b, b > end, a.n - end.a, b.n - end.b, a.n - b.x",
    )  # fmt: skip
    flows = {"outer": outer, "counting": counting(tmp_path), "waiting": counting(marker)}
    outer["nodes"][1]["data"]["constantValues"] = {"x": 1}
    failed = execute(flows, instance)
    assert failed.statuses["b.bad"] == "failed"
    marker.touch()
    assert again(flows, instance, failed).result == {"a": 111, "b": 111}


COUNTED = draw(
    {"start": node("start", inputs={"x": "any"}), "up": "count_up", "more": "count_up",
     "end": "return"},
    "start > up, up > more, more > end, more.value - end.n, start.x - end.x",
    variables=COUNTER,
)  # fmt: skip
PARTED = draw(
    {
        "start": node("start", inputs={"x": "any"}),
        "slow": node("sleep", values={"SECONDS": 0.1}),
        "one": node("return", label="one"),
        "two": node("return", label="two"),
    },
    "start > one, start > slow, slow > two, start.x - one.a, start.x - slow.value,"
    "slow.value - two.b",
)
OF_ALL_KINDS = draw(
    {
        "start": node("start", inputs={"x": "any"}),
        "counted": node("flow", flow="counted"),
        "parted": node("flow", flow="parted"),
        "never": node("flow", flow="counted"),
        "end": node("return", values={"never": "not called", "x": "other"}),
    },
    "start > counted, counted > parted, start.x - counted.x, counted.x - parted.x,"
    "parted.one > end, parted.two > never, start.x - never.x, never > end,"
    "counted.n - end.n, never.n - end.never, parted.a - end.x",
    settings={"durable": False},
)


@pytest.mark.ray
@pytest.mark.parametrize(("executor", "on_ray"), [("in process", False), ("multiprocess", True)])
def test_dagsters_own_executors_run_calls(
    ray_session: None, instance: DagsterInstance, executor: str, on_ray: bool
) -> None:
    """Of several RETURNs that they reach, the first that is drawn counts."""
    flows = {"all": OF_ALL_KINDS, "counted": COUNTED, "parted": PARTED}
    large = ["large"] * 10_000
    run = execute(flows, instance, on_ray, executor, x=large)
    assert run.success, failures(run)
    assert run.result == {"n": 2, "never": "not called", "x": large}
    never = {run.statuses[f"never.{id_}"] for id_ in ("start", "up", "more", "end")}
    assert never == {run.statuses["never"]} == {"skipped"}
    assert run.statuses["parted.two"] == "completed"


@pytest.mark.ray
def test_a_rerun_goes_on_behind_where_a_call_was_terminated(
    ray_session: None, instance: DagsterInstance, tmp_path: Path
) -> None:
    mine, there = tmp_path / "mine", tmp_path / "there"
    called = draw(
        {
            "start": node("start", inputs={"x": "any"}),
            "up": "count_up",
            "stuck": node(
                "flow_nodes.meet.MeetNode", values={"MINE": str(mine), "THEIRS": str(there)}
            ),
            "more": "count_up",
            "end": "return",
        },
        "start > up, up > stuck, start.x - stuck.value, stuck > more, more > end,"
        "more.value - end.n, stuck.value - end.x",
        variables=COUNTER,
    )
    flows = {"outer": calling("called"), "called": called}
    ended = run_and_interrupt(job_of(json.dumps(flows), True), instance, mine.exists)
    assert ended.status == DagsterRunStatus.CANCELED
    terminated = read_run(instance, ended.run_id, compiled(flows))
    assert terminated.statuses["call.stuck"] == "failed"
    assert terminated.statuses["call.more"] == terminated.statuses["call"] == "pending"
    there.touch()

    rerun = again(flows, instance, terminated, True)

    assert "call.up" not in ran(rerun)
    assert rerun.result == {"x": 7, "n": 2}


def stored_files(instance: DagsterInstance, run: FlowRun) -> set[str]:
    folder = Path(values_root(instance), run.run_id, "steps")
    return {str(file.relative_to(folder)) for file in folder.rglob("*.pkl")}


PASSING = draw(
    {"start": node("start", inputs={"x": "any"}), "same": "identity", "end": "return"},
    "start > same, start.x - same.value, same > end, start.x - end.x, same.value - end.n",
)


@pytest.mark.parametrize("given", ["by START", "by the call"])
def test_what_goes_through_calls_is_stored_once(
    instance: DagsterInstance, tmp_path: Path, given: str
) -> None:
    marker, large = tmp_path / "mended", "large " * 1000
    values = {"x": large} if given == "by the call" else {}
    outer = {**calling("middle", values=values), "variables": COUNTER}
    outer["nodes"][2] = {"id": "behind", **mended(marker)}
    if given == "by the call":
        into_call = ("call", "x")
        outer["edges"] = [
            edge for edge in outer["edges"] if (edge["target"], edge["targetHandle"]) != into_call
        ]
    flows = {"outer": outer, "middle": calling("inner"), "inner": PASSING}
    failed = execute(flows, instance, **({"x": large} if given == "by START" else {}))
    first = "start/x.pkl" if given == "by START" else "call.start/x.pkl"
    own = {first, "call.call.same/value.pkl", "call.behind/value.pkl"}
    assert stored_files(instance, failed) == own
    marker.touch()

    rerun = again(flows, instance, failed)

    assert rerun.result == {"x": large, "n": large}
    assert stored_files(instance, rerun) == {"behind/value.pkl", "end/result.pkl"}


def test_what_goes_through_calls_is_stored_nowhere_in_a_run_that_is_not_durable(
    instance: DagsterInstance,
) -> None:
    large = "large " * 1000
    outer = {**calling("middle"), "settings": {"durable": False}}
    flows = {"outer": outer, "middle": calling("inner"), "inner": PASSING}
    run = execute(flows, instance, x=large)
    assert run.result == {"x": large, "n": large}
    assert stored_files(instance, run) == {"end/result.pkl"}


def test_steps_have_names_of_their_own_whatever_the_ids_and_labels_are(
    memory: DagsterInstance,
) -> None:
    named = draw(
        {
            "start": "start",
            "Returned": "sleep",
            "other": node("sleep", label="returned"),
            "end": node("return", label="Return"),
        },
        "start > Returned, Returned > other, other > end",
    )
    ids = ("a-b", "a_b", "é ü/..", "if", "数据")
    calls = {each: node("flow", flow="named") for each in ids}
    labels = {"c": "A b", "d": "a B", "e": "Returned"}
    calls |= {each: node("flow", flow="named", label=label) for each, label in labels.items()}
    nodes = {"start": "start", **calls, "Returned": "sleep", "end": "return"}
    flow = draw(nodes, "")
    flow["edges"] = [
        {"id": f"{one} to {two}", "source": one, "target": two, "type": "exec"}
        for one, two in pairwise(nodes)
    ]
    flows = {"outer": flow, "named": named}
    steps = compiled(flows).steps
    assert len({key.casefold() for key in steps.values()}) == len(steps) == 5 * len(calls) + 3
    assert (steps["a_b.Returned"], steps["a_b"]) == ("a_b.Returned", "a_b.Returned_")
    run = run_job(job_of(json.dumps(flows)), compiled(flows), {}, memory)
    assert set(run.statuses.values()) == {"completed"}


SLOW = draw(
    {
        "start": node("start", inputs={"x": {"type": "any", "default": 7}}),
        "slow": node("sleep", values={"SECONDS": 0.3}),
        "same": "identity",
        "end": "return",
    },
    "start > slow, start.x - slow.value, slow > same, slow.value - same.value, same > end,"
    "same.value - end.n, start.x - end.x",
)
IN_SLOW = {f"call.{each}" for each in ("start", "slow", "same", "end")} | {"call"}


def run_slow(nodes: dict[str, Any], wires: str, memory: DagsterInstance, **keys: Any) -> FlowRun:
    call = node("flow", flow="slow")
    flow = draw({"start": "start", "call": call, "end": "return", **nodes}, wires, **keys)
    flows = {"outer": flow, "slow": SLOW}
    return run_job(job_of(json.dumps(flows)), compiled(flows), {}, memory)


@pytest.mark.parametrize("on_error", ["stop", "continue"])
def test_a_call_that_is_at_work_when_another_node_fails_goes_on_to_its_end(
    memory: DagsterInstance, on_error: str
) -> None:
    run = run_slow(
        {"bad": "boom", "behind": "identity"},
        "start > call, start > bad, call > behind, call.n - behind.value, behind > end, bad > end",
        memory,
        on_error=on_error,
    )
    behind = {"behind"} if on_error == "continue" else set()
    assert ran(run) == {"start", *IN_SLOW, *behind}
    assert (run.success, run.statuses["end"]) == (False, "pending")


def test_a_call_that_is_at_work_when_the_caller_returns_goes_on_to_its_end(
    memory: DagsterInstance,
) -> None:
    wires = "start > call, start > end, call > behind, call.n - behind.value"
    run = run_slow({"behind": "identity"}, wires, memory)
    assert run.success
    assert ran(run) == {"start", "end", *IN_SLOW}
    assert run.statuses["behind"] == "skipped"


def test_a_call_in_a_branch_that_is_not_taken_is_skipped_whole(memory: DagsterInstance) -> None:
    run = run_slow(
        {"branch": node("logic.branch", values={"condition": False})},
        "start > branch, branch.true > call, branch.false > end, call > end",
        memory,
    )
    skipped = {id_ for id_, status in run.statuses.items() if status == "skipped"}
    assert (run.success, skipped) == (True, IN_SLOW)


def test_a_call_starts_when_the_first_edge_fires_that_it_asks_for(memory: DagsterInstance) -> None:
    run = run_slow(
        {
            "call": node("flow", flow="slow", join="any"),
            "fast": "sleep",
            "late": node("sleep", values={"SECONDS": 0.5}),
        },
        "start > fast, start > late, fast > call, late > call, call > end, call.n - end.n",
        memory,
    )
    order = [event.step_key for event in run.events if event.is_step_success]
    assert order.index("call.start") < order.index("late")
    assert run.result == {"n": 7}


def test_a_disabled_call_is_skipped_whole(memory: DagsterInstance) -> None:
    call = node("flow", flow="slow", disabled=True)
    run = run_slow({"call": call}, "start > call, start > end", memory)
    assert {id_ for id_, status in run.statuses.items() if status == "skipped"} == IN_SLOW
    assert run.success


def test_calls_that_no_exec_edge_leads_to_run_when_their_values_are_there(
    memory: DagsterInstance,
) -> None:
    run = run_slow(
        {"call": node("flow", flow="slow"), "again": node("flow", flow="slow")},
        "start > end, call.n - again.x, again.n - end.n",
        memory,
    )
    assert run.result == {"n": 7}


def test_a_call_is_a_nested_graph_that_is_called_as_its_node(tmp_path: Path) -> None:
    flows = {"outer": calling("middle"), "middle": calling("counting")}
    flows["counting"] = counting(tmp_path)
    call = job_of(json.dumps(flows)).get_node_named("call").definition
    assert call.name == "test__call"
    assert call.node_named("call").definition.name == "test__call__call"
    assert call.description.endswith("Each node of flow `middle` is a step.")


def test_the_result_of_a_run_is_not_that_of_a_flow_that_it_calls(memory: DagsterInstance) -> None:
    flows = {"outer": calling("middle"), "middle": calling("inner"), "inner": PASSING}
    found = run_job(job_of(json.dumps(flows)), compiled(flows), {"x": 3}, memory)
    run = memory.get_run_by_id(found.run_id)
    assert run is not None
    assert run_result(memory, run) == {"x": 3, "n": 3}
    assert own_steps(memory, run, START_CLASS) == ["start"]


def test_a_rerun_under_dagsters_own_executor_goes_on_in_the_call(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker, how = tmp_path / "mended", (False, "in process")
    flows = {"outer": calling("counting"), "counting": counting(marker)}
    failed = execute(flows, instance, *how)
    assert failed.statuses["call.bad"] == "failed"
    marker.touch()
    rerun = again(flows, instance, failed, *how)
    assert ran(rerun) == {"call.bad", "call.more", "call.end", "call", "behind", "end"}
    assert rerun.result == {"x": 7, "n": 111}


def test_a_rerun_takes_from_a_call_what_its_return_gave_that_was_reached_before(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    called = draw(
        {
            "start": node("start", inputs={"x": "any"}),
            "one": "return",
            "bad": mended(marker),
        },
        "start > one, start > bad, start.x - bad.value, start.x - one.x, start.x - one.n",
        on_error="continue",
        settings={"ends": "all_settled"},
        variables=COUNTER,
    )
    flows = {"outer": calling("called"), "called": called}
    failed = execute(flows, instance)
    assert (failed.statuses["call.one"], failed.statuses["call.bad"]) == ("completed", "failed")
    assert failed.statuses["call"] == "pending"
    marker.touch()
    rerun = again(flows, instance, failed)
    assert ran(rerun) == {"call.bad", "call", "behind", "end"}
    assert rerun.result == {"x": 7, "n": 7}
