"""Whether a Python value is JSON, found without recursion: a flow may come from anywhere."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rayflow_dagster.values.stored import number_problem

MAX_DEPTH = 100
MAX_VALUES = 500_000
_USUAL = 2**63
"""Numbers between this and its negative are JSON whatever they are."""
MAX_PROBLEMS = 20

_Trail = tuple["_Trail", str | int] | None
"""Where a value stands: the trail of its container, and its key there."""


def parse_problem(error: json.JSONDecodeError) -> str:
    """What is wrong with a text that is no JSON, and where."""
    what = error.msg.removesuffix(" at")  # so some of Python's texts end
    return f"{what} at line {error.lineno} column {error.colno}"


def json_problems(value: Any) -> list[str]:
    """What in ``value`` is not JSON, each with its place (``nodes[2].data.label``)."""
    problems: list[str] = []
    stack: list[tuple[Any, int, _Trail]] = [(value, 0, None)]
    seen = 1
    while stack:
        item, depth, trail = stack.pop()
        if depth > MAX_DEPTH:
            return [f"it is nested deeper than {MAX_DEPTH} levels; no drawn flow needs that"]
        problem = _value_problem(item)
        if problem:
            problems.append(f"{_place(trail)}: {problem}" if trail else f"it {problem}")
            if len(problems) >= MAX_PROBLEMS:
                return problems
            continue
        if isinstance(item, (dict, list, Mapping)):
            seen += len(item)
            if seen > MAX_VALUES:
                return [f"it holds more than {MAX_VALUES:,} values; keep data out of the flow"]
            stack.extend(_doubtful(item, depth + 1, trail))
    return problems


def _doubtful(
    item: Mapping[str, Any] | list[Any], depth: int, trail: _Trail
) -> Iterator[tuple[Any, int, _Trail]]:
    """The values in ``item`` that need a look of their own: most are plain texts and numbers."""
    for key, child in enumerate(item) if isinstance(item, list) else item.items():
        kind = type(child)
        if kind is str:
            is_plain = child.isascii()
        elif kind is float or kind is int:
            is_plain = -_USUAL < child < _USUAL
        else:
            is_plain = child is None or kind is bool
        if not is_plain or depth > MAX_DEPTH:
            yield child, depth, (trail, key)


def _value_problem(item: Any) -> str | None:
    """Why ``item`` itself, its parts aside, is not JSON."""
    match item:
        case None | bool():
            return None
        case str():
            return None if is_unicode(item) else _HALF
        case int() | float():
            return number_problem(item)
        case list():
            return None
        case dict() | Mapping():  # whether something is a Mapping takes long to tell
            return _key_problem(item)
    return f"is a Python {type(item).__name__}, which JSON does not have"


_HALF = "has half a character (a lone surrogate); type the text again"


def _key_problem(item: Mapping[Any, Any]) -> str | None:
    for key in item:
        if type(key) is str and key.isascii():
            continue
        if not isinstance(key, str):
            return f"has a key that is not text but a Python {type(key).__name__}"
        if not is_unicode(key):
            return f"has a key that {_HALF}"
    return None


def _place(trail: _Trail) -> str:
    keys: list[str] = []
    while trail:
        trail, key = trail
        keys.append(f"[{key}]" if isinstance(key, int) else f".{key[:80]}")
    return "".join(reversed(keys)).lstrip(".")


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be written as UTF-8: it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
