"""Hooks: from the outputs of a step come the values that its hooks see."""

from collections.abc import Mapping
from typing import Any

from dagster import OpExecutionContext

from rayflow_dagster.secrets import spelled

from ._dagster import open_outputs_for_hooks
from .io_manager import Absent, NodeOutput
from .resources import RunSession


def show_values_to_hooks(session: RunSession, context: OpExecutionContext) -> None:
    """Have ``op_output_values`` of the step's hooks give values, which are fetched when it is asked
    for; secrets are the references that they are everywhere.
    """

    def values(outputs: Mapping[Any, Any]) -> Mapping[Any, Any]:
        given = {
            key: output.value if isinstance(output, NodeOutput) else output
            for key, output in outputs.items()
            if not isinstance(output, Absent)
        }
        return {key: spelled(value) for key, value in session.fetch(given).items()}

    open_outputs_for_hooks(context, values)
