"""Re-execution from failure: stored outputs, restored variables, and the same flow."""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterInstance,
    ReexecutionOptions,
    build_reconstructable_job,
    execute_job,
)
from dagster_runs import PROJECT, FlowRun, compile_test_flow, read_run
from drawing import draw, node
from forked_pythons import ForkedPythons
from shapes import TESTS

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.storage import step_folder, values_root
from rayflow_dagster.testing import in_process


def job_of(flow: str, on_ray: bool) -> Any:
    """Dagster reconstructs the job by calling this again."""
    connect = None if on_ray else in_process
    return build_job(json.loads(flow), "test", project=PROJECT, connect=connect)


def _reconstructable(flow: dict[str, Any], on_ray: bool) -> Any:
    return build_reconstructable_job("test_reexecution", "job_of", (json.dumps(flow), on_ray))


def _flow(marker: Path, label: str = "Mended") -> dict[str, Any]:
    return draw(
        {
            "start": node("start", inputs={"value": "any"}),
            "keep": node("identity", label="Keep"),
            "count": node("count_up", label="Count", values={"BY": 10}),
            "mended": node(
                "flow_nodes.mended.MendedNode", label=label, values={"FILE": str(marker)}
            ),
            "get": node("variables.get_variable", values={"VARIABLE": "counter"}),
            "return": "return",
        },
        "start > keep, start.value - keep.value, keep > count, count > mended,"
        "keep.value - mended.value, mended > get, get > return, mended.value - return.value,"
        "get.value - return.counter",
        variables={"counter": {"type": "int", "default": 0}},
    )


def _execute(
    flow: dict[str, Any], instance: DagsterInstance, value: Any = 7, *, on_ray: bool = False
) -> FlowRun:
    config = {"ops": {"start": {"config": {"value": value}}}}
    result = execute_job(_reconstructable(flow, on_ray), instance, run_config=config)
    return read_run(instance, result.run_id, compile_test_flow(flow))


def _from_failure(
    flow: dict[str, Any], instance: DagsterInstance, run: FlowRun, *, on_ray: bool = False
) -> FlowRun:
    parent = instance.get_run_by_id(run.run_id)
    assert parent is not None
    result = execute_job(
        _reconstructable(flow, on_ray),
        instance,
        run_config=parent.run_config,
        reexecution_options=ReexecutionOptions.from_failure(run.run_id, instance),
    )
    return read_run(instance, result.run_id, compile_test_flow(flow))


