"""Event logs under test: instances with either storage, events by hand and of real runs."""

import os
import time
from pathlib import Path
from typing import Any, Literal

from dagster import (
    AssetCheckResult,
    AssetCheckSpec,
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    DagsterEvent,
    DagsterInstance,
    EventLogEntry,
    HookContext,
    MaterializeResult,
    OpExecutionContext,
    RetryPolicy,
    StaticPartitionsDefinition,
    asset,
    job,
    op,
    success_hook,
)
from dagster._core.events import (
    EngineEventData,
    JobFailureData,
    StepRetryData,
    StepSuccessData,
)
from dagster._core.execution.plan.objects import StepFailureData
from dagster_shared.error import SerializableErrorInfo as ErrorInfo

from rayflow_dagster.instance.event_log import FastSqliteEventLogStorage

Kind = Literal["ours", "stock"]
KINDS: tuple[Kind, ...] = ("ours", "stock")
QUIET: dict[str, Any] = {"telemetry": {"enabled": False}}
STORAGE = {
    "event_log_storage": {
        "module": "rayflow_dagster.instance.event_log",
        "class": "FastSqliteEventLogStorage",
    }
}
SHARDS = Path("history") / "runs"


def open_instance(home: Path, kind: Kind = "ours") -> DagsterInstance:
    overrides = QUIET | STORAGE if kind == "ours" else QUIET
    return DagsterInstance.local_temp(str(home), overrides=overrides)


def open_storage(home: Path) -> FastSqliteEventLogStorage:
    return FastSqliteEventLogStorage(str(home / SHARDS))


def event(run_id: str, kind: str, message: str = "", step: str | None = "step") -> EventLogEntry:
    """A Dagster event of a type that needs no data, or whose data is made here."""
    data: dict[str, Any] = {
        "STEP_SUCCESS": StepSuccessData(1.0),
        "STEP_FAILURE": StepFailureData(None, None),
        "STEP_UP_FOR_RETRY": StepRetryData(ErrorInfo("message", [], None)),
        "PIPELINE_FAILURE": JobFailureData(None),
        "ENGINE_EVENT": EngineEventData(),
    }
    is_of_run = kind.startswith("PIPELINE")
    return EventLogEntry(
        error_info=None,
        level=10,
        user_message=message,
        run_id=run_id,
        timestamp=time.time(),
        step_key=None if is_of_run else step,
        job_name="job",
        dagster_event=DagsterEvent(
            event_type_value=kind,
            job_name="job",
            step_key=None if is_of_run else step,
            message=message,
            event_specific_data=data.get(kind),
        ),
    )


def log(run_id: str, message: str) -> EventLogEntry:
    return EventLogEntry(
        error_info=None,
        level=20,
        user_message=message,
        run_id=run_id,
        timestamp=time.time(),
        step_key="step",
        job_name="job",
        dagster_event=None,
    )


def messages(storage: Any, run_id: str) -> list[str]:
    return [entry.user_message for entry in storage.get_logs_for_run(run_id)]


def open_files(home: Path) -> list[str]:
    """The files of the event log that this process has open."""
    found = []
    for handle in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{handle}")
        except FileNotFoundError:
            continue
        if path.startswith(str(home / SHARDS)):
            found.append(path)
    return found


@success_hook
def hook(context: HookContext) -> None:
    context.log.info("hooked")


@op(retry_policy=RetryPolicy(max_retries=1))
def flaky(context: OpExecutionContext) -> int:
    context.log.warning("attempt %s", context.retry_number)
    if context.retry_number == 0:
        raise ValueError("once")
    return 1


@op
def assets(context: OpExecutionContext, value: int) -> None:
    context.log_event(AssetMaterialization("from_op", tags={"color": "red"}))
    context.log_event(AssetObservation("from_op", tags={"color": "blue"}))


@op
def fail(value: int) -> int:
    raise ValueError("always")


@op
def after(value: int) -> None:
    del value


@job(hooks={hook})
def good() -> None:
    assets(flaky())


@job
def bad() -> None:
    after(fail(flaky()))


@asset(
    partitions_def=StaticPartitionsDefinition(["a", "b"]),
    check_specs=[AssetCheckSpec("positive", asset="parts")],
)
def parts() -> MaterializeResult:
    return MaterializeResult(
        asset_key=AssetKey("parts"), check_results=[AssetCheckResult(passed=True)]
    )
