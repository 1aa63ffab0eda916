"""The inputs of a run, checked against what START declares before anything starts."""

from collections.abc import Iterator, Mapping
from typing import Any

from rayflow_dagster.errors import InvalidInputsError
from rayflow_dagster.port_types import accepts, as_declared, parse_type, reference_problem
from rayflow_dagster.secrets.references import secrets_in
from rayflow_dagster.suggest import did_you_mean
from rayflow_dagster.types import ExecutionGraph
from rayflow_dagster.values.crossing import crossed
from rayflow_dagster.values.preview import preview, preview_typed
from rayflow_dagster.values.stored import numbers_problem, travel_problem


def checked_inputs(graph: ExecutionGraph, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """``inputs`` with START's defaults filled in, references to secrets as ``Secret``.

    Raises:
        InvalidInputsError: with every unknown, missing or mistyped input.
    """
    if not isinstance(inputs, Mapping):
        raise InvalidInputsError(
            [f"inputs must be a dict of name: value, not {preview(inputs, 80)}"]
        )
    inputs = secrets_in(inputs)
    metadata = graph["nodes"][graph["start_node"]]["metadata"]
    defaults = metadata.get("defaults", {})
    problems = list(input_problems(metadata["outputs"], defaults, inputs))
    if problems:
        raise InvalidInputsError(problems)
    given = {**crossed(secrets_in(defaults)), **inputs}
    kinds = metadata["outputs"]
    return {name: as_declared(parse_type(kinds[name]), value) for name, value in given.items()}


def input_problems(
    declared: Mapping[str, str], defaults: Mapping[str, Any], inputs: Mapping[str, Any]
) -> Iterator[str]:
    """What is wrong with a run's inputs: every unknown, missing or mistyped one."""
    for name in inputs:
        if name not in declared:
            known = ", ".join(declared) or "none"
            hint = did_you_mean(name, declared) if isinstance(name, str) else ""
            yield f"input {preview(name, 80)} is not declared by START (declared: {known}){hint}"
    for name, kind in declared.items():
        if name not in inputs:
            if name not in defaults:
                yield f"input '{name}' ({kind}) is missing; START declares it without a default"
        elif not accepts(parse_type(kind), inputs[name]):
            problem = reference_problem(parse_type(kind), inputs[name])
            value = inputs[name]
            got = f"{preview(value, 80)}: {problem}" if problem else preview_typed(value, 80)
            yield f"input '{name}' takes {kind}, not {got}"
        elif problem := travel_problem(inputs[name]) or numbers_problem(inputs[name]):
            yield f"input '{name}' ({kind}) has a value that {problem}"
