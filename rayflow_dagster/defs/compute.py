"""What every op computes: one call of ``run_node``, and what Dagster shows of it."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from dagster import (
    DagsterError,
    Failure,
    MetadataValue,
    OpExecutionContext,
    Output,
    RetryRequested,
    TableColumn,
    TableRecord,
    TableSchema,
)

from rayflow_dagster.compiler.flat import RETURNED
from rayflow_dagster.engine.failures import error_of, is_tried_again, retry_delay, treatment
from rayflow_dagster.engine.inputs import checked_inputs
from rayflow_dagster.engine.stepping import steps
from rayflow_dagster.errors import (
    InvalidInputsError,
    NodeExecutionError,
    VariableError,
    describe,
    original_of,
)
from rayflow_dagster.optional import optional
from rayflow_dagster.runner import how_far_text
from rayflow_dagster.suggest import listed
from rayflow_dagster.timing import WORDS
from rayflow_dagster.types import ExecutionGraph, GraphNode, NodeResult, OnTheWay, nodes_behind
from rayflow_dagster.values.jsonable import json_within
from rayflow_dagster.values.preview import preview
from rayflow_dagster.values.stored import is_inline

from ._dagster import record_about, record_handled, steps_of_this_process
from .apart import Apart
from .assets import materializations
from .compiled import CompiledFlow
from .hooks import show_values_to_hooks
from .io_manager import Absent, NodeInput, NodeOutput
from .names import ABSENT, RESULT, SESSION
from .open_calls import Arrived, begun_call, ended_call, returned
from .parking import wait_for
from .partitions import with_part
from .saying import Saying
from .session import (
    FAILED_RUN_TAG,
    FAILURE_RUN_TAG,
    HANDLED_TAG,
    MAX_TAG,
    RESULT_TAG,
    RETURN_TAG,
    RunSession,
    Told,
)
from .storage import LOCATION, step_folder, stored

BEHIND = "behind it, and not run: "
"""What the last note of an error begins with."""
_SIGNALS = (DagsterError, Failure, RetryRequested, StopIteration)


def compute_node(context: OpExecutionContext, inputs: Mapping[str, Any]) -> Iterator[Any]:
    """The computation of every op: run the node, then yield its outputs and exec outputs."""
    session: RunSession = getattr(context.resources, SESSION)
    node_id = session.flow.nodes[str(context.op_handle)]
    show_values_to_hooks(session, context)
    saying = Saying(context)
    result = yield from _run(session, context, node_id, inputs, saying)
    storing = session.settled(result)
    if storing is not None:
        yield from wait_for(storing, context.job_name)
        storing.result()
    with optional("showing what a node logged and printed"):
        saying.end(result.get("details", {}))
    if result["status"] == "error":
        with optional("telling where the time of a failed node went"):
            _tell_about(context, result)
        if result["outputs"]:  # of a group, for what hangs on its `always`
            yield from _outputs(session, context, node_id, result)
        raise _failure(session.flow.flat, result, context.retry_number)
    if "handled" in result:
        with optional("telling of a handled failure"):
            node = session.flow.flat["nodes"][node_id]
            _tell_handled(context, node, result, result["handled"])
    if "handled" in result or "handled" in result.get("details", {}):
        with optional("naming a step with a handled failure at the run"):
            _name_handled(session, node_id)
    yield from _outputs(session, context, node_id, result)
    yield from materializations(session.flow, context, result)
    session.finished(node_id)


def _run(
    session: RunSession,
    context: OpExecutionContext,
    node_id: str,
    inputs: Mapping[str, Any],
    saying: Saying,
) -> Generator[Any, None, NodeResult]:
    given: Mapping[str, Any] = {}
    if node_id == session.flow.graph["start_node"]:
        given = _start_inputs(session.flow, context)
        with optional("naming this run at the failed one that it was started for"):
            _name_at_failed_run(session)
    if not session.is_connected:
        _refuse_to_forget(session)
        session.connect(shares_variables=session.is_shared(steps_of_this_process(context)))
    if node_id != session.flow.graph["start_node"]:
        session.node_begins()
    arrived = _arrived(session.flow, node_id, inputs)
    is_region, ports = "body" in session.flow.flat["nodes"][node_id], session.flow.ports[node_id]
    if node_id in session.flow.calls.values():
        return ended_call(session, node_id, arrived)
    running: Any
    if node_id in session.flow.calls:
        running = begun_call(session, node_id, arrived)
    else:
        running = session.orchestrator.run_node(
            node_id,
            session.state(node_id, arrived),
            attempt=context.retry_number,
            start_inputs=given,
            store_in=_store_in(session, node_id),
            on_the_way=OnTheWay(partial(_tell_handled_within, context, node_id), saying.hear),
            progress=session.progress_of(node_id) if is_region else None,
        )
    stepping = steps(running)
    while True:
        try:
            future = next(stepping)
        except StopIteration as finished:
            result: NodeResult = finished.value
            break
        yield from wait_for(future, context.job_name, saying.report)
    saying.report()
    return returned(session, result, arrived) if RETURNED in ports.outputs else result


def _tell_handled_within(
    context: OpExecutionContext, node_id: str, text: str, error: NodeExecutionError
) -> None:
    """Record a failure in the body of a region that was handled."""
    with optional("telling of a handled failure on the way"):
        own = _traced(error)
        _note(own, f"node '{node_id}' failed at {error.where}", error.previews or None)
        record_handled(context, text, own)


def _name_at_failed_run(session: RunSession) -> None:
    failed = session.run.tags.get(FAILED_RUN_TAG)
    if failed is not None and session.instance.has_run(failed):
        session.instance.add_run_tags(failed, {FAILURE_RUN_TAG: session.run.run_id})


def _refuse_to_forget(session: RunSession) -> None:
    try:
        session.variables.refuse_to_forget()
    except VariableError as error:
        raise Failure(str(error), allow_retries=False) from None


def _store_in(session: RunSession, node_id: str) -> str | None:
    if not session.is_durable:
        return None
    return step_folder(session.values_root, session.run.run_id, session.flow.steps[node_id])


def _start_inputs(flow: CompiledFlow, context: OpExecutionContext) -> Mapping[str, Any]:
    given = context.op_config or {}
    if flow.triggers.partitions is not None:
        given = with_part(flow.triggers.partitions, given, context)
    try:
        return checked_inputs(flow.graph, given)
    except InvalidInputsError as error:
        raise Failure(str(error), allow_retries=False) from None


def _arrived(flow: CompiledFlow, node_id: str, inputs: Mapping[str, Any]) -> Arrived:
    """What the step's inputs brought, by the output that it is from.

    A fan-in arrives as the list of what came.
    """
    arrived: Arrived = {}
    for port, wires in flow.wires[node_id].items():
        value = inputs.get(flow.ports[node_id].inputs[port])
        items: Any = value if port in flow.fan_ins[node_id] else [value]
        came = {item.source: item.value for item in items if isinstance(item, NodeInput)}
        for source, output in wires:
            name = (flow.steps[source], flow.ports[source].outputs[output])
            if name in came:
                arrived[source, output] = came[name]
    return arrived


def _failure(graph: ExecutionGraph, result: NodeResult, attempt: int) -> BaseException:
    """The node's own exception, with its inputs previewed, for Dagster to show first; as the cause
    of a request to try again where the node is, which a policy of Dagster's cannot say for some
    errors only.
    """
    error = _raisable(result["node_id"], error_of(result))
    if not treatment(error).again:
        place = _place(result)
        return Failure(f"{place}: {error}" if place else str(error), allow_retries=False)
    node = graph["nodes"][result["node_id"]]
    shown = _with_inputs(node, result, error)
    if not is_tried_again(node, error_of(result), attempt):
        labels = [_label(graph["nodes"][each]) for each in nodes_behind(graph, node["id"])]
        if labels:
            with optional("noting at an error what depends on its node"):
                shown.add_note(f"{BEHIND}{listed(labels)}")
        return shown
    retry = node["retry"]
    again = RetryRequested(retry["max"], retry_delay(retry, attempt + 1))
    again.__cause__ = shown
    return again


def _tell_about(context: OpExecutionContext, result: NodeResult) -> None:
    """Record what an output would have told of where the node ran and of its time."""
    if about := _about(result):
        record_about(context, f"Node '{result['node_id']}' ran and failed", about)


def _tell_handled(
    context: OpExecutionContext, node: GraphNode, result: NodeResult, error: BaseException
) -> None:
    """Record the event that tells of a failure that the node's ``error`` output has taken."""
    own = _traced(error)
    text = f"Node '{result['node_id']}' failed and its 'error' output handles that: {describe(own)}"
    record_handled(context, text, _with_inputs(node, result, own))


