"""Dagster's private API as ``defs/_dagster`` uses it: a test for each thing that may change."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from dagster import (
    DagsterInstance,
    DagsterInvalidDefinitionError,
    Definitions,
    GraphDefinition,
    HookContext,
    In,
    OpDefinition,
    OpExecutionContext,
    Out,
    SensorEvaluationContext,
    job,
    op,
)
from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
)
from dagster._core.definitions.repository_definition import RepositoryData
from dagster._core.definitions.scoped_resources_builder import ScopedResourcesBuilder
from dagster._core.execution.api import ExecuteRunWithPlanIterable, create_execution_plan
from dagster._core.execution.context.system import ExecutionData
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan import execute_plan
from dagster._core.execution.plan.outputs import StepOutputHandle
from dagster._core.execution.retries import RetryMode
from dagster._core.scheduler.instigation import InstigatorType, TickData, TickStatus
from dagster._daemon.sensor import SensorLaunchContext
from dagster_runs import run_in_dagster
from drawing import draw, node

from rayflow_dagster.defs import _dagster
from rayflow_dagster.defs._dagster import FlowActiveExecution
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


def _active(plan: Any = None, **options: Any) -> FlowActiveExecution:
    plan = plan or create_execution_plan(chain)
    options.setdefault("rank", {step.key: place for place, step in enumerate(plan.steps)})
    return FlowActiveExecution(plan, retry_mode=RetryMode.ENABLED, **options)


def _keys(steps: Any) -> list[str]:
    return [step.key for step in steps]


def test_nothing_is_ready_before_it_is_said_and_the_buckets_are_where_we_look_for_them() -> None:
    with _active() as active:
        assert active.get_steps_to_execute() == []
        assert list(active._pending) == ["first", "second", "third"]
        for bucket in (
            "_executable", "_waiting_to_retry", "_pending_skip", "_pending_abandon", "_in_flight",
        ):  # fmt: skip
            assert not getattr(active, bucket), bucket
        for settled in ("_failed", "_abandoned", "_success", "_skipped"):
            assert getattr(active, settled) == set(), settled
        active.abandon_unstarted()
        assert active.is_complete
        assert active._abandoned == {"first", "second", "third"}


def test_a_step_is_skipped_when_it_is_said() -> None:
    with _active() as active:
        for key in ("first", "second", "third"):
            active.skip(key)
        assert active._skipped == {"first", "second", "third"}
        assert active.is_complete


@op(name="light")
def light() -> None: ...


@job
def wide() -> None:
    light()
    for name in ("a", "b", "c"):
        first.alias(name)()
    first.alias("limited_1").tag({"kind": "limited"})()
    first.alias("limited_2").tag({"kind": "limited"})()


def test_a_step_can_be_dropped_until_it_begins() -> None:
    with _active(create_execution_plan(wide)) as active:
        for key in ("a", "b", "c", "light"):
            active.make_ready(key)
        active.get_steps_to_execute()
        active.make_ready("limited_1")
        for key in ("a", "c", "light"):
            active.begin(key)
        active.mark_up_for_retry("c", 2e9)
        active.mark_success("a")

        assert active.drop("b"), "it waits for its worker"
        assert active.drop("limited_1"), "it is ready"
        assert active.drop("c"), "it waits to be tried again"
        assert not active.drop("light"), "it runs"
        assert not active.drop("a"), "it has settled"
        assert set(active._pending) == {"b", "c", "limited_1", "limited_2"}
        active.mark_success("light")
        active.abandon_unstarted()
        assert active.is_complete


def test_ready_steps_start_by_their_rank() -> None:
    plan = create_execution_plan(wide)
    drawn = ["limited_2", "c", "light", "b", "limited_1", "a"]
    with _active(plan, rank={key: place for place, key in enumerate(drawn)}) as active:
        for key in sorted(drawn):
            active.make_ready(key)
        assert _keys(active.get_steps_to_execute()) == drawn
        for key in drawn:
            active.mark_success(key)


def test_a_step_that_a_limit_holds_back_keeps_no_other_waiting() -> None:
    limits = [{"key": "kind", "value": "limited", "limit": 1}]
    with _active(create_execution_plan(wide), tag_concurrency_limits=limits) as active:
        for key in ("limited_1", "limited_2", "a"):
            active.make_ready(key)
        assert sorted(_keys(active.get_steps_to_execute())) == ["a", "limited_1"]
        assert active._executable == ["limited_2"]
        active.drop("limited_2")
        for key in ("limited_1", "a"):
            active.mark_success(key)
        active.abandon_unstarted()


def test_a_step_is_due_once_when_its_time_has_come() -> None:
    with _active() as active:
        for key, at_time in (("first", None), ("second", 2e9)):
            active.make_ready(key)
            active.get_steps_to_execute()
            active.begin(key)
            active.mark_up_for_retry(key, at_time)
        assert active.due() == ["first"]
        assert active.due() == []
        active.drop("second")
        active.abandon_unstarted()


def test_the_known_state_has_the_live_set_of_outputs_and_follows_retries() -> None:
    with _active() as active:
        active.make_ready("first")
        active.get_steps_to_execute()
        known = active.get_known_state()
        handle = StepOutputHandle("first", "result")
        active.mark_step_produced_output(handle)

        assert handle in active.get_known_state().ready_outputs
        assert active.get_known_state() is known

        active.mark_up_for_retry("first", 0.0)

        assert active.get_known_state().previous_retry_attempts == {"first": 1}
        active.drop("first")
        active.abandon_unstarted()


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
    assert _dagster.frozen_texts("nothing was frozen under this") == {}


def test_a_repository_takes_data_that_give_one_job_alone() -> None:
    assert issubclass(_dagster.definitions._LazyData, RepositoryData)
    assert "_repository_load_data" in vars(
        DefinitionsLoadContext(DefinitionsLoadType.INITIALIZATION)
    )
    assert isinstance(Definitions().get_repository_def()._repository_data, RepositoryData)


def test_a_parked_event_is_swallowed_and_never_stored(instance: DagsterInstance) -> None:
    flow = draw(
        {"start": "start", "wait": "sleep", "return": "return"}, "start > wait, wait > return"
    )

    run = run_in_dagster(flow, {}, instance, connect=in_process)

    assert run.success
    assert "parked" not in {event.message for event in run.events}


def test_the_console_has_no_line_per_step_event_but_all_that_authors_log(
    instance: DagsterInstance, capfd: pytest.CaptureFixture[str]
) -> None:
    flow = draw(
        {
            "start": "start",
            "log": node("debug.log", label="Log", values={"value": "the author", "LEVEL": "DEBUG"}),
            "boom": node("boom", label="Boom"),
            "return": "return",
        },
        "start > log, log > boom, boom > return",
    )

    run_in_dagster(flow, {}, instance, connect=in_process)

    shown = capfd.readouterr().err
    assert "the author" in shown
    assert "STEP_FAILURE" in shown
    assert "RUN_START" in shown
    assert "STEP_START" not in shown


def test_steps_share_the_object_that_holds_their_resources() -> None:
    data = ExecutionData(ScopedResourcesBuilder({"a": 1, "b": 2}), *[None] * 3)  # type: ignore[arg-type]
    context: Any = SimpleNamespace(_execution_data=data)

    _dagster.cache_resources(context)

    builder = context._execution_data.scoped_resources_builder
    assert builder.build({"a"}) is builder.build({"a"})
    assert builder.build({"a"})._asdict() == {"a": 1}
    assert builder.build({"a", "b"})._asdict() == {"a": 1, "b": 2}


def test_an_op_can_be_copied_under_another_name():
    def make(name: str, description: str) -> OpDefinition:
        return OpDefinition(
            _no_work,
            name,
            ins={"x": In(int, default_value=1)},
            outs={"y": Out(int)},
            config_schema={"a": int},
            tags={"t": "1"},
            pool="p",
            description=description,
        )

    def shown(op_def: OpDefinition) -> Any:
        return GraphDefinition("g", node_defs=[op_def]).to_job().get_job_snapshot()

    pattern = make("pattern", "before")
    before = dict(vars(pattern))
    twin = _dagster.op_like(pattern, "twin", "after")
    assert vars(pattern) == before
    # Nothing else of an op depends on its name, or was kept from its first use.
    assert {key for key in vars(twin) if vars(twin)[key] is not before[key]} == {
        "_name",
        "_description",
    }
    assert shown(twin) == shown(make("twin", "after"))
    with pytest.raises(DagsterInvalidDefinitionError):
        _dagster.op_like(pattern, "not legal", "")


def test_the_daemon_logs_a_tick_under_the_number_that_it_has_recorded_it_under(
    instance: DagsterInstance,
) -> None:
    tick = instance.create_tick(
        TickData("origin", "look", InstigatorType.SENSOR, TickStatus.STARTED, 1.0)
    )
    handle = SimpleNamespace(repository_handle=SimpleNamespace(repository_name="r"))
    sensor: Any = SimpleNamespace(name="look", handle=handle)
    by_the_daemon = SensorLaunchContext(sensor, tick, instance, logging.getLogger(), {}).log_key

    def is_tick(log_key: Sequence[str] | None) -> bool:
        with SensorEvaluationContext(
            instance.get_ref(), instance=instance, log_key=log_key
        ) as context:
            return _dagster.is_tick(context)

    assert is_tick(by_the_daemon)
    assert not is_tick(None)
    assert not is_tick([*by_the_daemon[:-1], "no-number"])
    instance.update_tick(tick.with_status(TickStatus.SKIPPED))
    assert not is_tick(by_the_daemon)


def _no_work(_context: OpExecutionContext, _inputs: Any) -> Any:
    yield from ()


def test_a_hook_context_asks_for_the_items_of_what_was_captured_once() -> None:
    asked: list[Any] = []

    def opening(outputs: Mapping[Any, Any]) -> Mapping[Any, Any]:
        asked.append(outputs)
        return {handle: f"opened {value}" for handle, value in outputs.items()}

    captured = _dagster.steps._OpenedWhenAsked(opening)
    captured[StepOutputHandle("step", "result")] = "ref"
    context: Any = SimpleNamespace(
        _step_execution_context=SimpleNamespace(step_output_capture=captured)
    )

    for _ in range(2):
        assert HookContext.op_output_values.fget(context) == {"result": "opened ref"}
    assert asked == [{StepOutputHandle("step", "result"): "ref"}]
