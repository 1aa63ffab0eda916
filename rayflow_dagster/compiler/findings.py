"""``Finding``: what a rule says about a flow; and the words for what pydantic finds in one."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic_core import ErrorDetails

from rayflow_dagster.types import Severity
from rayflow_dagster.values.preview import preview


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem. ``rule`` is a stable name; ``node``, ``port``, ``edge`` say where, if known."""

    rule: str
    message: str
    severity: Severity = "error"
    node: str | None = None
    port: str | None = None
    edge: str | None = None

    def __str__(self) -> str:
        return self.message

    def as_dict(self) -> dict[str, str | None]:
        """The CLI's JSON form."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "message": self.message,
            "node": self.node,
            "port": self.port,
            "edge": self.edge,
        }


def place_of(location: Sequence[int | str]) -> str:
    """``sensors[0].path``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def form_problem(item: ErrorDetails) -> str:
    """What is wrong there."""
    given = preview(item["input"], 80)
    match item["type"]:
        case "missing":
            return "is missing"
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"must be an object with keys, {{...}}, not {given}"
        case "list_type":
            return f"must be a list, [...], not {given}"
    return f"{item['msg'].lower()}, not {given}"
