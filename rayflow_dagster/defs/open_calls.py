"""Steps of open calls: what a step's inputs brought in, what it hands on of that out.

The START and the RETURNs of a flow that is called, and the last step of the call itself, compute
nothing: values go through them as they came, and stay stored where they were.
"""

from typing import Any

from rayflow_dagster.compiler.flat import RETURNED
from rayflow_dagster.engine.executor import error_result, success_result
from rayflow_dagster.types import NodeResult
from rayflow_dagster.values.stored import StoredValue

from .session import RunSession

Arrived = dict[tuple[str, str], Any]
"""(node, output) -> the value of it that a step's input has brought."""


async def begun_call(session: RunSession, start: str, arrived: Arrived) -> NodeResult:
    """START of a flow that is called openly: it gives what its call hands to it."""
    call = session.flow.calls[start]
    try:
        values = await session.orchestrator.inputs_of_call(call, session.state(call, arrived))
    except Exception as error:  # a value did not come or was lost, or an expression has none
        return error_result(start, error)
    fired = [*session.flow.ports[start].exec_outputs][:1]
    return _handed_on(session, success_result(start, values, fired), arrived)


def ended_call(session: RunSession, call: str, arrived: Arrived) -> NodeResult:
    """An open call at its end: it gives what the RETURN that was reached was given. Dagster's own
    executors may reach several, of which the first that is drawn counts.
    """
    node = session.flow.opened[call]
    returns = node["body"]["return_nodes"]
    reached = next((node_id for node_id in returns if (node_id, RETURNED) in arrived), None)
    if reached is None:
        return error_result(call, session.machine.no_return_error(call))
    own = {end: value for end, value in arrived.items() if end[0] == reached}
    values = {output: value for (_, output), value in own.items() if output != RETURNED}
    result = success_result(call, values, [node["region"]["call"]["exits"][reached]])
    return _handed_on(session, result, own)


def returned(session: RunSession, result: NodeResult, arrived: Arrived) -> NodeResult:
    """A RETURN of such a flow: it says besides that it was the one."""
    if result["status"] != "success":
        return result
    outputs = {**result["outputs"], RETURNED: result["node_id"]}
    return _handed_on(session, {**result, "outputs": outputs}, arrived)


def _handed_on(session: RunSession, result: NodeResult, arrived: Arrived) -> NodeResult:
    """The result of a node that hands values on as they came, which are stored where they were."""
    flow, node_id = session.flow, result["node_id"]
    details = result.setdefault("details", {})
    stored, previews = details.setdefault("stored", {}), details.setdefault("previews", {})
    for port, wires in flow.wires[node_id].items():
        for source, output in wires:
            if (source, output) not in arrived or port not in result["outputs"]:
                continue
            value = arrived[source, output]
            told = session.told.get((flow.steps[source], flow.ports[source].outputs[output]))
            location = value.path if isinstance(value, StoredValue) else told and told.location
            if location is not None:
                stored[port] = location
            if told is not None:
                previews[port] = told.preview
    return result
