"""Private API of Dagster: every use of it in ``defs`` stands in this package.

Checked on Dagster 1.13.27. ``tests/defs/test_dagster_internals.py`` fails loudly when one of these
changes.
"""

from dagster._core.definitions.utils import DISALLOWED_NAMES
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import RunFailureReason
from dagster._core.execution.context.system import (
    PlanExecutionContext,
    PlanOrchestrationContext,
    StepExecutionContext,
)
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.storage.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    COMPUTE_KIND_TAG,
    KIND_PREFIX,
    MAX_RETRIES_TAG,
    PARENT_RUN_ID_TAG,
    PRIORITY_TAG,
    RETRY_ON_ASSET_OR_OP_FAILURE_TAG,
    RUN_FAILURE_REASON_TAG,
    RUN_KEY_TAG,
    WILL_RETRY_TAG,
)

from .active import FlowActiveExecution
from .databases import wait_for_databases
from .definitions import GIVEN_NUMBER, lazy_definitions, op_like
from .logs import StepLogs, capture_step_logs, quiet_console
from .runs import (
    ErrorInfo,
    create_run,
    drive_run,
    failed_by_itself,
    freeze,
    frozen_texts,
    is_tick,
    is_wrapper,
    run_database_url,
    step_error,
    was_interrupted,
)
from .steps import (
    cache_resources,
    engine_event,
    has_hooks,
    interrupted_event,
    open_outputs_for_hooks,
    parked_event,
    record_about,
    record_handled,
    run_with_plan,
    step_events,
    steps_of_this_process,
    trigger_hooks,
)

UNEXPECTED_TERMINATION = RunFailureReason.UNEXPECTED_TERMINATION.value
"""Why a run has failed whose process died or was told to end."""

__all__ = [
    "AUTO_RETRY_RUN_ID_TAG",
    "COMPUTE_KIND_TAG",
    "DISALLOWED_NAMES",
    "GIVEN_NUMBER",
    "KIND_PREFIX",
    "MAX_RETRIES_TAG",
    "PARENT_RUN_ID_TAG",
    "PRIORITY_TAG",
    "RETRY_ON_ASSET_OR_OP_FAILURE_TAG",
    "RUN_FAILURE_REASON_TAG",
    "RUN_KEY_TAG",
    "UNEXPECTED_TERMINATION",
    "WILL_RETRY_TAG",
    "DagsterExecutionInterruptedError",
    "ErrorInfo",
    "ExecutionPlan",
    "FlowActiveExecution",
    "InstanceConcurrencyContext",
    "PlanExecutionContext",
    "PlanOrchestrationContext",
    "RetryMode",
    "StepExecutionContext",
    "StepLogs",
    "cache_resources",
    "capture_step_logs",
    "create_run",
    "drive_run",
    "engine_event",
    "failed_by_itself",
    "freeze",
    "frozen_texts",
    "has_hooks",
    "interrupted_event",
    "is_tick",
    "is_wrapper",
    "lazy_definitions",
    "op_like",
    "open_outputs_for_hooks",
    "parked_event",
    "quiet_console",
    "record_about",
    "record_handled",
    "run_database_url",
    "run_with_plan",
    "step_error",
    "step_events",
    "steps_of_this_process",
    "trigger_hooks",
    "wait_for_databases",
    "was_interrupted",
]
