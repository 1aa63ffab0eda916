"""The IO manager: hands object refs from step to step, and finds stored values again."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dagster import DagsterInstance, InitResourceContext, InputContext, IOManager, OutputContext

from rayflow_dagster.errors import DataNotAvailableError
from rayflow_dagster.values import StoredValue, store_value


@dataclass(frozen=True, slots=True)
class NodeOutput:
    """An output as the op yields it: a value or object ref, and the file it was written to."""

    value: Any
    path: str | None = None


def values_folder(instance: DagsterInstance, run_id: str) -> Path:
    """Where the outputs and variables of a run are stored."""
    return Path(instance.storage_directory()) / "rayflow" / run_id


def step_folder(instance: DagsterInstance, run_id: str, step_key: str) -> Path:
    """Where the outputs of a step are stored."""
    return values_folder(instance, run_id) / "steps" / step_key


@dataclass
class FlowIOManager(IOManager):
    """Keeps what this process's steps gave, and reads what earlier processes and runs stored.

    A value lies in the object store and in a file that its actor wrote; this process holds the
    ref. Values that this process made itself (START's inputs, RETURN's result) it writes here.
    """

    instance: DagsterInstance
    _live: dict[tuple[str, str, str], Any] = field(default_factory=dict)

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        step_key, name = context.step_key, context.name
        value = obj.value if isinstance(obj, NodeOutput) else obj
        if not (isinstance(obj, NodeOutput) and obj.path):
            store_value(step_folder(self.instance, context.run_id, step_key), name, value)
        self._live[context.run_id, step_key, name] = value

    def load_input(self, context: InputContext) -> Any:
        """The value, an object ref, or a ``StoredValue`` that the actor opens.

        Raises:
            DataNotAvailableError: the output was stored by an earlier run, and the file is gone.
        """
        output = context.upstream_output
        if output is None:
            raise DataNotAvailableError(context.step_context.step.key, context.name)
        key = (output.run_id, output.step_key, output.name)
        if key in self._live:
            return self._live[key]
        path = step_folder(self.instance, output.run_id, output.step_key) / f"{output.name}.pkl"
        if not path.is_file():
            reason = f"the stored output {path} of run {output.run_id} is gone; run it all again"
            raise DataNotAvailableError(context.step_context.step.key, context.name, reason)
        return StoredValue(str(path))


def build_io_manager(context: InitResourceContext) -> FlowIOManager:
    """The resource function of the IO manager."""
    if context.instance is None:
        raise ValueError("the IO manager needs a Dagster instance")
    return FlowIOManager(context.instance)
