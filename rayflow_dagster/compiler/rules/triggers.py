"""The rules about what starts a flow by itself: schedules, sensors."""

from collections import ChainMap, Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError as PydanticError
from pydantic_core import ErrorDetails

from rayflow_dagster.compiler.findings import Finding, form_problem, place_of
from rayflow_dagster.compiler.resolved import Node, ResolvedFlow
from rayflow_dagster.compiler.starts.cron import cron_problem
from rayflow_dagster.compiler.starts.partitions import Partitions
from rayflow_dagster.compiler.starts.templates import (
    lone_template,
    template_names,
    template_problems,
)
from rayflow_dagster.compiler.starts.triggers import (
    SENSORS,
    Schedule,
    Sensor,
    Trigger,
    Triggers,
    declared_triggers,
    trigger_names,
)
from rayflow_dagster.port_types import accepts, fits, parse_type
from rayflow_dagster.secrets.references import secrets_in
from rayflow_dagster.suggest import did_you_mean, listed
from rayflow_dagster.values.preview import preview, preview_typed
from rayflow_dagster.zones import zone_problem

from .partitions import partition_problems

_PATTERNS = {
    "name": "has letters, digits and _ only, 80 at most",
    "check": "is the path of a class, such as nodes.shop.NewOrders",
    "path": "cannot have braces; write a sensor for each alternative",
}
"""What a text that does not match a key's pattern has to be, by the key."""


MAX_MISSING = 10
"""Of one trigger, how many missing inputs are told."""


def triggers(flow: ResolvedFlow, root: Path | None) -> Iterator[Finding]:
    """The form of every trigger, the inputs that it gives to START, and what it needs of the
    project's folder, if that is known.
    """
    try:
        declared = declared_triggers(flow.data)
    except PydanticError as error:
        for item in error.errors():
            rule = "partitions" if item["loc"][0] == "partitions" else "trigger"
            yield Finding(rule, f"flow key {_misformed(item, flow.data)}")
        return
    for where, trigger in _placed(declared):
        if isinstance(trigger, Schedule):
            yield from _time_findings(where, trigger, declared)
        inputs = _inputs(where, trigger, flow, declared.bound_input)
        yield from (Finding("trigger_input", text) for text in inputs)
        for rule, key, text, severity in trigger.problems(root):
            yield Finding(rule, f"flow key {where}.{key}: {text}", severity)
    if declared.partitions is not None:
        for problem in partition_problems(declared.partitions, flow):
            yield Finding("partitions", f"flow key partitions.{problem}")
    yield from _names(declared)
    yield from _only_ones(declared)


def _placed(declared: Triggers) -> Iterator[tuple[str, Trigger]]:
    for kind, items in (("schedules", declared.schedules), ("sensors", declared.sensors)):
        for index, trigger in enumerate(items):
            yield f"{kind}[{index}]", trigger


def _misformed(item: ErrorDetails, flow: Mapping[str, Any]) -> str:
    """Where and what, of one of pydantic's errors."""
    # Of a sensor, pydantic names the type as well: ("sensors", 0, "file", "path").
    location = [
        part for at, part in enumerate(item["loc"]) if (at, item["loc"][0]) != (2, "sensors")
    ]
    place, given = place_of(location), item["input"]
    *others, last = SENSORS
    kinds = f"{', '.join(others)} or {last}"
    match item["type"]:
        case "extra_forbidden":
            hint = did_you_mean(str(location[-1]), _keys(item, flow))
            return f"{place}: there is no such key{hint}"
        case "union_tag_not_found":
            return f"{place}.type: is missing; it is one of {kinds}"
        case "union_tag_invalid":
            return f"{place}.type: must be {kinds}, not {preview(given.get('type'), 80)}"
        case "string_pattern_mismatch" if location[-1] in _PATTERNS:
            return f"{place}: {_PATTERNS[location[-1]]}, not {preview(given, 80)}"
    return f"{place}: {form_problem(item)}"


def _keys(item: ErrorDetails, flow: Mapping[str, Any]) -> list[str]:
    """The keys that the trigger with an unknown one may have."""
    if item["loc"][0] == "partitions":
        return list(Partitions.model_fields)
    if item["loc"][0] == "schedules":
        return list(Schedule.model_fields)
    return list(SENSORS[flow["sensors"][item["loc"][1]]["type"]].model_fields)


def _time_findings(where: str, schedule: Schedule, declared: Triggers) -> Iterator[Finding]:
    problem = None if schedule.cron is None else cron_problem(schedule.cron)
    if schedule.cron is None and not (declared.partitions and declared.partitions.is_time):
        yield Finding("cron", f"flow key {where}.cron: is missing")
    if problem is not None:
        yield Finding("cron", f"flow key {where}.cron '{schedule.cron:.80}': {problem}")
    zone = zone_problem(schedule.timezone)
    if zone is not None:
        yield Finding("timezone", f"flow key {where}.timezone: {zone}")
    elif schedule.cron is None and "timezone" in schedule.model_fields_set:
        message = "goes with a cron; without one, that of the partitions counts; leave it out"
        yield Finding("timezone", f"flow key {where}.timezone: {message}")


