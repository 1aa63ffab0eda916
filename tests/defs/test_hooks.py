"""Dagster's hooks on jobs of flows: what they see, and that steps go on while one runs or while
the flow's result is stored.
"""

import threading
import time
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    HookContext,
    in_process_executor,
    success_hook,
)
from dagster_runs import TESTS, FlowRun, run_and_interrupt, run_job
from drawing import draw, node
from fsspec.implementations.local import LocalFileSystem

from rayflow_dagster.defs.build import build_job
from rayflow_dagster.defs.jobs import compile_flow
from rayflow_dagster.defs.storage import VARIABLES
from rayflow_dagster.project import Project, ProjectSettings
from rayflow_dagster.testing import in_process

PROJECT = Project(TESTS, ["flow_nodes", "odd_nodes"], ProjectSettings(storages=["meeting:///"]))
MEET = "flow_nodes.meet.MeetNode"
TEXT = "long" * 1000
Seen = dict[str, Any]


def _recording(seen: Seen) -> Any:
    @success_hook
    def record(context: HookContext) -> None:
        seen[context.step_key] = dict(context.op_output_values)

    return record


@pytest.mark.ray
@pytest.mark.parametrize("executor_def", [None, in_process_executor], ids=["ours", "stock"])
@pytest.mark.parametrize("durable", [True, False], ids=["durable", "not durable"])
def test_a_success_hook_sees_the_values_themselves(
    ray_session: None, memory: DagsterInstance, executor_def: Any, durable: bool
) -> None:
    flow = draw(
        {
            "start": {"type": "start", "data": {"inputs": {"few": "list[int]"}}},
            "make": node("odd_nodes.frames.MakeLargeNode", label="Make", values={"KIND": "array"}),
            "small": node("identity", label="Small"),
            "return": node("return", label="Return"),
        },
        "start > make, make > small, start.few - small.value, small > return,"
        "make.value - return.large, small.value - return.small",
        settings={"durable": durable},
    )
    seen: Seen = {}
    job = build_job(flow, "test", project=PROJECT, executor_def=executor_def)

    run = run_job(
        job.with_hooks({_recording(seen)}),
        compile_flow(flow, "test", PROJECT),
        {"few": [1, 2]},
        memory,
    )

    assert run.success
    assert run.of_step("Make")[-1] == "HOOK_COMPLETED"
    assert seen["start"]["few"] == [1, 2]
    assert seen["Small"]["value"] == [1, 2]
    assert isinstance(seen["Make"]["value"], np.ndarray)
    assert seen["Make"]["value"].sum() == 200_000 * 199_999 / 2
    assert seen["Return"]["result"]["small"] == [1, 2]


def _meeting(folder: Path, **settings: str) -> dict[str, Any]:
    """The nodes beside ``one`` end once ``_meet`` is called, which ends when they have."""
    told, ended = str(folder / "told"), str(folder / "ended")
    return draw(
        {
            "start": {"type": "start", "data": {"inputs": {"text": "str"}}},
            "one": "identity",
            "slow": node(MEET, values={"MINE": str(folder / "mine"), "THEIRS": told}),
            "last": node(MEET, values={"MINE": ended, "THEIRS": ended}),
            "return": node("return", label="Return"),
        },
        "start > one, start.text - one.value, start > slow, slow > last,"
        "one > return, one.value - return.text",
        settings={"ends": "all_settled", **settings},
    )


def _meet(folder: Path) -> None:
    (folder / "told").touch()
    give_up = time.monotonic() + 60
    while not (folder / "ended").exists():
        if time.monotonic() > give_up:
            raise TimeoutError("no other step has ended")
        time.sleep(0.01)


def _run(flow: dict[str, Any], instance: DagsterInstance, *hooks: Any) -> FlowRun:
    job = build_job(flow, "test", project=PROJECT, connect=in_process)
    compiled = compile_flow(flow, "test", PROJECT)
    return run_job(job.with_hooks(set(hooks)), compiled, {"text": TEXT}, instance)


