"""Where a run goes on from another: a re-execution in, what came of the nodes that it does not run
out.
"""

from collections.abc import Iterator
from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRun

from rayflow_dagster.engine.executor import success_result
from rayflow_dagster.engine.planner import skipped_result
from rayflow_dagster.types import NodeResult

from .compiled import CompiledFlow
from .session import HANDLED_TAG
from .session_variables import parent_run, planned_nodes

_TOLD = {DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_SKIPPED, DagsterEventType.STEP_OUTPUT}


def results_before(
    flow: CompiledFlow, instance: DagsterInstance, run: DagsterRun
) -> Iterator[NodeResult]:
    """The results of the nodes that a run of selected steps leaves out, as the newest of the runs
    before it tells. Of outputs they have only the names.

    Of a node that none of them settled everything is taken to have fired and come: whoever selects
    what depends on it wants that to run.
    """
    open_nodes = flow.flat["nodes"].keys() - planned_nodes(flow, run)
    before = parent_run(instance, run)
    while open_nodes and before is not None:
        for result in _results(flow, instance, before):
            if result["node_id"] in open_nodes:
                open_nodes.remove(result["node_id"])
                yield result
        before = parent_run(instance, before)
    for node_id in open_nodes:
        ports = flow.ports[node_id]
        yield success_result(node_id, dict.fromkeys(ports.outputs), [*ports.exec_outputs])


def handled_before(flow: CompiledFlow, instance: DagsterInstance, run: DagsterRun) -> list[str]:
    """The steps whose failures a run before has handled, and that this one does not run again."""
    before = parent_run(instance, run)
    told = before.tags.get(HANDLED_TAG, "") if before is not None else ""
    if not told:
        return []
    planned = {flow.steps[node_id] for node_id in planned_nodes(flow, run)}
    return [step for step in told.split(", ") if step not in planned]


def _results(
    flow: CompiledFlow, instance: DagsterInstance, run: DagsterRun
) -> Iterator[NodeResult]:
    """What a run made of its nodes, of those that it settled for good."""
    came: dict[str, set[str]] = {}
    for entry in instance.all_logs(run.run_id, of_type=_TOLD):
        event = entry.dagster_event
        node_id = flow.nodes.get((event and event.step_key) or "")
        if event is None or node_id is None:
            continue
        if event.is_successful_output:
            data: Any = event.event_specific_data
            came.setdefault(node_id, set()).add(data.step_output_handle.output_name)
        elif event.is_step_skipped:
            yield skipped_result(node_id)
        else:
            names, ports = came.get(node_id, set()), flow.ports[node_id]
            outputs = [port for port, name in ports.outputs.items() if name in names]
            fired = [port for port, name in ports.exec_outputs.items() if name in names]
            yield success_result(node_id, dict.fromkeys(outputs), fired)
