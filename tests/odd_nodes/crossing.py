import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from rayflow_dagster import RayflowNode


class Bag:
    """Something of an author's own, which can be changed."""

    def __init__(self) -> None:
        self.items = [1]


class Bomb:
    """Is sent, and cannot be made again."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _explode, ()


def _explode() -> None:
    raise OSError("it went off")


async def _later() -> int:
    return 1


def _numbers() -> Iterator[int]:
    yield 1


def _circle() -> list[Any]:
    circle: list[Any] = [1]
    circle.append(circle)
    return circle


MADE: dict[str, Callable[[], Any]] = {
    "list": lambda: [1],
    "long list": lambda: [1] * 5000,
    "dict": lambda: {"a": 1},
    "ordered": lambda: OrderedDict(a=1),
    "bag": Bag,
    "set": lambda: {1},
    "array": lambda: numpy.zeros(3),
    "large array": lambda: numpy.zeros(100_000),
    "array in a dict": lambda: {"a": numpy.zeros(3)},
    "array in a tuple": lambda: (numpy.zeros(3),),
    "array of objects": lambda: numpy.array([None, 1], dtype=object),
    "function": lambda: lambda: 1,
    "huge number": lambda: 2**100,
    "generator": lambda: [_numbers()],
    "lock": threading.Lock,
    "coroutine": _later,
    "file": lambda: open(__file__),  # noqa: SIM115
    "loop": asyncio.new_event_loop,
    "bomb": Bomb,
    "circle": _circle,
}


class MakeNode(RayflowNode):
    """Return what WHAT names; close what would be left open."""

    outputs = {"value": "any"}
    WHAT = "list"

    def process(self) -> dict[str, Any]:
        self.made = MADE[self.WHAT]()
        return {"value": self.made}

    def __del__(self) -> None:
        close = getattr(getattr(self, "made", None), "close", None)
        if close is not None:
            close()


class ChangeNode(RayflowNode):
    """Change the input and the constant in place."""

    inputs = {"value": "any"}
    outputs = {"value": "any", "constant": list}
    KEPT = []

    def process(self, value: Any) -> dict[str, Any]:
        self.KEPT.append(1)
        match value:
            case list():
                value.append(2)
            case dict():
                _fill(value["a"]) if isinstance(value["a"], numpy.ndarray) else value.update(b=2)
            case set():
                value.add(2)
            case Bag():
                value.items.append(2)
            case tuple():
                _fill(value[0])
            case numpy.ndarray():
                _fill(value)
        return {"value": value, "constant": self.KEPT}


def _fill(array: Any) -> None:
    array[0] = 7


class TellNode(RayflowNode):
    """A text of the input."""

    inputs = {"value": "any"}
    outputs = {"text": str}

    def process(self, value: Any) -> dict[str, Any]:
        told = value.items if isinstance(value, Bag) else value
        return {"text": "a function" if callable(told) else repr(told)[:40]}
