"""The rules about ``partitions``: its keys fit its kind, and START has the input."""

from collections import Counter
from collections.abc import Iterator

from rayflow_dagster.compiler.resolved import ResolvedFlow
from rayflow_dagster.compiler.starts.partitions import Partitions, moment, part_problem
from rayflow_dagster.port_types import fits, parse_type
from rayflow_dagster.suggest import did_you_mean, listed
from rayflow_dagster.zones import zone_problem


def partition_problems(partitions: Partitions, flow: ResolvedFlow) -> Iterator[str]:
    """What is wrong with the partitions of a flow, each with its place."""
    yield from _time_problems(partitions)
    yield from _static_problems(partitions)
    if len(flow.starts) != 1:
        return  # which another rule reports
    declared = flow.starts[0].outputs
    kind = declared.get(partitions.input)
    if kind is None:
        yield (
            f"input: START declares no input '{partitions.input:.80}' (declared: "
            f"{listed(declared)})"
            f"{did_you_mean(partitions.input, declared)}"
        )
    elif not fits(parse_type("str"), parse_type(kind)):
        yield f"input: a part is a str, but START declares '{partitions.input}' as {kind}"


def _time_problems(partitions: Partitions) -> Iterator[str]:
    if not partitions.is_time:
        for key in ("start", "end"):
            if getattr(partitions, key) is not None:
                yield f"{key}: belongs to hourly, daily, weekly and monthly, not {partitions.kind}"
        return
    if partitions.start is None:
        yield f"start: is missing; {partitions.kind} parts begin at a date, as in 2026-01-01"
    moments = {}
    for key in ("start", "end"):
        text = getattr(partitions, key)
        if text is None:
            continue
        try:
            moments[key] = moment(text)
        except ValueError as error:
            yield f"{key}: must be a date or time such as 2026-01-01, not '{text:.40}' ({error})"
    if len(moments) == 2 and moments["end"] <= moments["start"]:
        yield "end: must come after start"
    problem = zone_problem(partitions.timezone)
    if problem:
        yield f"timezone: {problem}"


def _static_problems(partitions: Partitions) -> Iterator[str]:
    values = partitions.values
    if partitions.kind != "static":
        if values is not None:
            yield f"values: belongs to static, not {partitions.kind}"
        return
    if not values:
        yield 'values: is missing; static parts are listed, as in ["north", "south"]'
        return
    for value in sorted(value for value, count in Counter(values).items() if count > 1):
        yield f"values: '{value:.80}' is there more than once"
    yield from (f"values: {problem}" for value in values if (problem := part_problem(value)))
