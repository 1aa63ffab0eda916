"""``Start``: a run that a trigger is about to ask for; ``Target``: the flow that it starts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, TypeVar

from dagster import DagsterRun, DynamicPartitionsDefinition, JobDefinition, RunRequest

from rayflow_dagster.compiler.starts.partitions import part_problem
from rayflow_dagster.compiler.starts.templates import fill
from rayflow_dagster.defs.compiled import CompiledFlow
from rayflow_dagster.defs.lost_runs import AGAIN, started_for
from rayflow_dagster.defs.names import PROJECT_TAG
from rayflow_dagster.engine.inputs import input_problems
from rayflow_dagster.errors import InvalidInputsError, RayflowError, TriggerError
from rayflow_dagster.secrets.references import has_secret, secrets_in, without_passwords
from rayflow_dagster.types import NodeMetadata

Context = TypeVar("Context")
Result = TypeVar("Result")


def told_plainly(evaluate: Callable[[Context], Result]) -> Callable[[Context], Result]:
    """Have a tick that fails with an error of ours show its message, and not the way to it:
    Dagster lists all frames of an error, in the UI and in the daemon's log, at every tick. The
    password of a URL is not shown at all.
    """

    @wraps(evaluate)
    def evaluating(context: Context) -> Result:
        try:
            return evaluate(context)
        except Exception as error:
            text = str(error)
            shown = without_passwords(text)
            if shown != text:
                raise TriggerError(shown) from None
            if isinstance(error, RayflowError):
                raise error.with_traceback(None) from None
            raise

    return evaluating


@dataclass(frozen=True, slots=True)
class Start:
    """A run to ask for.

    ``key``: Dagster makes one run of it, however often it is asked; None where Dagster tells the
    requests of a trigger apart by itself. ``what`` is for messages.
    """

    inputs: Mapping[str, Any]
    key: str | None = None
    what: str = "a run"
    tags: Mapping[str, str] = field(default_factory=dict)
    partition: str | None = None


@dataclass(frozen=True)
class Target:
    """A flow and its job, as triggers see them."""

    flow: CompiledFlow
    job: JobDefinition

    def is_neighbour(self, run: DagsterRun) -> bool:
        """Whether a run is of the same project: others may have flows of the same names. What
        tells no project, as a run of an earlier version, counts as of this one.
        """
        own = self.flow.project.tag
        return run.tags.get(PROJECT_TAG, own) == own

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.flow.project.root

    @cached_property
    def types(self) -> Mapping[str, str]:
        """START's inputs -> their types."""
        return self._start["outputs"]

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """START's inputs that have a default -> it."""
        return self._start.get("defaults", {})

    @cached_property
    def _start(self) -> NodeMetadata:
        graph = self.flow.graph
        return graph["nodes"][graph["start_node"]]["metadata"]

    def request(self, start: Start, tags: Mapping[str, str]) -> RunRequest:
        """What Dagster is asked for.

        Raises:
            InvalidInputsError: START does not take the inputs.
        """
        bound = self.flow.triggers.bound_input
        named = {} if bound is None or start.partition is None else {bound: start.partition}
        inputs = {**start.inputs, **named}
        self._check(start.what, inputs)
        part = (
            None if bound is None or bound not in inputs else self._part(start, inputs.pop(bound))
        )
        step = self.flow.steps[self.flow.graph["start_node"]]
        return RunRequest(
            run_key=start.key,
            run_config={"ops": {step: {"config": inputs}}} if inputs else {},
            tags={**self._again, **started_for(start.what), **start.tags, **tags},
            partition_key=part,
        )

    @property
    def _again(self) -> Mapping[str, str]:
        return {} if self.flow.run_again else AGAIN

    def _part(self, start: Start, value: Any) -> str:
        """The key of a part that an input names, as Dagster can keep it.

        Raises:
            InvalidInputsError: it cannot be one.
        """
        # The name of a file may have bytes that are no UTF-8.
        key = str(value).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        if isinstance(self.flow.partitions, DynamicPartitionsDefinition):
            problem = part_problem(key)
            if problem is not None:
                raise InvalidInputsError([f"{start.what}: {problem}"])
        return key

    def new_parts(self, requests: Sequence[RunRequest]) -> list[Any]:
        """What Dagster must add before it takes the requests: parts that a dynamic flow has not."""
        definition = self.flow.partitions
        if not isinstance(definition, DynamicPartitionsDefinition):
            return []
        keys = {each.partition_key for each in requests if each.partition_key is not None}
        return [definition.build_add_request(sorted(keys))] if keys else []

    def _check(self, what: str, inputs: Mapping[str, Any]) -> None:
        problems = list(input_problems(self.types, self.defaults, secrets_in(inputs)))
        if problems:
            raise InvalidInputsError([f"{what}: {problem}" for problem in problems])


def filled(inputs: Mapping[str, Any], known: Mapping[str, Any], what: str) -> dict[str, Any]:
    """A trigger's inputs with its templates replaced.

    Args:
        inputs: as the flow's file has them.
        known: what each name stands for. It may come from outside, so it may name no secret: who
            sends a value must not choose which environment variable a node reads.
        what: what starts the run, for messages.

    Raises:
        InvalidInputsError: a name stands for nothing, or for a reference to a secret.
    """
    try:
        values: dict[str, Any] = fill(inputs, refusing_secrets(known, what))
    except KeyError as error:
        raise InvalidInputsError(
            [f"{what}: there is no {{{{ {error.args[0]} }}}}; change the trigger's inputs"]
        ) from None
    return values


def refusing_secrets(inputs: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """``inputs``, if it names no secret.

    Raises:
        InvalidInputsError: it does.
    """
    if has_secret(secrets_in(dict(inputs))):
        raise InvalidInputsError(
            [f"{what}: names a secret ($env); only the flow's own file may do that"]
        )
    return inputs
