"""The sensor of an author's class: ``check(cursor)`` returns the inputs of runs and a cursor."""

import asyncio
import contextlib
import hashlib
import inspect
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dagster import SensorEvaluationContext

from rayflow_dagster.compiler.starts.triggers import PollSensor
from rayflow_dagster.errors import TriggerError
from rayflow_dagster.project import Project
from rayflow_dagster.values.preview import preview

from .sensors import Look, Looking, beginning
from .starts import Start, Target, refusing_secrets

MAX_CURSOR = 4_000_000
"""Characters of the cursor and the inputs that wait for later ticks: Dagster keeps them."""


def poll_look(target: Target, sensor: PollSensor) -> Looking:
    """How a sensor with a class of the author's looks.

    What one check found beyond ``max_per_tick`` waits in the cursor, and the next check is made
    when all of it has started. A run's key is made of the number of the check, counted since the
    cursor was last cleared, and the inputs: if the daemon dies in the middle of a tick, the check
    is made again, and runs that were started for it are not started twice.
    """

    def look(context: SensorEvaluationContext) -> Look:
        state = _read_cursor(context, sensor.check)
        if not state["waiting"]:
            number = state["checks"] + 1
            found, cursor = _check(target.flow.project, sensor.check, state["cursor"])
            keys = _keys(f"{number}{state['begun']}", found)
            waiting = [
                {"key": key, "inputs": {**inputs, **sensor.inputs}}
                for key, inputs in zip(keys, found, strict=True)
            ]
            state = {**state, "checks": number, "cursor": cursor, "waiting": waiting}
        now, later = (
            state["waiting"][: sensor.max_per_tick],
            state["waiting"][sensor.max_per_tick :],
        )
        starts = [
            Start(item["inputs"], key=item["key"], what=f"{sensor.check}, item {number}")
            for number, item in enumerate(now, start=1)
        ]
        cursor_text = _cursor({**state, "waiting": later}, sensor.check)
        return Look(starts, cursor_text, f"{sensor.check} found nothing to start")

    return look


def _read_cursor(context: SensorEvaluationContext, check: str) -> dict[str, Any]:
    """What the last look left.

    Raises:
        TriggerError: it was no look of a poll sensor.
    """
    state: Any = {"checks": 0, "cursor": None, "waiting": [], "begun": beginning(context)}
    if not context.cursor:
        return dict(state)
    with contextlib.suppress(ValueError):
        state = json.loads(context.cursor)
        match state:
            case {"checks": int(), "cursor": _, "waiting": list() as waiting} if all(
                isinstance(item, dict) and {"key", "inputs"} <= item.keys() for item in waiting
            ):
                return {"begun": "", **state}
    raise TriggerError(
        f"{check}: the sensor's cursor is not one of a poll sensor, which has what check() gets in "
        'it under "cursor"; clear it in the UI, and check(None) is called'
    )


def _cursor(state: Mapping[str, Any], check: str) -> str:
    text = json.dumps(state)
    if len(text) > MAX_CURSOR:
        raise TriggerError(
            f"{check}: its cursor and inputs are {len(text)} characters together, and at most "
            f"{MAX_CURSOR} can be kept; return fewer at a time, or paths in place of data"
        )
    return text


def _keys(check: str, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A key of each run: which check, the inputs, and which of equal inputs."""
    keys = []
    counts: Counter[str] = Counter()
    for inputs in found:
        digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:24]
        counts[digest] += 1
        keys.append(f"{check}-{digest}-{counts[digest]}")
    return keys


def _check(project: Project, path: str, cursor: Any) -> tuple[list[dict[str, Any]], Any]:
    """What the author's class says.

    Raises:
        TriggerError: there is no such class, or it answers with something else.
    """
    checker = load_check(project, path)()
    answer = checker.check(cursor)
    if inspect.isawaitable(answer):
        answer = asyncio.run(_awaited(answer))
    return _answer(path, answer)


async def _awaited(answer: Any) -> Any:
    return await answer


def load_check(project: Project, path: str) -> type:
    """The author's class.

    Raises:
        TriggerError: it cannot be imported, or has no ``check``.
    """
    module_name, _, name = path.rpartition(".")
    try:
        module = project.import_module(module_name)
    except ImportError as error:
        raise TriggerError(
            f"{path} cannot be imported ({error}); it must be in the project's folder"
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, type) or not callable(getattr(found, "check", None)):
        raise TriggerError(f"{path} is no class with a method check(cursor)")
    return found


def _answer(path: str, answer: Any) -> tuple[list[dict[str, Any]], Any]:
    match answer:
        case (list() as found, cursor) if all(isinstance(item, dict) for item in found):
            pass
        case _:
            raise TriggerError(
                f"{path}.check must return (list of inputs, cursor), each inputs a dict of "
                f"name: value, not {preview(answer, 200)}"
            )
    try:
        found, cursor = json.loads(json.dumps([found, cursor], allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TriggerError(
            f"{path}.check: inputs and cursor are kept as JSON, and these cannot be: {error}"
        ) from None
    for number, item in enumerate(found, start=1):
        refusing_secrets(item, f"{path}, item {number}")
    return found, cursor
