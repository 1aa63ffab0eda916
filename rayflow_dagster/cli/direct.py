"""Running a flow without Dagster: ``FlowOrchestrator`` alone."""

import asyncio
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from rayflow_dagster.errors import original_of, told
from rayflow_dagster.orchestrator import Connect, FlowOrchestrator
from rayflow_dagster.runner import how_far_text, log_of, share_done
from rayflow_dagster.types import FlowData, NodeResult, RunDetails
from rayflow_dagster.variables.store import kept_declarations

from .flows import FlowFile
from .report import (
    STOPPED_TEXT,
    Fault,
    NodeReport,
    RunReport,
    Status,
    Watcher,
    level_name,
    node_reports,
    note_behind,
    own_frames,
)

if TYPE_CHECKING:
    from rayflow_dagster.variables.kept import KeptVariables

STATUSES: Mapping[str, Status] = {
    "success": "completed",
    "error": "failed",
    "skipped": "skipped",
}


class DirectRunner:
    """A flow, loaded to run in this process.

    ``connect``: what to run nodes on instead of Ray actors (``testing.in_process``).

    Raises:
        ValidationError: with all findings.
    """

    def __init__(self, flow: FlowFile, connect: Connect | None = None) -> None:
        self._file = flow
        self._flow = cast(FlowData, {**flow.raw, "name": flow.name})
        self._project = flow.project
        self._connect = connect
        self.graph = FlowOrchestrator(self._project).load(self._flow)

    def run(self, inputs: Mapping[str, Any], watcher: Watcher) -> RunReport:
        """Run the flow to its end."""
        nodes = node_reports(self.graph)

        def settled(result: NodeResult) -> None:
            note_result(nodes[result["node_id"]], result)
            watcher.settled(nodes[result["node_id"]])

        def said(node_id: str, details: RunDetails) -> None:
            note_said(nodes[node_id], details)
            watcher.logged(nodes[node_id])
            watcher.printed(nodes[node_id], nodes[node_id].printed)
            if "how_far" in details:
                how_far = details["how_far"]
                watcher.progressed(nodes[node_id], how_far_text(how_far), share_done(how_far))

        started = time.perf_counter()
        try:
            with self._kept_variables() as kept:
                orchestrator = FlowOrchestrator(
                    self._project,
                    connect=self._connect,
                    on_settled=settled,
                    kept_variables=kept,
                    on_said=said,
                )
                outcome = asyncio.run(orchestrator.execute_flow(self._flow, dict(inputs)))
        except KeyboardInterrupt:
            outcome = {
                "result": {},
                "error": STOPPED_TEXT,
                "execution_time": time.perf_counter() - started,
            }
        note_behind(nodes, self.graph)
        return RunReport(
            nodes=list(nodes.values()),
            result=outcome["result"],
            error=outcome["error"],
            execution_time=outcome["execution_time"],
            stopped=outcome["error"] is STOPPED_TEXT,
        )

    @contextmanager
    def _kept_variables(self) -> Iterator["KeptVariables | None"]:
        """Where recorded runs keep the flow's variables; None if it keeps none."""
        if not kept_declarations(self.graph.get("variables", {})):
            yield None
            return
        from .recordings import stored_for  # only such a flow takes dagster for a direct run

        with stored_for(self._file) as kept:
            yield kept


def note_result(node: NodeReport, result: NodeResult) -> None:
    """Take over what a result says of its node."""
    details = result.get("details", {})
    node.status = STATUSES[result["status"]]
    node.fired = list(result.get("exec_fired", ()))
    if node.status != "skipped":
        node.seconds = round(details.get("seconds", 0.0), 6)
        node.attempts = details.get("attempts", 1)
        times = cast(Mapping[str, float], details.get("times", {}))
        node.times = {name: round(seconds, 6) for name, seconds in times.items()}
        node.duration = round(sum(times.values()), 6)
    note_said(node, details)
    inputs = details.get("input_previews", {})
    if node.status == "failed":
        error = result.get("exception")
        node.fault = _fault(error, inputs) if error else Fault(result["error"] or "it failed")
    for failure in details.get("handled", [])[-1:]:
        node.handled = _fault(failure.error, failure.error.previews)
    if "handled" in result:
        node.handled = _fault(result["handled"], inputs)


def note_said(node: NodeReport, details: RunDetails) -> None:
    """Take over what a node has said since that was noted last."""
    node.logs += [(level_name(log["level"]), log["message"]) for log in log_of(details)]
    node.printed = details.get("stdout", "") + details.get("stderr", "")


def _fault(error: BaseException, inputs: Mapping[str, str]) -> Fault:
    original = original_of(error)
    frames = traceback.format_tb(original.__traceback__ or error.__traceback__)
    return Fault(told(error), inputs, own_frames(frames))
