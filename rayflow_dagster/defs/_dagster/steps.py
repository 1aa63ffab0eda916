"""Steps: Dagster's generators of their events, and the events of an executor itself."""

import logging
import os
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from traceback import TracebackException
from typing import Any

from dagster import DagsterEvent, OpExecutionContext
from dagster._core.definitions.scoped_resources_builder import Resources, ScopedResourcesBuilder
from dagster._core.events import DagsterEventType, EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.context.system import (
    PlanExecutionContext,
    PlanOrchestrationContext,
    StepExecutionContext,
)
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import _trigger_hook, dagster_event_sequence_for_step
from dagster_shared.error import SerializableErrorInfo


def step_events(step_context: StepExecutionContext) -> Iterator[DagsterEvent]:
    """Dagster's own generator of one step's events."""
    return dagster_event_sequence_for_step(step_context)


def has_hooks(step_context: StepExecutionContext) -> bool:
    """Whether hooks run when the step has settled."""
    return bool(step_context.job_def.get_all_hooks_for_handle(step_context.node_handle))


def trigger_hooks(
    step_context: StepExecutionContext, events: Sequence[DagsterEvent]
) -> Iterator[DagsterEvent]:
    """Run the hooks of a settled step."""
    return _trigger_hook(step_context, events)


Opening = Callable[[Mapping[Any, Any]], Mapping[Any, Any]]


class _OpenedWhenAsked(dict[Any, Any]):
    """What Dagster captures of a step's outputs; ``HookContext`` asks for it by ``items``."""

    def __init__(self, opening: Opening) -> None:
        super().__init__()
        self._opening = opening
        self._opened: Mapping[Any, Any] | None = None

    def items(self) -> ItemsView[Any, Any]:  # type: ignore[override]
        if self._opened is None:  # once for all hooks: the step has ended
            self._opened = self._opening(dict(super().items()))
        return self._opened.items()


def open_outputs_for_hooks(context: OpExecutionContext, opening: Opening) -> None:
    """Have the hooks of this step, if it has any, see what ``opening`` makes of its outputs."""
    step = context.get_step_execution_context()
    if step._step_output_capture is not None:
        step._step_output_capture = _OpenedWhenAsked(opening)


def run_with_plan(
    plan_context: PlanOrchestrationContext, iterator: Any, executor: Any
) -> Iterator[DagsterEvent]:
    """Set up the run's resources, drive ``iterator(job_context, execution_plan)``, tear down."""
    yield from ExecuteRunWithPlanIterable(
        execution_plan=plan_context.execution_plan,
        iterator=iterator,
        execution_context_manager=PlanExecutionContextManager(
            job=plan_context.job,
            retry_mode=plan_context.retry_mode,
            execution_plan=plan_context.execution_plan,
            run_config=plan_context.run_config,
            dagster_run=plan_context.dagster_run,
            instance=plan_context.instance,
            raise_on_error=plan_context.raise_on_error,
            output_capture=plan_context.output_capture,
            step_dependency_config=executor.step_dependency_config,
        ),
    )


def engine_event(
    plan_context: PlanOrchestrationContext | PlanExecutionContext,
    message: str,
    steps: Sequence[str],
) -> DagsterEvent:
    """An event of the executor itself."""
    data = EngineEventData.in_process(os.getpid(), list(steps))
    return DagsterEvent.engine_event(plan_context, message, event_specific_data=data)


def record_handled(context: OpExecutionContext, message: str, error: BaseException) -> None:
    """Record a warning at the step of ``context``, with an error and its traceback, if it has one:
    Dagster's own way asks for one, and that of a worker that died was raised nowhere.
    """
    raised = TracebackException(type(error), error, error.__traceback__)
    told = SerializableErrorInfo.from_traceback(raised)
    _record(context, logging.WARNING, message, EngineEventData.engine_error(told))


def record_about(context: OpExecutionContext, message: str, about: Mapping[str, Any]) -> None:
    """Record metadata at the step of ``context``, which has no output to put it on."""
    _record(context, logging.INFO, message, EngineEventData(metadata=about))


def _record(context: OpExecutionContext, level: int, message: str, data: EngineEventData) -> None:
    step = context.get_step_execution_context()
    event = DagsterEvent(
        event_type_value=DagsterEventType.ENGINE_EVENT.value,
        job_name=step.job_name,
        step_handle=step.step.handle,
        node_handle=step.step.node_handle,
        step_kind_value=step.step.kind.value,
        logging_tags=step.event_tags,
        event_specific_data=data,
        message=message,
    )
    step.log.log_dagster_event(level, message, event)


def interrupted_event(job_context: PlanExecutionContext, steps: Sequence[str]) -> DagsterEvent:
    """Says that the run was told to stop while these steps ran."""
    return DagsterEvent.engine_event(
        job_context,
        "Received a termination signal; ending the actors of running nodes",
        EngineEventData.interrupted(list(steps)),
    )


def parked_event(job_name: str) -> DagsterEvent:
    """What an op yields when its step waits for an actor. The executor swallows it: it is
    neither logged nor stored.
    """
    return DagsterEvent(
        event_type_value=DagsterEventType.ENGINE_EVENT.value,
        job_name=job_name,
        message="parked",
        event_specific_data=EngineEventData(),
    )


def steps_of_this_process(context: OpExecutionContext) -> Sequence[str]:
    """The keys of the steps that this process executes: all of the run's, or under the
    multiprocess executor one.
    """
    return context.get_step_execution_context().execution_plan.step_keys_to_execute


class _CachedResources(ScopedResourcesBuilder):
    """Builds the resources of each set of keys once: Dagster makes a new class several times a
    step.
    """

    _built: dict[frozenset[str], Resources]

    def build(self, required_resource_keys: AbstractSet[str] | None) -> Resources:
        keys = frozenset(required_resource_keys or ())
        if keys not in self._built:
            self._built[keys] = super().build(keys)
        return self._built[keys]


def cache_resources(job_context: PlanExecutionContext) -> None:
    """Have the steps of this run share the objects that hold their resources."""
    data = job_context._execution_data
    builder = data.scoped_resources_builder
    cached = _CachedResources(builder.resource_instance_dict, builder.contains_generator)
    cached._built = {}
    job_context._execution_data = data._replace(scoped_resources_builder=cached)
