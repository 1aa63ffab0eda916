"""What one node does, for ``reference.interpret``: the classes of ``flow_nodes``, and built-ins
that compute or decide, once more as plain functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flow_nodes.raises import ERRORS

from rayflow_dagster.errors import FlowAssertionError, FlowRaisedError

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plain:
    """``run`` takes the values (constants and inputs) and the flow's variables, which it may
    change; it returns outputs, with ``exec_next`` where the class names its exec outputs."""

    run: Callable[[Values, Values], Values]
    defaults: Values = field(default_factory=dict)


def _boom(values: Values, _: Values) -> Values:
    raise ValueError(f"boom: {values['MESSAGE']}")


def _fragile(values: Values, _: Values) -> Values:
    if values["fail"]:
        raise ValueError("told to fail")
    return {"value": values["value"]}


def _raises(values: Values, variables: Values) -> Values:
    if _count_up(variables, values["COUNTER"], 1) <= values["TIMES"]:
        raise ERRORS[values["ERROR"]]()
    return {"value": values["value"]}


def _flaky(values: Values, variables: Values) -> Values:
    attempts = _count_up(variables, values["COUNTER"], 1)
    if attempts <= values["FAILURES"]:
        raise ConnectionError(f"attempt {attempts} fails")
    return {"value": values["value"], "attempts": attempts}


def _count_up(variables: Values, name: str, by: int) -> Any:
    variables[name] += by
    return variables[name]


def _set(values: Values, variables: Values) -> Values:
    variables[values["VARIABLE"]] = values["value"]
    return {"value": values["value"]}


def _switch(values: Values, _: Values) -> Values:
    """The text ``"404"`` is not the number 404, and ``true`` is not 1."""
    value = values["value"]
    kind = str if isinstance(value, str) else int
    cases = [case for case in values["CASES"] if isinstance(case, kind) and case == value]
    return {"exec_next": str(cases[0]) if cases and not isinstance(value, bool) else "default"}


def _choose(values: Values, _: Values) -> Values:
    held = [name for name, text in values["CASES"].items() if _holds(text, values)]
    return {"exec_next": (held[:1] if values["MATCH"] == "first" else held) or "default"}


def _parallel(values: Values, _: Values) -> Values:
    return {"exec_next": [f"branch_{number + 1}" for number in range(values["BRANCHES"])]}


def _sequence(values: Values, _: Values) -> Values:
    return {"exec_next": [f"then_{number + 1}" for number in range(values["THEN"])]}


def _assert(values: Values, _: Values) -> Values:
    if _holds(values["CONDITION"], values):
        return {}
    wired = {name: value for name, value in values.items() if not name.isupper()}
    shown = {name: repr(value) for name, value in wired.items()}
    raise FlowAssertionError(values["CONDITION"], values["MESSAGE"].format(**wired), shown)


def _fail(values: Values, _: Values) -> Values:
    raise FlowRaisedError(values["MESSAGE"].format(**values))


def _holds(expression: str, names: Values) -> bool:
    """The part of CEL that is Python, with ``&&`` and ``||``."""
    python = expression.replace("&&", " and ").replace("||", " or ")
    return bool(eval(python, {"__builtins__": {}}, names))


_IDENTITY = Plain(lambda values, _: {"value": values["value"]})

PLAIN: Mapping[str, Plain] = {
    "flow_nodes.identity": _IDENTITY,
    "flow_nodes.async_identity": _IDENTITY,
    "flow_nodes.sleep": Plain(_IDENTITY.run, {"value": None}),
    "flow_nodes.add": Plain(lambda values, _: {"result": values["x"] + values["y"]}),
    "flow_nodes.append": Plain(
        lambda values, _: {"text": values["text"] + values["SUFFIX"]}, {"text": "", "SUFFIX": "!"}
    ),
    "flow_nodes.constant": Plain(lambda values, _: {"value": values["VALUE"]}, {"VALUE": None}),
    "flow_nodes.collect": Plain(
        lambda values, _: {"values": [values[p] for p in "abc" if values[p] is not None]},
        {"a": None, "b": None, "c": None},
    ),
    "flow_nodes.choose": Plain(lambda values, _: {"exec_next": values["which"]}),
    "flow_nodes.switch": Plain(
        lambda values, _: {
            "value": values["value"],
            "exec_next": "low" if values["value"] < values["LIMIT"] else "high",
        },
        {"LIMIT": 10},
    ),
    "flow_nodes.count_up": Plain(
        lambda values, variables: {"value": _count_up(variables, values["NAME"], values["BY"])},
        {"NAME": "counter", "BY": 1},
    ),
    "flow_nodes.boom": Plain(_boom, {"value": None, "MESSAGE": "bang"}),
    "flow_nodes.fragile": Plain(_fragile, {"fail": False}),
    "flow_nodes.raises": Plain(_raises, {"TIMES": 1, "COUNTER": "attempts"}),
    "flow_nodes.flaky": Plain(_flaky, {"COUNTER": "attempts", "FAILURES": 1}),
    "logic.branch": Plain(
        lambda values, _: {"exec_next": "true" if values["condition"] else "false"}
    ),
    "logic.compare": Plain(
        lambda values, _: {"result": _holds(f"a {values['OPERATOR']} b", values)},
        {"OPERATOR": "=="},
    ),
    "logic.switch": Plain(_switch),
    "logic.choose": Plain(_choose, {"MATCH": "first"}),
    "logic.assert": Plain(_assert, {"MESSAGE": ""}),
    "control.parallel": Plain(_parallel, {"BRANCHES": 2}),
    "control.sequence": Plain(_sequence, {"THEN": 2}),
    "control.fail": Plain(_fail),
    "variables.get_variable": Plain(
        lambda values, variables: {"value": variables[values["VARIABLE"]]}
    ),
    "variables.set_variable": Plain(_set),
}
