"""Dagster's private API as ``defs/_dagster.py`` uses it: a test for each thing that may change."""

import inspect
from typing import Any

import pytest
from dagster import DagsterInstance, job, op
from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
)
from dagster._core.execution.api import ExecuteRunWithPlanIterable, create_execution_plan
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan import execute_plan
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.retries import RetryMode
from dagster_runs import run_in_dagster
from drawing import draw

from rayflow_dagster.defs import _dagster
from rayflow_dagster.testing import in_process


def _parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


@op
def first() -> int:
    return 1


@op
def second(value: int) -> int:
    return value


@op
def third(value: int) -> None:
    del value


@job
def chain() -> None:
    third(second(first()))


def _active() -> ActiveExecution:
    return _dagster.FlowActiveExecution(create_execution_plan(chain), RetryMode.ENABLED)


def test_the_buckets_of_unstarted_steps_are_where_we_look_for_them() -> None:
    with _active() as active:
        assert list(active._pending) == ["second", "third"]
        assert active._executable == ["first"]
        for bucket in ("_waiting_to_retry", "_pending_skip", "_pending_abandon", "_in_flight"):
            assert not getattr(active, bucket), bucket
        for settled in ("_failed", "_abandoned", "_success", "_skipped"):
            assert getattr(active, settled) == set(), settled
        _dagster.abandon_unstarted(active)
        assert active.is_complete


def test_unstarted_steps_can_be_settled_as_skipped() -> None:
    with _active() as active:
        skipped = _dagster.skip_unstarted(active)

        assert {step.key for step in skipped} == {"first", "second", "third"}
        assert active.is_complete


def test_a_step_beside_a_failure_is_never_skipped() -> None:
    with _active() as active:
        active.get_steps_to_execute()
        active.mark_failed("first")

        assert active._should_skip_step("second") is False
        _dagster.abandon_unstarted(active)


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (execute_plan._trigger_hook, ["step_context", "step_event_list"]),
        (
            execute_plan.dagster_event_sequence_for_step,
            ["step_context", "force_local_execution"],
        ),
        (
            ExecuteRunWithPlanIterable.__init__,
            ["self", "execution_plan", "iterator", "execution_context_manager"],
        ),
        (
            DefinitionsLoadContext.add_to_pending_reconstruction_metadata,
            ["self", "key", "metadata"],
        ),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_signatures_are_those_that_we_call(function: Any, parameters: list[str]) -> None:
    assert _parameters(function) == parameters


def test_the_runs_context_takes_what_we_hand_it() -> None:
    assert set(_parameters(PlanExecutionContextManager.__init__)) >= {
        "job", "retry_mode", "execution_plan", "run_config", "dagster_run", "instance",
        "raise_on_error", "output_capture", "step_dependency_config",
    }  # fmt: skip


def test_definitions_tell_a_first_load_from_a_reconstruction() -> None:
    assert {kind.name for kind in DefinitionsLoadType} >= {"INITIALIZATION", "RECONSTRUCTION"}
    assert isinstance(DefinitionsLoadContext.reconstruction_metadata, object)
    assert _dagster.load_frozen("nothing was frozen under this key") is None


def test_a_parked_event_is_swallowed_and_never_stored(instance: DagsterInstance) -> None:
    flow = draw(
        {"start": "start", "wait": "sleep", "return": "return"}, "start > wait, wait > return"
    )

    run = run_in_dagster(flow, {}, instance, connect=in_process)

    assert run.success
    assert "parked" not in {event.message for event in run.events}
