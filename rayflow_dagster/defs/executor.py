"""Our Dagster executor: many steps at once inside the run's process.

In go a run and its plan, out come the events of the run; ``driving.py`` has those of the steps.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from dagster import (
    Array,
    DagsterEvent,
    Executor,
    Field,
    InitExecutorContext,
    Int,
    Noneable,
    executor,
)

from rayflow_dagster.engine.planner import drawn_rank

from ._dagster import (
    ExecutionPlan,
    FlowActiveExecution,
    InstanceConcurrencyContext,
    PlanExecutionContext,
    PlanOrchestrationContext,
    RetryMode,
    engine_event,
    run_with_plan,
    wait_for_databases,
)
from .driving import Drive
from .names import SESSION
from .session import RunSession


class FlowExecutor(Executor):
    """Runs a flow's steps in this process, each waiting for its actor without a thread.

    Args:
        retries: whether Dagster's retry policies hold.
        max_concurrent: steps in flight at once; None for no limit but the cluster's.
        tag_concurrency_limits: as in Dagster's multiprocess executor.
    """

    def __init__(
        self,
        retries: RetryMode,
        max_concurrent: int | None = None,
        tag_concurrency_limits: list[dict[str, Any]] | None = None,
    ) -> None:
        self._retries = retries
        self._max_concurrent = max_concurrent
        self._tag_limits = tag_concurrency_limits

    @property
    def retries(self) -> RetryMode:
        return self._retries

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        """Drive the run, from the first step to the last event."""
        wait_for_databases(plan_context.instance)
        keys = execution_plan.step_keys_to_execute
        yield engine_event(plan_context, f"Executing {len(keys)} steps on Ray actors", keys)

        def drive(
            job_context: PlanExecutionContext, execution_plan: ExecutionPlan
        ) -> Iterator[DagsterEvent]:
            session = _session(job_context)
            rank, steps = drawn_rank(session.flow.flat), session.flow.steps
            with (
                InstanceConcurrencyContext(
                    job_context.instance, job_context.dagster_run
                ) as concurrency,
                FlowActiveExecution(
                    execution_plan,
                    rank={steps[node_id]: first for node_id, first in rank.items()},
                    retry_mode=self._retries,
                    max_concurrent=self._max_concurrent,
                    tag_concurrency_limits=self._tag_limits,
                    instance_concurrency_context=concurrency,
                    step_dependency_config=self.step_dependency_config,
                ) as active,
            ):
                yield from Drive(job_context, active, session).events()

        kinds: Counter[str] = Counter()
        for event in run_with_plan(plan_context, drive, self):
            kinds[event.event_type_value] += 1
            yield event
        yield engine_event(plan_context, _summary(kinds, len(keys)), keys)


def _summary(kinds: Mapping[str, int], planned: int) -> str:
    """What became of the steps, in a line."""
    ended = {
        "completed": kinds.get("STEP_SUCCESS", 0),
        "failed": kinds.get("STEP_FAILURE", 0),
        "skipped": kinds.get("STEP_SKIPPED", 0),
    }
    ended["not started"] = planned - sum(ended.values())
    return "Finished: " + ", ".join(f"{count} {what}" for what, count in ended.items() if count)


def _session(job_context: PlanExecutionContext) -> RunSession:
    session: RunSession = getattr(job_context.scoped_resources_builder.build({SESSION}), SESSION)
    return session


@executor(
    name="rayflow",
    config_schema={
        "max_concurrent": Field(
            Noneable(Int),
            default_value=None,
            is_required=False,
            description="Steps in flight at once; none for as many as are ready.",
        ),
        "tag_concurrency_limits": Field(
            Noneable(Array(dict)),
            default_value=None,
            is_required=False,
            description="Limits by op tag, as in Dagster's multiprocess executor.",
        ),
    },
)
def flow_executor(context: InitExecutorContext) -> FlowExecutor:
    """Runs every node as its own step on Ray actors, inside the run's process."""
    return FlowExecutor(
        retries=RetryMode.ENABLED,
        max_concurrent=context.executor_config["max_concurrent"],  # type: ignore[arg-type]
        tag_concurrency_limits=context.executor_config["tag_concurrency_limits"],  # type: ignore[arg-type]
    )
