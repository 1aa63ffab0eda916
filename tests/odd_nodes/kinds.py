"""Values of every kind that Python programs pass on, and nodes that give and keep them."""

import array
import datetime
import decimal
import enum
import fractions
import pathlib
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from typing import Any

import numpy

from rayflow_dagster import RayflowNode

Point = namedtuple("Point", "x y")


class Shade(enum.IntEnum):
    DARK = 1


class Tagged(dict[str, int]):
    """A dict with more to it."""


KINDS: dict[str, Any] = {
    "bytearray": bytearray(b"abc"),
    "bytearray in a list": [bytearray(b"abc"), {"in": bytearray(b"a dict")}],
    "bytes": b"abc",
    "tuple": (1, (2, [3])),
    "set": {1, 2},
    "frozenset": frozenset({"a"}),
    "keys": {1: "int", (1, 2): "tuple", None: "None", 1.5: "float", b"b": "bytes"},
    "dicts": [OrderedDict(a=1), defaultdict(list, a=[1]), Counter("aab"), Tagged(a=1)],
    "sequences": [Point(1, 2), deque([1, 2], maxlen=3), range(3), array.array("d", [1.5])],
    "numbers": [2**70, -0.0, 1j, decimal.Decimal("1.10"), fractions.Fraction(1, 3), Shade.DARK],
    "numpy": [numpy.int64(1), numpy.float32(1.5), numpy.bool_(True), numpy.array([1, 2])],
    "times": [datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), datetime.timedelta(1)],
    "texts": ["", "ä", "half \ud800", pathlib.PurePosixPath("a"), uuid.UUID(int=1)],
    "infinite": [float("inf"), float("nan")],
    "long": list(range(5000)),
}


def spelled(value: Any) -> str:
    """A value with the type of all that is in it."""
    kind = type(value).__qualname__
    if isinstance(value, dict):
        items = ", ".join(f"{spelled(key)}: {spelled(item)}" for key, item in value.items())
        return f"{kind}({items})"
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"{kind}({', '.join(map(spelled, value))})"
    return f"{kind}({value!r})"


class GiveKindsNode(RayflowNode):
    """Give all of them, each as an output."""

    outputs = {"bytearray": bytearray, **{f"v{at}": "any" for at in range(1, len(KINDS))}}

    def process(self) -> dict[str, Any]:
        return dict(zip(self.outputs, KINDS.values(), strict=True))


class KeepKindNode(RayflowNode):
    """Keep a value in the variable `kept`, and give what another reader of it has."""

    inputs = {"value": "any"}
    outputs = {"kept": "any", "told": str}

    def process(self, value: Any) -> dict[str, Any]:
        self.variables.set("kept", value)
        updated = self.variables.update("kept", lambda kept: kept)
        assert spelled(updated) == spelled(value)
        return {"kept": self.variables.get("kept"), "told": spelled(value)}


class GiveViewNode(RayflowNode):
    """Give a view of bytes, in what WHERE names."""

    outputs = {"value": "any"}
    WHERE = "alone"

    def process(self) -> dict[str, Any]:
        view = memoryview(b"abc")
        return {
            "value": {"alone": view, "in a list": [1, view], "deep": {"a": ([view],)}}[self.WHERE]
        }