def test_a_rerun_from_failure_reads_stored_outputs_and_restores_variables(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = _flow(marker)
    failed = _execute(flow, instance, value={"rows": [1, 2]})
    assert failed.statuses["mended"] == "failed"
    assert failed.statuses["get"] == failed.statuses["return"] == "pending"

    marker.touch()
    rerun = _from_failure(flow, instance, failed)

    assert rerun.success
    ran = {"mended": "completed", "get": "completed", "return": "completed"}
    assert rerun.statuses == {"start": "pending", "keep": "pending", "count": "pending", **ran}
    # 10 from the run that failed, 1 from the second attempt; the failed attempt's own 1 is gone.
    assert rerun.result == {"value": {"rows": [1, 2]}, "counter": 11}


def test_a_rerun_names_the_failures_that_the_run_before_it_has_handled(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = draw(
        {
            "start": node("start", inputs={"value": "any"}),
            "boom": "boom",
            "mended": node("flow_nodes.mended.MendedNode", values={"FILE": str(marker)}),
            "return": "return",
        },
        "start > boom, boom.error > mended, start.value - mended.value, mended > return",
        variables={"counter": {"type": "int", "default": 0}},
    )
    failed = _execute(flow, instance, value=1)
    assert not failed.success
    marker.touch()
    rerun = _from_failure(flow, instance, failed)
    assert rerun.success
    tags = [instance.get_run_by_id(each.run_id).tags for each in (failed, rerun)]
    assert [each["rayflow/handled"] for each in tags] == ["boom", "boom"]


def test_what_a_run_skipped_fires_nothing_in_its_reruns(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    """``join`` hangs on ``side``, which the first run skipped, and on the output ``a``."""
    marker = tmp_path / "mended"
    flow = draw(
        {
            "start": node("start", inputs={"value": "any"}),
            "branch": node("logic.branch", values={"condition": False}),
            "side": "identity",
            "mended": node("flow_nodes.mended.MendedNode", values={"FILE": str(marker)}),
            "choose": node("choose", values={"which": "b"}),
            "join": "sleep",
            "return": "return",
        },
        "start > branch, branch.true > side, start.value - side.value, branch.false > mended,"
        "mended > choose, side > join, choose.a > join, join > return, choose.b > return",
        variables={"counter": {"type": "int", "default": 0}},
    )
    failed = _execute(flow, instance)
    assert failed.statuses["side"] == "skipped"
    assert failed.statuses["join"] == "pending"

    marker.touch()
    rerun = _from_failure(flow, instance, failed)

    assert rerun.success
    assert rerun.statuses["choose"] == rerun.statuses["return"] == "completed"
    assert rerun.statuses["join"] == "skipped"


def test_a_step_runs_alone_where_it_is_selected_and_nothing_ran_before(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    flow = draw(
        {"start": node("start", inputs={"value": "any"}), "first": "sleep", "it": "sleep",
         "return": "return"},
        "start > first, first > it, it > return",
    )  # fmt: skip
    result = execute_job(_reconstructable(flow, False), instance, op_selection=["it"])
    run = read_run(instance, result.run_id, compile_test_flow(flow))
    assert run.success
    assert run.statuses == {"start": "pending", "first": "pending", "it": "completed",
                            "return": "pending"}  # fmt: skip


def test_a_rerun_of_a_rerun_finds_the_variables_of_the_first_run(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = _flow(marker)
    failed_again = _from_failure(flow, instance, _execute(flow, instance))
    assert not failed_again.success

    marker.touch()
    rerun = _from_failure(flow, instance, failed_again)

    assert rerun.result == {"value": 7, "counter": 11}


def test_a_rerun_of_a_flow_that_was_changed_refuses_and_says_so(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = _flow(marker)
    failed = _execute(flow, instance)

    changed = {**flow, "description": "changed"}
    rerun = _from_failure(changed, instance, failed)

    assert not rerun.success
    assert set(rerun.statuses.values()) == {"pending"}
    failure = next(e for e in rerun.events if e.event_type_value == "PIPELINE_FAILURE")
    text = str(failure.event_specific_data)
    assert "was changed since run" in text
    assert "launch a new run" in text


LARGE = "large " * 1000


def test_a_rerun_reads_large_values_from_their_files_and_small_ones_from_events(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = _flow(marker)
    root = values_root(instance)
    small, large = _execute(flow, instance, 7), _execute(flow, instance, LARGE)

    def files_of(run: FlowRun) -> list[str]:
        return sorted(path.name for path in Path(root, run.run_id).rglob("*") if path.is_file())

    assert files_of(small) == ["Count.pkl"]  # the variables, as the last node left them
    assert files_of(large) == ["Count.pkl", "value.pkl", "value.pkl"]
    marker.touch()

    assert _from_failure(flow, instance, small).result["value"] == 7
    assert _from_failure(flow, instance, large).result["value"] == LARGE


def test_a_stored_output_that_is_gone_is_named(instance: DagsterInstance, tmp_path: Path) -> None:
    marker = tmp_path / "mended"
    flow = _flow(marker)
    failed = _execute(flow, instance, LARGE)
    Path(step_folder(values_root(instance), failed.run_id, "Keep"), "value.pkl").unlink()

    marker.touch()
    rerun = _from_failure(flow, instance, failed)

    assert rerun.statuses["mended"] == "failed"
    failure = next(e for e in rerun.events if e.is_step_failure)
    assert "is gone; run it all again" in str(failure.step_failure_data.error)


def test_a_run_that_is_not_durable_stores_nothing_but_its_result(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = {**_flow(marker), "settings": {"durable": False}}
    failed = _execute(flow, instance, LARGE)
    marker.touch()
    rerun = _from_failure(flow, instance, failed)
    fresh = _execute(flow, instance, LARGE)

    failure = next(e for e in rerun.events if e.is_step_failure)
    assert "durable: false" in str(failure.step_failure_data.error)
    assert fresh.success
    assert fresh.result["value"] == LARGE
    stored = [path.name for path in Path(values_root(instance)).rglob("*.pkl")]
    assert stored == ["result.pkl"]


def test_values_are_stored_where_the_flow_says(instance: DagsterInstance, tmp_path: Path) -> None:
    marker = tmp_path / "mended"
    folder = tmp_path / "elsewhere"
    flow = {**_flow(marker), "settings": {"storage": f"file://{folder}"}}
    failed = _execute(flow, instance, LARGE)
    assert (folder / failed.run_id / "steps" / "Keep" / "value.pkl").is_file()
    assert not Path(values_root(instance)).exists()

    marker.touch()
    rerun = _from_failure(flow, instance, failed)

    assert rerun.result == {"value": LARGE, "counter": 11}


KILLED = """
import os, signal, sys
from dagster import DagsterInstance
from defs.test_reexecution import _execute
from rayflow_dagster.defs.session import RunSession
import json

settled = RunSession.settled

def settle_and_die(self, result):
    settled(self, result)
    if result["node_id"] == "count":
        os.kill(os.getpid(), signal.SIGKILL)

RunSession.settled = settle_and_die
with DagsterInstance.get() as instance:
    _execute(json.loads(sys.argv[1]), instance)
"""


def test_what_a_node_wrote_whose_success_was_not_recorded_does_not_count(
    instance: DagsterInstance, tmp_path: Path, pythons: ForkedPythons
) -> None:
    marker = tmp_path / "mended"
    flow = _flow(marker)
    marker.touch()
    search = os.pathsep.join(["tests", "tests/defs", os.environ["PYTHONPATH"]])
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": search}
    killed = pythons.run(["-c", KILLED, json.dumps(flow)], TESTS.parent, environment)
    assert killed.returncode == -signal.SIGKILL
    (run,) = instance.get_runs()
    instance.report_run_failed(run)

    rerun = _from_failure(flow, instance, read_run(instance, run.run_id, compile_test_flow(flow)))

    assert rerun.statuses["count"] == "completed"
    assert rerun.result == {"value": 7, "counter": 11}


@pytest.mark.ray
def test_actors_store_and_read_outputs_themselves(
    ray_session: None, instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = _flow(marker)
    failed = _execute(flow, instance, on_ray=True)
    assert failed.statuses["mended"] == "failed"

    marker.touch()
    rerun = _from_failure(flow, instance, failed, on_ray=True)

    assert rerun.result == {"value": 7, "counter": 11}


def test_a_read_finds_in_a_rerun_what_was_written_before_it(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    values = {"VARIABLE": "v"}
    flow = draw(
        {
            "start": node("start", inputs={"value": "any"}),
            "set": node("variables.set_variable", values=values),
            "mended": node("flow_nodes.mended.MendedNode", values={"FILE": str(marker)}),
            "get": node("variables.get_variable", values=values),
            "return": "return",
        },
        "start > mended, mended > return, start.value - set.value, start.value - mended.value,"
        "get.value - return.v",
        variables={"v": {"type": "any"}, "counter": {"type": "int", "default": 0}},
    )
    failed = _execute(flow, instance)
    assert failed.statuses["get"] == "pending"

    marker.touch()
    assert _from_failure(flow, instance, failed).result == {"v": 7}


def _loop(marker: Path, *, fused: bool) -> dict[str, Any]:
    """A loop over texts whose body makes large values of them, and fails at "stop" until it is
    mended.
    """
    return draw(
        {
            "start": node("start", inputs={"value": "list", "pad": {"default": "x" * 5000}}),
            "loop": node("control.for_each", parallel=1),
            "big": "add",
            "which": node("logic.switch", values={"CASES": ["stop"]}),
            "mended": node("flow_nodes.mended.MendedNode", values={"FILE": str(marker)}),
            "return": "return",
        },
        "start > loop, start.value - loop.items, loop.body > big, start.pad - big.x,"
        "loop.item - big.y, big > which, loop.item - which.value, which.stop > mended,"
        "loop.done > return, big.result - return.out, loop.count - return.count",
        variables={"counter": {"type": "int", "default": 0}},
        settings={} if fused else {"ray": {"num_cpus": 0.5}},
    )


def _items(run: FlowRun) -> set[int]:
    """The iterations that a run's loop ran."""
    (table,) = [
        event.event_specific_data.metadata["iterations"]
        for event in run.events
        if event.step_key == "loop"
        and "iterations" in getattr(event.event_specific_data, "metadata", {})
    ]
    return {record.data["item"] for record in table.records}


@pytest.mark.parametrize("fused", [True, False])
def test_a_rerun_from_failure_runs_the_iterations_that_had_not_ended(
    instance: DagsterInstance, tmp_path: Path, fused: bool
) -> None:
    marker, texts = tmp_path / "mended", ["a", "b", "stop", "c"]
    flow = _loop(marker, fused=fused)
    failed = _execute(flow, instance, texts)
    assert failed.statuses["loop"] == "failed"
    assert _items(failed) == {0, 1, 2}
    failed_again = _from_failure(flow, instance, failed)
    assert _items(failed_again) == {2}

    marker.touch()
    rerun = _from_failure(flow, instance, failed_again)

    assert rerun.result == {"out": ["x" * 5000 + text for text in texts], "count": 4}
    assert _items(rerun) == {2, 3}


def test_a_rerun_goes_on_with_the_variables_as_the_iterations_that_ended_left_them(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = draw(
        {
            "start": node("start", inputs={"value": "list"}),
            "loop": node("control.for_each", parallel=1),
            "count": "count_up",
            "which": node("logic.switch", values={"CASES": ["stop"]}),
            "mended": node("flow_nodes.mended.MendedNode", values={"FILE": str(marker)}),
            "return": "return",
        },
        "start > loop, start.value - loop.items, loop.body > count, count > which,"
        "loop.item - which.value, which.stop > mended, loop.done > return,"
        "count.value - return.counts",
        variables={"counter": {"type": "int", "default": 0}},
    )
    failed = _execute(flow, instance, ["a", "b", "stop", "c"])
    marker.touch()
    rerun = _from_failure(flow, instance, failed)
    # The third is counted by the node, and once more by the one that was mended.
    assert rerun.result == {"counts": [1, 2, 3, 5]}


def test_a_rerun_of_what_leads_to_a_loop_runs_all_of_it(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = _loop(marker, fused=True)
    flow["nodes"].append({"id": "keep", **node("identity")})
    for edge in flow["edges"]:
        if (edge["source"], edge["target"]) == ("start", "loop"):
            edge["target"] = "keep"
            edge["targetHandle"] = "exec_in" if edge["type"] == "exec" else "value"
    flow["edges"] += draw({}, "keep > loop, keep.value - loop.items")["edges"]
    for number, edge in enumerate(flow["edges"]):
        edge["id"] = f"e{number}"
    failed = _execute(flow, instance, ["a", "stop"])
    marker.touch()
    rerun = execute_job(
        _reconstructable(flow, on_ray=False),
        instance,
        run_config={"ops": {"start": {"config": {"value": ["a", "stop"]}}}},
        reexecution_options=ReexecutionOptions(
            failed.run_id, step_selection=["keep", "loop", "Return"]
        ),
    )
    found = read_run(instance, rerun.run_id, compile_test_flow(flow))
    assert found.statuses["keep"] == "completed"
    assert _items(found) == {0, 1}


def test_a_rerun_of_a_loop_that_is_none_from_failure_runs_all_of_it(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    marker = tmp_path / "mended"
    flow = _loop(marker, fused=True)
    failed = _execute(flow, instance, ["a", "stop"])
    marker.touch()
    rerun = execute_job(
        _reconstructable(flow, on_ray=False),
        instance,
        run_config={"ops": {"start": {"config": {"value": ["a", "stop"]}}}},
        reexecution_options=ReexecutionOptions(failed.run_id),
    )
    assert _items(read_run(instance, rerun.run_id, compile_test_flow(flow))) == {0, 1}


def test_a_rerun_goes_on_behind_the_iterations_of_a_run_that_was_killed(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    flow = draw(
        {
            "start": node("start", inputs={"value": "list"}),
            "loop": node("control.for_each", carry={"sum": {"type": "int", "default": 0}}),
            "wait": node("sleep", values={"SECONDS": 0.05}),
            "add": "add",
            "return": "return",
        },
        "start > loop, start.value - loop.items, loop.body > wait, loop.item - wait.value,"
        "wait > add, wait.value - add.x, loop.sum - add.y, add.result - loop.next.sum,"
        "loop.done > return, loop.sum - return.sum",
    )
    items = list(range(100))
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            _execute(flow, instance, items)
        os._exit(1)
    root = Path(values_root(instance))
    deadline = time.monotonic() + 60
    while not any(log.stat().st_size > 1000 for log in root.glob("*/steps/loop/iterations")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    (killed,) = instance.get_runs()
    instance.report_run_failed(killed)

    compiled = compile_test_flow(flow)
    rerun = _from_failure(flow, instance, read_run(instance, killed.run_id, compiled))

    assert rerun.result == {"sum": sum(items)}
    ran = _items(rerun)
    assert ran == set(range(min(ran), 100))
    assert min(ran) > 1


def test_a_join_of_the_first_that_came_is_there_for_a_rerun(
    instance: DagsterInstance, tmp_path: Path
) -> None:
    """``keep`` starts the join, which does not wait for ``mended``; RETURN waits for both."""
    marker = tmp_path / "mended"
    flow = draw(
        {
            "start": node("start", inputs={"value": "any"}),
            "keep": "identity",
            "mended": node("flow_nodes.mended.MendedNode", values={"FILE": str(marker)}),
            "join": node("sleep", join="any"),
            "return": node("return", join={"at_least": 2}),
        },
        "start > keep, start > mended, start.value - keep.value, start.value - mended.value, "
        "keep > join, mended > join, keep.value - join.value, join > return, mended > return, "
        "join.value - return.value",
        on_error="continue",
        variables={"counter": {"type": "int", "default": 0}},
    )
    failed = _execute(flow, instance)
    assert failed.statuses["join"] == "completed"
    assert (failed.statuses["mended"], failed.statuses["return"]) == ("failed", "pending")

    marker.touch()
    rerun = _from_failure(flow, instance, failed)

    assert rerun.success
    assert rerun.result == {"value": 7}