def test_steps_begin_and_end_while_the_hook_of_another_runs(
    memory: DagsterInstance, tmp_path: Path
) -> None:
    @success_hook
    def meet(context: HookContext) -> None:
        if context.step_key == "one":
            _meet(tmp_path)

    run = _run(_meeting(tmp_path), memory, meet)

    assert run.success
    kinds = [(event.event_type_value, event.step_key) for event in run.events]
    assert kinds.index(("STEP_SUCCESS", "one")) < kinds.index(("STEP_START", "last"))
    assert kinds.index(("STEP_START", "last")) < kinds.index(("HOOK_COMPLETED", "one"))


class MeetingFileSystem(LocalFileSystem):
    """Files of this machine at meeting://; ``_meet`` is called before the one at ``held``."""

    protocol = "meeting"
    cachable = False
    folder = Path()
    held = ""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(str(path).removeprefix("meeting://")))

    def pipe_file(self, path: str, value: bytes, **options: Any) -> None:
        if self.held in path:
            _meet(self.folder)
        super().pipe_file(path, value, **options)


def test_steps_begin_and_end_while_the_result_is_stored(
    memory: DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.register_implementation("meeting", MeetingFileSystem, clobber=True)
    monkeypatch.setattr(MeetingFileSystem, "folder", tmp_path)
    monkeypatch.setattr(MeetingFileSystem, "held", "/steps/Return/")

    run = _run(_meeting(tmp_path, storage=f"meeting://{tmp_path}/values"), memory)

    assert run.success
    assert run.result == {"text": TEXT}
    kinds = [(event.event_type_value, event.step_key) for event in run.events]
    assert kinds.index(("STEP_START", "last")) < kinds.index(("STEP_OUTPUT", "Return"))


def test_steps_begin_and_end_while_the_variables_of_another_are_stored(
    memory: DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.register_implementation("meeting", MeetingFileSystem, clobber=True)
    monkeypatch.setattr(MeetingFileSystem, "folder", tmp_path)
    monkeypatch.setattr(MeetingFileSystem, "held", f"/{VARIABLES}/")
    flow = _meeting(tmp_path, storage=f"meeting://{tmp_path}/values")
    flow["nodes"][1] |= node("variables.set_variable", values={"VARIABLE": "text"})
    flow["variables"] = {"text": {"type": "str", "default": ""}}

    run = _run(flow, memory)

    assert run.success
    kinds = [(event.event_type_value, event.step_key) for event in run.events]
    assert kinds.index(("STEP_START", "last")) < kinds.index(("STEP_SUCCESS", "one"))


def test_a_run_ends_when_all_its_hooks_have_and_has_what_they_said(
    instance: DagsterInstance,
) -> None:
    @success_hook
    def say(context: HookContext) -> None:
        time.sleep(0.2)
        print("said at", context.step_key)  # noqa: T201 - what is tested
        context.log.info("logged")
        if context.step_key == "one":
            raise ValueError("of a hook")

    flow = draw(
        {
            "start": {"type": "start", "data": {"inputs": {"text": "str"}}},
            "one": "identity",
            "return": node("return", label="Return"),
        },
        "start > one, start.text - one.value, one > return",
    )

    run = _run(flow, instance, say)

    assert run.success
    assert [kind for kind in run.of_step("one") if "HOOK" in kind] == ["HOOK_ERRORED"]
    assert [kind for kind in run.of_step("Return") if "HOOK" in kind] == ["HOOK_COMPLETED"]
    kinds = [event.event_type_value for event in run.events]
    last = max(at for at, kind in enumerate(kinds) if "HOOK" in kind)
    assert last < kinds.index("PIPELINE_SUCCESS")
    manager = instance.compute_log_manager
    for key in ("start", "one", "Return"):
        printed = manager.get_log_data([run.run_id, "compute_logs", key]).stdout
        assert printed == f"said at {key}\n".encode()


def test_terminate_does_not_wait_for_a_hook(instance: DagsterInstance) -> None:
    begun, over, waited = threading.Event(), threading.Event(), list[bool]()

    @success_hook
    def hang(context: HookContext) -> None:
        if context.step_key == "Return":
            begun.set()
            waited.append(over.wait(60))

    flow = draw({"start": "start", "return": node("return", label="Return")}, "start > return")
    job = build_job(flow, "test", project=PROJECT, connect=in_process).with_hooks({hang})

    run = run_and_interrupt(job, instance, begun.is_set)
    still_hangs = not waited
    over.set()

    assert run.status == DagsterRunStatus.CANCELED
    assert still_hangs