def _label(node: GraphNode) -> str:
    """What a person calls a node, in one line."""
    return " ".join((node.get("label") or node["id"]).split())


def _with_inputs(node: GraphNode, result: NodeResult, error: BaseException) -> BaseException:
    """The error, with a note that says which node it was, in which attempt and where, and previews
    its inputs; of a region, those of the node in it that failed.
    """
    details = result.get("details", {})
    where = f" ({_label(node)})" if _label(node) != node["id"] else ""
    where += f", attempt {details['attempts']}" if details.get("attempts", 1) > 1 else ""
    where += f" (pid {details['pid']} on {details['host']})" if "pid" in details else ""
    if _place(result):
        where += f" failed at {_place(result)}"
    _note(error, f"node '{result['node_id']}'{where}", details.get("input_previews"))
    return error


def _note(error: BaseException, about: str, previews: Mapping[str, str] | None) -> None:
    """Note at an error what it is about, and the inputs where they are known."""
    shown = ""
    if previews is not None:
        lines = "\n".join(f"  {name} = {text}" for name, text in previews.items())
        shown = f", inputs:\n{lines or '  none'}"
    with optional("noting a node's inputs at its error"):  # of the author's own class
        error.add_note(f"{about}{shown}")


def _traced(error: BaseException) -> BaseException:
    """What went wrong in the node, with its traceback where only the error around it has one."""
    own = original_of(error)
    return own if own.__traceback__ is not None else own.with_traceback(error.__traceback__)