def _inputs(where: str, trigger: Trigger, flow: ResolvedFlow, bound: str | None) -> Iterator[str]:
    """What is wrong with the inputs that a trigger gives."""
    if len(flow.starts) != 1:
        return  # which another rule reports
    start = flow.starts[0]
    for name, value in trigger.inputs.items():
        place = f"flow key {where}.inputs '{name}'"
        if name == bound and isinstance(trigger, Schedule):
            yield f"{place}: is given by the schedule itself, from the partitions; leave it out"
        elif name not in start.outputs:
            yield (
                f"{place}: START declares no such input (declared: {listed(start.outputs)})"
                f"{flow.hints.did_you_mean(name, start.outputs)}"
            )
        else:
            yield from _value_problems(place, value, start.outputs[name], trigger)
    if trigger.whole_input is not None:
        yield from _whole(where, trigger, trigger.whole_input, flow)
    if trigger.gives_all:
        ignored = bound if isinstance(trigger, Schedule) else None
        yield from _missing(where, trigger, start, ignored)


def _value_problems(place: str, value: Any, kind: str, trigger: Trigger) -> Iterator[str]:
    yield from (f"{place}: {problem}" for problem in template_problems(value))
    unknown = [name for name in template_names(value) if trigger.template_type(name) is None]
    for name in unknown:
        known = list(trigger.templates)
        listed = ", ".join(f"{{{{ {each} }}}}" for each in known)
        choices = f"known: {listed}" if known else "this kind of sensor has no templates"
        yield (
            f"{place}: there is no {{{{ {name:.80} }}}} here ({choices}){did_you_mean(name, known)}"
        )
    if unknown:
        return
    lone = lone_template(value)
    if lone is not None:
        gives = trigger.template_type(lone) or "any"
        if not fits(parse_type(gives), parse_type(kind)):
            yield f"{place}: {{{{ {lone} }}}} is {gives}, but START takes {kind}"
    elif not any(True for _ in template_names(value)) and not accepts(
        parse_type(kind), secrets_in(value)
    ):
        yield f"{place}: START takes {kind}, not {preview_typed(value, 80)}"


def _whole(where: str, trigger: Trigger, name: str, flow: ResolvedFlow) -> Iterator[str]:
    """What is wrong with the input that gets what is sent, and with the others."""
    start, place = flow.starts[0], f"flow key {where}.{trigger.whole_key} '{name:.80}'"
    if name not in start.outputs:
        yield (
            f"{place}: START declares no such input (declared: {listed(start.outputs)})"
            f"{flow.hints.did_you_mean(name, start.outputs)}"
        )
    elif name in trigger.inputs:
        yield f"{place}: the sensor's inputs set it already; leave one of the two out"
    elif not accepts(parse_type(start.outputs[name]), {}):
        yield f"{place}: START takes {start.outputs[name]}, and what is sent is a dict"
    yield from _missing(where, trigger, start, name)


def _missing(where: str, trigger: Trigger, start: Node, bound: str | None) -> Iterator[str]:
    given = ChainMap[str, Any](dict(trigger.inputs), dict(start.defaults), {bound or "": None})
    missing = (name for name in start.outputs if name not in given)
    for name in islice(missing, MAX_MISSING):
        yield (
            f"flow key {where}.inputs: '{name}' ({start.outputs[name]}) is missing, and START "
            "declares it without a default; give it here, or give START a default"
        )


def _only_ones(declared: Triggers) -> Iterator[Finding]:
    """Of some kinds a flow has one at most."""
    first: dict[str, str] = {}
    for where, trigger in _placed(declared):
        if not isinstance(trigger, Sensor) or not trigger.is_only_one:
            continue
        other = first.setdefault(trigger.type, where)
        if other != where:
            kind = trigger.type
            message = f"a flow has one {kind} sensor, and {other} is one already"
            yield Finding("trigger", f"flow key {where}: {message}")


def _names(declared: Triggers) -> Iterator[Finding]:
    names = trigger_names("", declared)
    counts = Counter(names)
    for (where, _), name in zip(_placed(declared), names, strict=True):
        if counts[name] > 1:
            shown = name.removeprefix("_")
            yield Finding(
                "trigger_name",
                f"flow key {where}.name: several triggers are named '{shown}'; give each its own",
            )
        elif name == "_on_failure" and declared.on_failure is not None:
            yield Finding(
                "trigger_name",
                f"flow key {where}.name: the sensor of the flow key on_failure has this name; "
                "give it another",
            )
