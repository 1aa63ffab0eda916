"""Secrets: ``{"$env": "NAME"}`` in a flow file or a run's inputs, and what keeps values unseen.

A reference becomes a ``Secret`` when a flow is compiled and when START reads a run's inputs, and
nowhere else: what a node computes is never taken for one. A ``Secret`` travels through wires,
variables and RETURN as the reference it is, and its value is looked up where a node runs.
"""

import json
import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

KEY = "$env"
HIDDEN = "***"
MAX_DEPTH = 100
"""How deep a reference may stand in a constant or an input."""
_CONTAINERS = frozenset({list, dict})
_LEAST_LINE = 8
_LEAST_CUT = 3
_CUT = ("...", "'...", '"...', "\n[output past")
"""What follows where a text was cut off, maybe in the middle of a value."""


@dataclass(frozen=True, slots=True)
class Secret:
    """The name of an environment variable, in the place of its value."""

    name: str

    def __repr__(self) -> str:
        return json.dumps(self.spelled)

    @property
    def spelled(self) -> dict[str, str]:
        """As it stands in a flow file."""
        return {KEY: self.name}


def secrets_in(value: Any, depth: int = MAX_DEPTH) -> Any:
    """A JSON value, in which every ``{"$env": "NAME"}`` has become a ``Secret``, in lists and
    dicts too; the value itself where there is none.
    """
    if type(value) not in _CONTAINERS or depth <= 0:
        return value
    if is_reference(value):
        return Secret(value[KEY])
    if type(value) is list:
        items = [secrets_in(item, depth - 1) for item in value]
        return value if all(map(operator.is_, items, value)) else items
    entries = {key: secrets_in(item, depth - 1) for key, item in value.items()}
    return value if all(map(operator.is_, entries.values(), value.values())) else entries


def spelled(value: Any) -> Any:
    """``secrets_in`` undone: every ``Secret`` in lists and dicts as it stands in a flow file."""
    if isinstance(value, Secret):
        return value.spelled
    if not has_secret(value):
        return value
    if isinstance(value, dict):
        return {key: spelled(item) for key, item in value.items()}
    return [spelled(item) for item in value]


def has_secret(value: Any) -> bool:
    """Whether a ``Secret`` is in ``value`` or its lists and dicts. Fast on long lists."""
    if type(value) not in _CONTAINERS:
        return isinstance(value, Secret)
    waiting, seen = [value], {id(value)}
    while waiting:
        container = waiting.pop()
        items = container.values() if type(container) is dict else container
        kinds = set(map(type, items))
        if Secret in kinds:
            return True
        if not kinds.isdisjoint(_CONTAINERS):
            inner = [each for each in items if type(each) in _CONTAINERS and id(each) not in seen]
            seen.update(map(id, inner))
            waiting += inner
    return False


def is_reference(value: Any) -> bool:
    """Whether ``value`` is ``{"$env": "NAME"}`` with a name that a variable can have."""
    return (
        isinstance(value, Mapping)
        and value.keys() == {KEY}
        and isinstance(value[KEY], str)
        and name_problem(value[KEY]) is None
    )


def name_problem(name: Any) -> str | None:
    """Why ``name`` cannot be looked up, or None."""
    if not isinstance(name, str):
        return f"the name of an environment variable is a text, not {type(name).__name__}"
    if not re.fullmatch(r"[^=\0]+", name):
        return f"{name!r:.80} cannot be the name of an environment variable"
    if name.startswith("RAY_"):
        return f"{name:.80} cannot be passed on: names that begin with RAY_ are Ray's own"
    return None


class Mask:
    """Replaces values in texts by ``***``, in the spellings that texts have them in."""

    def __init__(self) -> None:
        self._spellings: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._spellings)

    def add(self, value: str) -> None:
        """Hide ``value`` from now on, and its lines, if it has several."""
        lines = [line for line in value.splitlines() if len(line) >= _LEAST_LINE]
        known = {*self._spellings, *_spellings([value, *lines])}
        self._spellings = sorted(known - {""}, key=lambda each: (-len(each), each))

    def hide(self, text: str) -> str:
        """``text`` without the values, nor the beginning of one at a place where it was cut."""
        for spelling in self._spellings:
            text = text.replace(spelling, HIDDEN)
        for spelling in self._spellings:
            text = _without_cut(text, spelling)
        return text

    def shows(self, text: str) -> bool:
        """Whether ``text`` has a value."""
        return any(spelling in text for spelling in self._spellings)

    def shows_in_bytes(self, content: bytes) -> bool:
        """Whether ``content`` has a value as UTF-8."""
        return any(each.encode("utf-8", "surrogatepass") in content for each in self._spellings)


def _spellings(values: Iterable[str]) -> Iterator[str]:
    for value in values:
        yield value
        yield repr(value)[1:-1]
        yield ascii(value)[1:-1]
        yield json.dumps(value)[1:-1]
        encoded = value.encode("utf-8", "surrogateescape")
        yield repr(encoded)[2:-1]
        yield quote(encoded)
        yield quote(encoded, safe="")
        yield quote(encoded, safe="!'()*")
        yield quote_plus(encoded)


def _without_cut(text: str, spelling: str) -> str:
    """``text``, in which the beginning of ``spelling`` before a cut is hidden."""
    begin = spelling[:_LEAST_CUT]
    at = text.find(begin) if len(spelling) > _LEAST_CUT else -1
    while at >= 0:
        end = at
        while end < len(text) and end - at < len(spelling) and text[end] == spelling[end - at]:
            end += 1
        if text.startswith(_CUT, end):
            text, end = text[:at] + HIDDEN + text[end:], at + len(HIDDEN)
        at = text.find(begin, max(end, at + 1))
    return text