def _place(result: NodeResult) -> str:
    """Where in a body it failed, handled or not; "" for a node that has none."""
    failed = result.get("handled", result.get("exception"))
    return failed.where if isinstance(failed, NodeExecutionError) else ""


def _raisable(node_id: str, error: BaseException) -> BaseException:
    """The error itself, or one around it where Dagster or Python would take it for a signal: what
    is tried again is not for the node's code to say, and ``SystemExit`` would end the run.
    """
    own = error.original_error if type(error) is NodeExecutionError else error
    if isinstance(own, Exception) and not isinstance(own, _SIGNALS):
        return own
    return NodeExecutionError(node_id, own).with_traceback(error.__traceback__)


def _outputs(
    session: RunSession, context: OpExecutionContext, node_id: str, result: NodeResult
) -> Iterator[Any]:
    ports = session.flow.ports[node_id]
    is_return = node_id in session.flow.graph["return_nodes"]
    about = _about(result)
    is_start = node_id == session.flow.graph["start_node"] or node_id in session.flow.calls
    if node_id in session.flow.gives_absent:
        yield Output(Absent(), ABSENT)
    for port, value in result["outputs"].items():
        if is_return:
            _show_result(session, node_id, value)
            shown = yield from _stored_apart(session, context, RESULT, value)
            yield Output(value, RESULT, metadata={**_result_metadata(value), **about, **shown})
            continue
        location = result.get("details", {}).get("stored", {}).get(port)
        text = result.get("details", {}).get("previews", {}).get(port)
        text = text if text is not None else preview(value)
        metadata = {"preview": MetadataValue.text(text)}
        if is_start and location is None and session.is_durable:  # no actor has stored it
            shown = yield from _stored_apart(session, context, ports.outputs[port], value)
            location = str(shown.pop(LOCATION).value) if shown else None
            metadata |= shown
        session.told[session.flow.steps[node_id], ports.outputs[port]] = Told(location, text)
        if not result.get("exec_fired"):
            metadata |= about
        yield Output(NodeOutput(value, location), ports.outputs[port], metadata=metadata)
    for port in result.get("exec_fired", ()):
        yield Output(None, ports.exec_outputs[port], metadata={**about, "exec output": port})


