"""Where the output of a step goes, and what of Dagster's log reaches the console."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from dagster import DagsterEvent
from dagster._core.execution.context.system import PlanExecutionContext
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType


def quiet_console(job_context: PlanExecutionContext) -> None:
    """Leave Dagster's debug lines on step events out of the console log.

    They cost more than a tenth of a step, and all stand in the event log. What authors log stays,
    at any level, and so does everything where the run's config names loggers of its own.
    """
    if job_context.resolved_run_config.loggers:
        return
    for logger in job_context.log._dagster_handler._loggers:
        logger.addFilter(_is_worth_a_line)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    event = getattr(record, "dagster_event", None)
    return event is None or event.step_key is None or record.levelno > logging.DEBUG


@contextlib.contextmanager
def capture_step_logs(job_context: PlanExecutionContext, step_key: str) -> Iterator["StepLogs"]:
    """Files for what a step prints, made when it first prints."""
    with contextlib.ExitStack() as stack:
        yield StepLogs(job_context, step_key, stack)


class StepLogs:
    """Writes text to the captured output of a step."""

    def __init__(
        self, job_context: PlanExecutionContext, step_key: str, stack: contextlib.ExitStack
    ) -> None:
        self._context = job_context
        self._manager = job_context.instance.compute_log_manager
        self._key = [job_context.run_id, "compute_logs", step_key]
        self._step_key = step_key
        self._stack = stack
        self._streams: dict[ComputeIOType, Any] = {}
        self._is_announced = False

    def write(self, text: str, *, error: bool = False) -> None:
        """Append to a stream. A place that has no room for it fails no step, and the run's log
        says so, once for each stream.
        """
        io_type = ComputeIOType.STDERR if error else ComputeIOType.STDOUT
        try:
            self._append(io_type, text)
        except OSError as problem:
            self._streams[io_type] = None
            self._context.log.warning(
                f"What step {self._step_key} prints cannot be kept: {problem}. Free space where "
                "captured output is stored, or mend compute_logs in dagster.yaml; the run goes on"
            )

    def _append(self, io_type: ComputeIOType, text: str) -> None:
        if io_type not in self._streams:
            opened = self._manager.open_log_stream(self._key, io_type)
            self._streams[io_type] = self._stack.enter_context(opened)
        stream = self._streams[io_type]
        if stream is not None:
            stream.write(text)
            stream.flush()

    def announce(self) -> Iterator[DagsterEvent]:
        """The event that tells the UI of the captured output, once anything was printed."""
        if self._streams and not self._is_announced:
            self._is_announced = True
            yield DagsterEvent.capture_logs(
                self._context, [self._step_key], self._key, CapturedLogContext(self._key)
            )
