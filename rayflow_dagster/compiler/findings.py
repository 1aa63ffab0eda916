"""``Finding``: what a rule says about a flow."""

from dataclasses import dataclass

from rayflow_dagster.types import Severity


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
