"""The IO manager: hands values and object refs from step to step, and finds stored ones again."""

from dataclasses import dataclass
from typing import Any

from dagster import InitResourceContext, InputContext, IOManager, OutputContext

from rayflow_dagster.errors import DataNotAvailableError
from rayflow_dagster.values.stored import StoredValue, is_inline, stored_exists

from .names import ABSENT, SESSION
from .session import RunSession
from .storage import LOCATION, inline_metadata, location_metadata, step_folder, stored


@dataclass(frozen=True, slots=True)
class NodeOutput:
    """An output of a node as its op yields it; RETURN's op yields the result itself, and says in
    the metadata where it is.

    ``value`` is a small plain value, an object ref, or one of START's inputs; ``location`` is where
    an actor has stored what the ref stands for.
    """

    value: Any
    location: str | None = None


@dataclass(frozen=True, slots=True)
class NodeInput:
    """A value as it comes to an op: a fan-in would not tell which of its wires brought it.

    ``source`` is (step key, output); ``value`` a small plain value, an object ref, or a
    ``StoredValue`` that the actor opens.
    """

    source: tuple[str, str]
    value: Any


class Absent:
    """Stands at an input whose wire brought nothing, and at START's output for such inputs."""

    def __repr__(self) -> str:
        return "not wired"


class FlowIOManager(IOManager):
    """Keeps what this process's steps gave until its last reader has run, and reads what earlier
    processes and runs stored.

    The bytes of a large value never come here: its actor writes them, and this process holds the
    ref. The result of a flow is stored even where ``settings.durable`` is false.
    """

    def __init__(self, session: RunSession) -> None:
        self._session = session

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        if isinstance(obj, Absent):
            return
        if not isinstance(obj, NodeOutput):
            location = None if is_inline(obj) else str(context.output_metadata[LOCATION].value)
            self._store(context, obj, location)
            return
        if self._session.is_durable:
            self._store(context, obj.value, obj.location)
        self._session.live[context.step_key, context.name] = obj.value

    def _store(self, context: OutputContext, value: Any, location: str | None) -> None:
        """Note in the event where the value is; store it if no actor has."""
        if location is None and is_inline(value):
            context.add_output_metadata(inline_metadata(value))
            return
        if location is None:
            folder = step_folder(self._session.values_root, context.run_id, context.step_key)
            context.add_output_metadata(stored(folder, context.name, value))
        else:
            context.add_output_metadata(location_metadata(location))

    def load_input(self, context: InputContext) -> NodeInput | Absent:
        """The value of the output that the input is wired from.

        Raises:
            DataNotAvailableError: the output is from another process or run, and is not stored.
        """
        output = context.upstream_output
        if output is None:
            raise DataNotAvailableError(context.step_context.step.key, context.name)
        if output.name == ABSENT:
            return Absent()
        key = (output.step_key, output.name)
        if output.run_id == self._session.run.run_id and key in self._session.live:
            return NodeInput(key, self._session.live[key])
        try:
            return NodeInput(key, self._stored(output))
        except LookupError as error:
            step_key = context.step_context.step.key
            raise DataNotAvailableError(step_key, context.name, str(error)) from None

    def _stored(self, output: OutputContext) -> Any:
        """What another process or run has stored."""
        try:
            stored = self._session.stored_outputs(output.run_id)
            value = stored.find(output.step_key, output.name)
        except KeyError:
            reason = f"run {output.run_id} kept no stored value of it"
            if not self._session.is_durable:
                reason += " (the flow's settings say durable: false)"
            raise LookupError(f"{reason}; run it all again") from None
        if isinstance(value, StoredValue) and not stored_exists(value.path):
            raise LookupError(
                f"the stored output {value.path} of run {output.run_id} is gone; run it all again"
            )
        return value


def build_io_manager(context: InitResourceContext) -> FlowIOManager:
    """The resource function of the IO manager."""
    return FlowIOManager(getattr(context.resources, SESSION))
