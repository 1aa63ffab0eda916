"""Flows side by side: what one of them cannot be, or will hardly be meant to be, beside others."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rayflow_dagster.compiler.flow import read_flow
from rayflow_dagster.compiler.starts.templates import template_names
from rayflow_dagster.compiler.starts.triggers import FlowSensor
from rayflow_dagster.errors import RayflowError, ValidationError
from rayflow_dagster.project import Project
from rayflow_dagster.suggest import did_you_mean

from .assets import LocationAssets
from .compiled import CompiledFlow
from .jobs import compile_flow, job_name
from .names import flow_name
from .triggers import LocationTriggers, failure_handlers, handler_problems


def refused_side_by_side(flows: Sequence[CompiledFlow]) -> dict[str, list[str]]:
    """Flow -> why it cannot stand beside those before it, as in a code location of all."""
    assets, triggers = LocationAssets(), LocationTriggers()
    refused: dict[str, list[str]] = {}
    for flow in flows:
        try:
            triggers.check(flow)
            assets.add(flow)
        except ValidationError as error:
            refused[flow.name] = error.findings
        else:
            triggers.add(flow, [])
    return refused


def warnings_side_by_side(flows: Sequence[CompiledFlow]) -> dict[str, list[str]]:
    """Flow -> what deserves a look: sensors of flows that are not there, or of the flow itself; a
    flow for failures that is not there or does not fit.
    """
    known = {flow_name(flow.name): flow for flow in flows}
    handlers = failure_handlers(flows)
    found = {
        flow.name: [*_of_sensors(flow, known), *handler_problems(flow, known, handlers)]
        for flow in flows
    }
    return {name: warnings for name, warnings in found.items() if warnings}


def _of_sensors(flow: CompiledFlow, known: Mapping[str, CompiledFlow]) -> Iterator[str]:
    for index, sensor in enumerate(flow.triggers.sensors):
        if not isinstance(sensor, FlowSensor):
            continue
        where = f"flow key sensors[{index}]"
        other = known.get(flow_name(sensor.flow))
        if other is None:
            yield (
                f"{where}.flow: there is no flow '{sensor.flow}' here, so that it waits for a job "
                f"of other code{did_you_mean(sensor.flow, known)}"
            )
        elif other is flow:
            yield f"{where}.flow: the flow waits for itself, and so starts again and again"
        else:
            yield from _of_results(where, sensor, other)


def _of_results(where: str, sensor: FlowSensor, other: CompiledFlow) -> Iterator[str]:
    returned = _returned(other)
    for name in template_names(sensor.inputs):
        first, _, rest = name.partition(".")
        part = rest.partition(".")[0]
        if first == "result" and part not in returned:
            listed = ", ".join(returned) or "nothing"
            yield (
                f"{where}.inputs: flow '{other.name}' returns no '{part}' (it returns {listed})"
                f"{did_you_mean(part, returned)}"
            )


def _returned(flow: CompiledFlow) -> list[str]:
    """The names in a flow's result, of all its RETURN nodes."""
    nodes = flow.graph["nodes"]
    names = [
        name for each in flow.graph["return_nodes"] for name in nodes[each]["metadata"]["inputs"]
    ]
    return list(dict.fromkeys(names))


def refused_beside(flow: CompiledFlow, path: Path) -> list[str]:
    """Why a flow cannot stand beside the others in its file's folder, by ``refused_side_by_side``.

    Only assets are looked at: a run of another flow's asset would be reported as that flow's.
    """
    if not flow.assets:
        return []
    flows = [
        flow if file.resolve() == path.resolve() else _with_assets(file, flow.project)
        for file in sorted(path.parent.glob("*.json"))
    ]
    refused = refused_side_by_side([each for each in flows if each is not None])
    return refused.get(flow.name, [])


def _with_assets(file: Path, project: Project) -> CompiledFlow | None:
    """The flow of a file, if it can run and has assets."""
    if b'"asset"' not in file.read_bytes():
        return None
    try:
        raw = read_flow(file)
        return compile_flow(raw, job_name(raw, file), project, file=file)
    except RayflowError:
        return None  # a code location has none of its assets either
