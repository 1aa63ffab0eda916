"""The sensors of ``on_failure``: a run that has failed or was cancelled in, a run of the flow that
handles it out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunRecord, SensorDefinition

from rayflow_dagster.compiler.starts.triggers import FlowSensor
from rayflow_dagster.defs.compiled import CompiledFlow
from rayflow_dagster.defs.failed_runs import why_it_failed
from rayflow_dagster.defs.names import flow_name
from rayflow_dagster.defs.results import own_steps
from rayflow_dagster.defs.session import FAILED_RUN_TAG
from rayflow_dagster.port_types import fits, parse_type
from rayflow_dagster.secrets.references import KEY, is_reference
from rayflow_dagster.suggest import did_you_mean, listed
from rayflow_dagster.types import START_CLASS

from .flow_sensor import ended_look
from .sensors import build_sensor
from .starts import Start, Target

GIVEN = {"error": "str", "inputs": "dict", "run_id": "str"}
"""What a flow that handles failures is told where its START declares it -> the type of it."""
_STATUSES = [DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
_CANCELED = "the run was cancelled"


def failure_sensor_name(job: str) -> str:
    """The name of the sensor that looks for the failed runs of a job."""
    return f"{job}_on_failure"


def failure_sensor(failing: CompiledFlow, handler: Target) -> SensorDefinition:
    """The sensor that starts ``handler`` for each run of ``failing`` that has failed.

    Raises:
        DagsterInvalidDefinitionError: Dagster does not take the name.
    """
    job = flow_name(failing.name)
    bound = failing.triggers.bound_input
    graph = failing.graph
    defaults = graph["nodes"][graph["start_node"]]["metadata"].get("defaults", {})

    def start(instance: DagsterInstance, record: RunRecord) -> Start:
        run = record.dagster_run
        known = {
            "error": _error(instance, run),
            "inputs": _shown({**defaults, **_inputs(instance, run, bound)}),
            "run_id": run.run_id,
        }
        inputs = {name: value for name, value in known.items() if name in handler.types}
        what = f"failed run {run.run_id} of '{job}'"
        return Start(inputs, run.run_id, what, {FAILED_RUN_TAG: run.run_id})

    options = failure_options(job, handler.flow.name)
    look = ended_look(handler, job, _STATUSES, options.max_per_tick, start)
    return build_sensor(handler, options, failure_sensor_name(job), look)


def failure_options(job: str, handler: str) -> FlowSensor:
    """What a sensor of this kind has that its flow's file does not say."""
    about = f"Starts '{handler}' for each run of '{job}' that has failed or was cancelled."
    return FlowSensor(type="flow", flow=job, on="failure", running=True, description=about)


def _error(instance: DagsterInstance, run: DagsterRun) -> str:
    is_canceled = run.status == DagsterRunStatus.CANCELED
    return _CANCELED if is_canceled else why_it_failed(instance, run)


def _inputs(instance: DagsterInstance, run: DagsterRun, bound: str | None) -> dict[str, Any]:
    """What a run was given. Its own plan says which step is START: the flow may be another now."""
    starts = own_steps(instance, run, START_CLASS)
    ops: Any = run.run_config.get("ops") or {}
    given = {name: value for key in starts for name, value in _config(ops.get(key)).items()}
    part = run.tags.get("dagster/partition")
    return given if bound is None or part is None else {bound: part, **given}


def _config(of_step: Any) -> Mapping[str, Any]:
    return (of_step or {}).get("config") or {}


def _shown(value: Any) -> Any:
    """``value`` with each reference to a secret as a text, which no node looks up."""
    if is_reference(value):
        return f"secret {value[KEY]}"
    if isinstance(value, Mapping):
        return {key: _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return value


def failure_handlers(flows: Iterable[CompiledFlow]) -> dict[str, str]:
    """Job -> the job that handles its failures, of the flows that name one."""
    named = {flow.name: flow.triggers.on_failure for flow in flows}
    return {flow_name(name): flow_name(handler) for name, handler in named.items() if handler}


def handler_circle(job: str, handlers: Mapping[str, str]) -> Sequence[str]:
    """The jobs of a circle that ``job`` is in, from it to it; none where it is in none.

    Args:
        job: the job's name.
        handlers: job -> the job that handles its failures.
    """
    path = [job]
    while path[-1] in handlers:
        path.append(handlers[path[-1]])
        if path[-1] == job:
            return path
        if path[-1] in path[:-1]:
            break
    return ()


def handler_problems(
    flow: CompiledFlow, known: Mapping[str, CompiledFlow], handlers: Mapping[str, str]
) -> Iterator[str]:
    """What is wrong with a flow's ``on_failure``, beside the other flows of its folder."""
    wanted = flow.triggers.on_failure
    if wanted is None:
        return
    where, handler = "flow key on_failure", known.get(flow_name(wanted))
    circle = handler_circle(flow_name(flow.name), handlers)
    if handler is None:
        yield (
            f"{where}: there is no flow '{wanted:.80}' here that could run, so that nothing starts "
            f"when this one fails (known: {listed(known)}){did_you_mean(wanted, known)}"
        )
    elif circle:
        files = dict.fromkeys(f"'{known[job].file or job}'" for job in circle if job in known)
        yield (
            f"{where}: {' -> '.join(circle)} would handle each other's failures and never end, so "
            f"none of them does; change on_failure in {' or '.join(files)}"
        )
    else:
        yield from (f"{where}: {text}" for text in misfits(handler))


def misfits(handler: CompiledFlow) -> Iterator[str]:
    """What of a run that has failed a flow does not take."""
    graph = handler.graph
    start = graph["nodes"][graph["start_node"]]["metadata"]
    of_handler = f"flow '{handler.name}' ({handler.file})" if handler.file else handler.name
    for name, kind in start["outputs"].items():
        if name not in GIVEN:
            if name not in start.get("defaults", {}):
                yield (
                    f"{of_handler} declares input '{name}' without a default, and is given "
                    f"{', '.join(GIVEN)} alone; give it a default"
                )
        elif not fits(parse_type(GIVEN[name]), parse_type(kind)):
            yield f"{of_handler} takes {kind} for '{name}', which is {GIVEN[name]}"
