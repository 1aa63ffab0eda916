"""Hooks: what those of a step see, and from an ended step the events of running them."""

from collections.abc import Mapping
from typing import Any

from dagster import DagsterEvent, OpExecutionContext

from rayflow_dagster.actors.capture import captured_output
from rayflow_dagster.secrets.references import spelled

from ._dagster import open_outputs_for_hooks, trigger_hooks
from .io_manager import Absent, NodeOutput
from .session import RunSession
from .step import StepInFlight


def show_values_to_hooks(session: RunSession, context: OpExecutionContext) -> None:
    """Have ``op_output_values`` of the step's hooks give values, which are fetched when it is asked
    for; secrets are the references that they are everywhere.
    """

    def values(outputs: Mapping[Any, Any]) -> Mapping[Any, Any]:
        found = {
            key: output.value if isinstance(output, NodeOutput) else output
            for key, output in outputs.items()
            if not isinstance(output, Absent)
        }
        return {key: spelled(value) for key, value in session.fetch(found).items()}

    open_outputs_for_hooks(context, values)


def run_hooks(step: StepInFlight) -> list[DagsterEvent]:
    """Run the hooks of a step that has ended; what they print goes to its output."""
    with captured_output(strays=False) as captured:
        events = list(trigger_hooks(step.context, step.seen))
    out, err = captured.texts()
    if out:
        step.logs.write(out)
    if err:
        step.logs.write(err, error=True)
    return events
