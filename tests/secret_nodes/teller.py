import sys
from typing import Any

from rayflow_dagster import RayflowNode


class TellerNode(RayflowNode):
    """Tell a token in every way there is, and fail with it where told to."""

    inputs = {"token": str, "fails": {"type": bool, "default": False}}
    outputs = {"size": int, "same": str, "nested": dict}
    KEY = ""
    HEADERS: dict[str, Any] = {}

    def process(self, token: str, fails: bool) -> dict[str, Any]:
        for text in (token, self.KEY, self.HEADERS):
            print("printed:", text)  # noqa: T201 - what this node is for
            print(repr(text), file=sys.stderr)  # noqa: T201
            self.log.warning("logged %r", text)
        self.variables.set("kept", token)
        if fails:
            try:
                raise KeyError(self.KEY)
            except KeyError as error:
                error.add_note(f"with {token}")
                raise ValueError(f"refused: {token}") from error
        return {"size": len(token + self.KEY), "same": token, "nested": {"a": [self.KEY]}}


class ComputingNode(RayflowNode):
    """Make a value of a token: what an author does on purpose."""

    inputs = {"token": "any"}
    outputs = {"header": str, "count": int}

    def process(self, token: Any) -> dict[str, Any]:
        return {"header": f"Bearer {token}", "count": 1}


class WrongOutputNode(RayflowNode):
    """Return a token where a number belongs."""

    inputs = {"token": str}
    outputs = {"count": int}

    def process(self, token: str) -> dict[str, Any]:
        return {"count": f"{token} and more of it, so that it is cut: {token * 10}"}


class CompareTokenNode(RayflowNode):
    """Say whether a token is the expected one, and keep the actor."""

    inputs = {"token": str, "expected_size": int}
    outputs = {"right": bool}
    resident = True
    KEY = ""

    def process(self, token: str, expected_size: int) -> dict[str, Any]:
        return {"right": len(token) == expected_size == len(self.KEY)}


class PackingNode(RayflowNode):
    """Hand a token and a number on, packed in every plain container."""

    inputs = {"token": str, "pin": int}
    outputs = {"pin": int, "keyed": dict, "packed": tuple, "members": set}

    def process(self, token: str, pin: int) -> dict[str, Any]:
        packed = (token, {"a": [token, pin]}, frozenset([token]))
        return {"pin": pin, "keyed": {token: pin}, "packed": packed, "members": {token, pin}}


class KeepingNode(RayflowNode):
    """Hand a number on, by way of a variable too, and compute with what comes from there."""

    inputs = {"number": int}
    outputs = {"number": "any", "sum": int}

    def process(self, number: int) -> dict[str, Any]:
        self.variables.set("kept", [number])
        return {"number": number, "sum": self.variables.get("kept")[0] + 1}
