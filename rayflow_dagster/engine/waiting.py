"""What a node waits for in; that it has come, out. Neither a thread nor a worker waits with it."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from rayflow_dagster.control_node import VALUE, Wait
from rayflow_dagster.errors import SecretError
from rayflow_dagster.expressions import holds
from rayflow_dagster.secrets.references import has_secret

from .deadline import Deadline
from .stepping import Done
from .timers import after

LOOK_SECONDS = 0.5
"""How often a variable is looked at."""


async def waited(
    wait: Wait, read: Callable[[str], "Future[Any]"], limits: Iterable[Deadline]
) -> None:
    """Wait, until one of the limits is over at most; whoever set that has to look.

    Args:
        wait: what is waited for.
        read: gives the value of a variable.
        limits: those that hold for the wait.

    Raises:
        ExpressionError: the condition has no value for that of the variable.
        SecretError: the variable has a secret.
        VariableError: there is no such variable.
    """
    limits = list(limits)
    while True:
        if wait.variable:
            value = await Done(read(wait.variable))
            if has_secret(value):
                raise SecretError(f"variable '{wait.variable}' has a secret, for which none waits")
            if holds(wait.condition, {VALUE: "any"}, {VALUE: value}):
                return
        seconds = LOOK_SECONDS if wait.variable else wait.seconds
        timer = after(max(0.0, min([seconds, *(each.left for each in limits)])))
        try:
            await Done(timer)
        finally:
            timer.cancel()
        if not wait.variable or any(each.is_over for each in limits):
            return
