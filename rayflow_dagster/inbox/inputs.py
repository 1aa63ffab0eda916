"""What a request may give to a flow: START's inputs, but for those that the flow's sensor sets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rayflow_dagster.engine.inputs import input_problems
from rayflow_dagster.secrets.references import has_secret, secrets_in
from rayflow_dagster.types import NodeMetadata


@dataclass(frozen=True, slots=True)
class RequestInputs:
    """The inputs of one flow. ``types``: input -> type word; ``fixed`` are the sensor's own;
    ``body``: the one that gets all that is sent.
    """

    types: Mapping[str, str]
    defaults: Mapping[str, Any]
    descriptions: Mapping[str, str]
    fixed: Mapping[str, Any]
    body: str | None = None

    @classmethod
    def of(
        cls, start: NodeMetadata, fixed: Mapping[str, Any], body: str | None = None
    ) -> "RequestInputs":
        """Those of a flow. ``start``: the metadata of its START."""
        return cls(
            start["outputs"],
            start.get("defaults", {}),
            start.get("input_descriptions", {}),
            fixed,
            body,
        )

    @property
    def open(self) -> dict[str, str]:
        """The inputs that a request may give, with their types."""
        return {name: kind for name, kind in self.types.items() if name not in self.fixed}

    def sent(self, content: dict[str, Any]) -> dict[str, Any]:
        """The inputs that a request gives which sends ``content``."""
        return content if self.body is None else {self.body: content}

    def problems(self, inputs: Mapping[str, Any]) -> list[str]:
        """Everything that is wrong with the inputs of a request."""
        return list(self._problems(inputs))

    def of_run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs of a run that starts for a request without problems."""
        return {**inputs, **self.fixed}

    def _problems(self, inputs: Mapping[str, Any]) -> Iterator[str]:
        own = {name: value for name, value in inputs.items() if name not in self.fixed}
        for name in (name for name in inputs if name in self.fixed):
            yield f"input '{name:.80}' is set by the flow's inbox sensor; leave it out"
        # Who sends a request must not choose which of our environment variables a node reads.
        secret = [name for name, value in own.items() if has_secret(secrets_in(value))]
        for name in secret:
            yield f"input '{name:.80}' names a secret ($env); a request may not, only the flow may"
        rest = {name: value for name, value in own.items() if name not in secret}
        declared = {name: kind for name, kind in self.open.items() if name not in secret}
        yield from input_problems(declared, self.defaults, rest)
