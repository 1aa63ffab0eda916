"""Secrets: ``{"$env": "NAME"}`` in a flow file or a run's inputs, and what keeps values unseen.

A reference becomes a ``Secret`` when a flow is compiled and when START reads a run's inputs, and
nowhere else: what a node computes is never taken for one. A ``Secret`` travels through wires,
variables and RETURN as the reference it is, and its value is looked up where a node runs.
"""

import json
import operator
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import quote, quote_plus

from rayflow_dagster.encodable import encodable

KEY = "$env"
HIDDEN = "***"
MAX_DEPTH = 100
"""How deep a reference may stand in a constant or an input."""
CONTAINERS = frozenset({list, dict, tuple, set, frozenset})
"""What is looked through for secrets. Not what derives from them: it may be more than its items."""
_OF_JSON = frozenset({list, dict})
_LEAST_LINE = 8
_LEAST_CUT = 3
_PASSWORD = re.compile(r"(://[^/\s:@]{0,100}:)[^/\s@]{1,200}(?=@)")
_TOKEN = re.compile(r"\bBearer\s{1,9}[\w.~+/=-]{8}", re.IGNORECASE)
_CUT = ("...", "'...", '"...', "\n[output past")
"""What follows where a text was cut off, maybe in the middle of a value."""


@dataclass(frozen=True, slots=True)
class Secret:
    """The name of an environment variable, in the place of its value.

    ``kind``: the type of the number that a node was given for it and has handed on, so that it
    is one again where any type is taken; else ``any``.
    """

    name: str
    kind: str = "any"

    def __repr__(self) -> str:
        return json.dumps(self.spelled)

    @property
    def spelled(self) -> dict[str, str]:
        """As it stands in a flow file."""
        return {KEY: self.name}


def secrets_in(value: Any, depth: int = MAX_DEPTH, *, checked: bool = True) -> Any:
    """A JSON value, in which every ``{"$env": "NAME"}`` has become a ``Secret``, in lists and
    dicts too; the value itself where there is none.

    ``checked``: only where the name is one that a variable can have.
    """
    if type(value) not in _OF_JSON or depth <= 0:
        return value
    if _has_form(value) and not (checked and name_problem(value[KEY])):
        return Secret(value[KEY])
    if type(value) is list:
        items = [secrets_in(item, depth - 1, checked=checked) for item in value]
        return value if all(map(operator.is_, items, value)) else items
    entries = {key: secrets_in(item, depth - 1, checked=checked) for key, item in value.items()}
    return value if all(map(operator.is_, entries.values(), value.values())) else entries


def spelled(value: Any) -> Any:
    """``secrets_in`` undone: every ``Secret`` as it stands in a flow file; as the text of that in
    sets and keys, where no dict can be.
    """
    if isinstance(value, Secret):
        return value.spelled
    if not has_secret(value):
        return value
    if isinstance(value, dict):
        return {_spelled_key(key): spelled(item) for key, item in value.items()}
    one = spelled if isinstance(value, list | tuple) else _spelled_key
    return type(value)(map(one, value))


def _spelled_key(value: Any) -> Any:
    if isinstance(value, Secret):
        return repr(value)
    is_open = isinstance(value, tuple | frozenset) and has_secret(value)
    return type(value)(map(_spelled_key, value)) if is_open else value


def has_secret(value: Any) -> bool:
    """Whether a ``Secret`` is in ``value``, in its containers and keys. Fast on long lists."""
    if type(value) not in CONTAINERS:
        return isinstance(value, Secret)
    return any(Secret in kinds for _, kinds in layers(value))


def holds(value: Any, ids: Iterable[int]) -> bool:
    """Whether one of the objects with these ids is in the containers of ``value``."""
    wanted = frozenset(ids)
    return any(
        not wanted.isdisjoint(map(id, chain.from_iterable(parts))) for parts, _ in layers(value)
    )


def layers(value: Any) -> Iterator[tuple[list[Iterable[Any]], set[type]]]:
    """What is in a container, then what is in its containers, and so on; each is opened once.

    Yields what to iterate over (see ``_parts``) and the types of what is there.
    """
    layer = [value] if type(value) in CONTAINERS else []
    seen: set[int] = set()
    while layer:
        parts = _parts(layer)
        kinds = set(map(type, chain.from_iterable(parts)))
        yield parts, kinds
        if kinds.isdisjoint(CONTAINERS):
            return
        fresh = {id(each): each for each in layer if id(each) not in seen}
        seen.update(fresh)
        parts = _parts(fresh.values())
        layer = [each for each in chain.from_iterable(parts) if type(each) in CONTAINERS]


def _parts(layer: Collection[Any]) -> list[Iterable[Any]]:
    """The containers of a layer, dicts by their keys and by their values."""
    return [*layer, *(each.values() for each in layer if type(each) is dict)]


def is_reference(value: Any) -> bool:
    """Whether ``value`` is ``{"$env": "NAME"}`` with a name that a variable can have."""
    return _has_form(value) and name_problem(value[KEY]) is None


def _has_form(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() == {KEY}


def name_problem(name: Any) -> str | None:
    """Why ``name`` cannot be looked up, or None."""
    if not isinstance(name, str):
        return f"the name of an environment variable is a text, not {type(name).__name__}"
    if not re.fullmatch(r"[^=\0]+", name):
        return f"{name!r:.80} cannot be the name of an environment variable"
    if name.startswith("RAY_"):
        return f"{name:.80} cannot be passed on: names that begin with RAY_ are Ray's own"
    return None


def literal_secret(text: str) -> str | None:
    """What a text shows that should be kept from view; None if nothing is known to be."""
    if _PASSWORD.search(text):
        return "a URL with a password"
    return "a bearer token" if _TOKEN.search(text) else None


def without_passwords(text: str) -> str:
    """A text with the passwords of its URLs hidden."""
    return _PASSWORD.sub(rf"\g<1>{HIDDEN}", text)


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
        """``text`` without the values, nor the beginning of one at a place where it was cut, as it
        can be written.
        """
        for spelling in self._spellings:
            text = text.replace(spelling, HIDDEN)
        for spelling in self._spellings:
            text = _without_cut(text, spelling)
        return encodable(text)

    def shows(self, text: str) -> bool:
        """Whether ``text`` has a value, or cannot be written."""
        return encodable(text) != text or any(spelling in text for spelling in self._spellings)

    def shows_in_bytes(self, content: bytes) -> bool:
        """Whether ``content`` has a value as UTF-8."""
        return any(each.encode("utf-8", "surrogatepass") in content for each in self._spellings)


class MaskOfAll(Mask):
    """Hides every text whole: of values that may have been made from secrets that are not known
    here.
    """

    def __bool__(self) -> bool:
        return True

    def hide(self, text: str) -> str:  # noqa: ARG002 - whatever it is
        return HIDDEN

    def shows(self, text: str) -> bool:  # noqa: ARG002 - as above
        return True


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
