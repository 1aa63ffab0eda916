"""The rules about secrets: ``{"$env": "NAME"}`` among constants, values, defaults, triggers, and
what should be one.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from rayflow_dagster.compiler.findings import Finding
from rayflow_dagster.compiler.resolved import Node, ResolvedFlow
from rayflow_dagster.secrets.references import KEY, literal_secret, name_problem

_SEEN = ", which every reader of the flow sees"


def secret(flow: ResolvedFlow) -> Iterator[Finding]:
    """The form of every reference, whether its variable is set here, and what should be one."""
    for node in flow.nodes.values():
        for what, name, value in _values(node):
            for problem, severity in _secret_problems(value):
                message = f"node {node} {what} '{name}': {problem}"
                yield Finding("secret", message, severity, node=node.id, port=name)
    for kind in ("schedules", "sensors"):
        triggers: Any = flow.data.get(kind)
        for at, trigger in enumerate(triggers if isinstance(triggers, list) else ()):
            if not isinstance(trigger, dict):
                continue
            place = f"flow key {kind}[{at}]"
            for problem, severity in _secret_problems(trigger.get("inputs")):
                yield Finding("secret", f"{place}.inputs: {problem}", severity)
            shown = literal_secret(str(trigger.get("path")))
            if shown is not None:
                remedy = "let the package that opens it find that in the environment"
                yield Finding("secret", f"{place}.path: has {shown}{_SEEN}; {remedy}", "warning")


def _values(node: Node) -> Iterator[tuple[str, str, Any]]:
    for name, spec in node.constants.items():
        yield "constant", name, node.values.get(name, spec["value"])
    for name in node.outputs if node.is_start else node.inputs:
        yield "input", name, node.values.get(name, node.defaults.get(name))


def _secret_problems(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        if value.keys() == {KEY}:
            yield from _reference_problems(value[KEY])
            return
        for item in value.values():
            yield from _secret_problems(item)
    elif isinstance(value, list):
        for item in value:
            yield from _secret_problems(item)
    elif isinstance(value, str) and (shown := literal_secret(value)):
        yield (
            f'has {shown}{_SEEN}; write {{"{KEY}": "NAME"}}, and set the environment variable NAME',
            "warning",
        )


def _reference_problems(name: Any) -> Iterator[tuple[str, Any]]:
    problem = name_problem(name)
    if problem is not None:
        yield f'{problem}; write {{"{KEY}": "NAME"}}', "error"
    elif name not in os.environ:
        hint = "a run fails unless it is set where the node runs"
        yield f"the environment variable '{name}' is not set in this process; {hint}", "warning"


SECRETS = (secret,)