def _stored_apart(
    session: RunSession, context: OpExecutionContext, output: str, value: Any
) -> Generator[Any, None, dict[str, Any]]:
    """Store a large value where the IO manager finds it; the metadata that say so. The step is
    parked meanwhile, as the location may be slow.
    """
    if is_inline(value):
        return {}
    folder = step_folder(session.values_root, session.run.run_id, str(context.op_handle))
    storing = Apart("rayflow-store").do(lambda: stored(folder, output, value))
    yield from wait_for(storing, context.job_name)
    return storing.result()


def _about(result: NodeResult) -> dict[str, Any]:
    details = result.get("details", {})
    about: dict[str, Any] = {}
    if "pid" in details:
        about["actor pid"] = MetadataValue.int(details["pid"])
        about["actor node"] = MetadataValue.text(details["host"])
    if "how_far" in details:
        about["progress"] = MetadataValue.text(how_far_text(details["how_far"]))
    times: Any = details.get("times", {})
    about |= {WORDS[name]: MetadataValue.float(round(times[name], 6)) for name in times}
    if details.get("iterations"):
        about["iterations"] = _table(
            ("item", "status", "seconds", "error"),
            [(row.number, row.status, row.seconds, row.error) for row in details["iterations"]],
        )
        about["nodes of the body"] = _table(
            ("node", "ran", "failed", "seconds"),
            [(id_, *each.values()) for id_, each in details["totals"].items()],
        )
    return about


def _table(columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> MetadataValue[Any]:
    records = [
        {name: round(each, 6) if isinstance(each, float) else each for name, each in named}
        for named in (zip(columns, row, strict=True) for row in rows)
    ]
    kinds = {int: "int", float: "float", str: "string"}
    schema = [TableColumn(n, kinds[type(v)]) for n, v in records[0].items()] if records else []
    return MetadataValue.table([TableRecord(each) for each in records], TableSchema(schema))


def _result_metadata(result: Mapping[str, Any]) -> dict[str, Any]:
    return {name: MetadataValue.text(preview(value, 2000)) for name, value in result.items()}


def _show_result(session: RunSession, node_id: str, result: Mapping[str, Any]) -> None:
    """The first RETURN reached and its result as tags, so that the list of runs shows them."""
    if session.returned != node_id:
        return
    with optional("writing the run's result to its tag"):
        tags = {RETURN_TAG: node_id, RESULT_TAG: json_within(result, MAX_TAG)}
        session.instance.add_run_tags(session.run.run_id, tags)


def _name_handled(session: RunSession, node_id: str) -> None:
    """Name the step of a node, whose failure was handled, in the run's tag."""
    run = session.instance.get_run_by_id(session.run.run_id)
    before = run.tags.get(HANDLED_TAG, "") if run else ""
    known = before.split(", ") if before else []
    name = session.flow.steps[node_id] if len(before) < MAX_TAG else "..."
    names = ", ".join(dict.fromkeys([*known, name]))
    session.instance.add_run_tags(session.run.run_id, {HANDLED_TAG: names})
