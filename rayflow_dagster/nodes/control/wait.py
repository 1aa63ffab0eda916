import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from rayflow_dagster.control_node import VALUE, Constants, ControlNode, Fault, Types, Wait
from rayflow_dagster.expressions import expression_problems
from rayflow_dagster.types import EXEC_OUT
from rayflow_dagster.zones import moment, zone_problem


class WaitNode(ControlNode):
    """Go on after so many `seconds`, at the time `until`, or once CONDITION holds for the `value`
    of VARIABLE. No worker waits with it.

    `until` is a time of day, the next "06:30", or a date with a time, "2027-01-01T06:30"; it is one
    of TIMEZONE, unless it says itself how far it is from UTC. The data's `timeout` limits any of
    them.
    """

    icon = "fa-hourglass-half"
    category = "control"
    inputs = {
        "seconds": {"type": "float | None", "default": None},
        "until": {"type": "str | None", "default": None},
    }
    runs_anywhere = False

    VARIABLE = ""
    CONDITION = "value"
    TIMEZONE = "UTC"

    @classmethod
    def faults(cls, constants: Constants, types: Types) -> Iterator[Fault]:
        zone = constants["TIMEZONE"]
        problem = zone_problem(zone) if isinstance(zone, str) else f"is {zone!r:.80}; write UTC"
        if problem is not None:
            yield Fault("timezone", "TIMEZONE", problem)
        if constants["VARIABLE"] != "":
            for text in expression_problems(constants["CONDITION"], {VALUE: types[VALUE]}):
                yield Fault("expression", "CONDITION", text)

    @classmethod
    def wait(cls, constants: Constants, inputs: Mapping[str, Any]) -> Wait:
        seconds, until, variable = inputs["seconds"], inputs["until"], constants["VARIABLE"]
        given = [seconds is not None, until is not None, variable != ""]
        if sum(given) != 1:
            raise ValueError(
                "it waits for one thing: set one of 'seconds', 'until' and VARIABLE; a limit is "
                "the node's 'timeout'"
            )
        if seconds is not None:
            if not math.isfinite(seconds):
                raise ValueError(f"input 'seconds' is {seconds}; give a number of seconds")
            return Wait(max(0.0, float(seconds)))
        if until is not None:
            now = datetime.now(UTC)
            left = moment(until, constants["TIMEZONE"], now) - now
            return Wait(max(0.0, left.total_seconds()))
        return Wait(variable=variable, condition=constants["CONDITION"])

    @classmethod
    def decide(cls, constants: Constants, types: Types, inputs: Mapping[str, Any]) -> list[str]:
        return [EXEC_OUT]
