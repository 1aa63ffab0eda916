"""The rule about variables that are kept between runs: ``"scope": "flow"`` in a declaration."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from rayflow_dagster.port_types import BASIC, PortType, parse_type
from rayflow_dagster.secrets.references import has_secret, secrets_in

SCOPES = ("run", "flow")


def scope_problems(name: str, spec: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a declaration's scope, or keeps what is to be kept from being so."""
    scope = spec.get("scope", "run")
    if scope not in SCOPES:
        yield (
            'scope is "run" (it lives for one run) or "flow" (it is kept between the flow\'s '
            f"runs), not {scope!r:.80}"
        )
    if scope != "flow":
        return
    with suppress(ValueError, TypeError):  # a type that cannot be read is another finding
        no_json = _no_json(parse_type(spec.get("type", "any")))
        if no_json is not None:
            yield (
                f"it is kept between runs as JSON, which has no {no_json}; use int, float, str, "
                "bool, list, dict[str, ...], None, unions of these, or any"
            )
    if has_secret(secrets_in(spec.get("default"))):
        yield (
            "its default names a secret, which a declaration cannot do; set it with "
            f"`rayflow-dagster variables FLOW set {name} JSON`, or read the secret where needed"
        )


def _no_json(kind: PortType) -> str | None:
    """The part of a type that JSON does not have; None for a type that it has."""
    if kind.name == "dict" and kind.args and kind.args[0].name not in ("str", "any"):
        return str(kind)
    if kind.name not in (*BASIC, "union"):
        return str(kind)
    return next((found for arg in kind.args if (found := _no_json(arg)) is not None), None)
