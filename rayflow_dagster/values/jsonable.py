"""Any value in, JSON out: whole for whoever reads the result, or cut to a length for a tag."""

import json
import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from rayflow_dagster.encodable import plain_json

from .preview import preview
from .stored import number_problem

MAX_DEPTH = 50
CUT = "..."
"""Stands in a text, or after the last value, where something was left out."""
_ITEMS = 1000
_TEXT = 16
"""Of a text that is cut, so many characters stay at least."""


def jsonable(value: Any, depth: int = 0) -> Any:
    """``value`` as JSON has it; what JSON cannot say becomes a text preview."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value) if number_problem(value) is None else preview(value)
        case float():
            return float(value) if math.isfinite(value) else str(value)
        case Mapping() if depth < MAX_DEPTH:
            return {_key(key): jsonable(item, depth + 1) for key, item in value.items()}
        case list() | tuple() if depth < MAX_DEPTH:
            return [jsonable(item, depth + 1) for item in value]
    return _number(value)


def json_text(value: Any, indent: int | None = 2) -> str:
    """``value`` as JSON."""
    return _quoted(jsonable(value), indent)


def json_within(value: Any, length: int) -> str:
    """``value`` as JSON of at most ``length`` characters, at least 40. Never raises.

    It is cut between values, and in texts that are too long themselves: ``{"a": 1, "...": "2
    more"}``, ``[1, 2, "... 7 more"]``, ``"the beginnin..."``. A half character is escaped.
    """
    try:
        text = _fitted(value, length, 0)
    except Exception:  # the value's own code may fail in any way
        text = None
    return text or _text(preview(value), length) or f'"{CUT}"'


def _key(key: Any) -> str:
    return key if isinstance(key, str) else preview(key)


def _number(value: Any) -> Any:
    """A number of numpy's as Python's; a preview of anything else."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        return jsonable(item(), MAX_DEPTH)
    return preview(value)


def _fitted(value: Any, room: int, depth: int) -> str | None:
    """JSON of at most ``room`` characters; None if not even the beginning fits."""
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        named = ((f"{_quoted(_key(key))}: ", item) for key, item in value.items())
        return _filled("{}", named, len(value), room, depth)
    if depth < MAX_DEPTH and isinstance(value, list | tuple):
        return _filled("[]", (("", item) for item in value), len(value), room, depth)
    plain = jsonable(value, MAX_DEPTH)
    if isinstance(plain, str):
        return _text(plain, room)
    text = _quoted(plain)
    return text if len(text) <= room else None


def _filled(
    brackets: str, parts: Iterable[tuple[str, Any]], count: int, room: int, depth: int
) -> str | None:
    """As many of ``count`` parts as fit, each ``(what stands before it, value)``."""
    shown: list[str] = []
    left, mark = room - len(brackets), len(f'"{CUT}": "{count} more", ')
    for before, item in islice(parts, _ITEMS):
        reserved = mark if len(shown) + 1 < count else 0
        text = _fitted(item, left - len(before) - 2 - reserved, depth + 1)
        if text is None:
            break
        shown.append(before + text)
        left -= len(shown[-1]) + 2
    more = count - len(shown)
    if more:
        shown.append(f'"{CUT}": "{more} more"' if brackets == "{}" else f'"{CUT} {more} more"')
    whole = f"{brackets[0]}{', '.join(shown)}{brackets[1]}"
    return whole if len(whole) <= room else None


def _text(text: str, room: int) -> str | None:
    """A text, or its beginning and the mark; None where too little of it would be left."""
    whole = _quoted(text[:room])
    if len(text) <= room and len(whole) <= room:
        return whole
    end, left = 0, room - len(CUT) - 2
    for character in text[:room]:
        left -= len(_quoted(character)) - 2
        if left < 0:
            break
        end += 1
    return _quoted(text[:end] + CUT) if end >= _TEXT else None


def _quoted(value: Any, indent: int | None = None) -> str:
    """What ``json.dumps`` gives, fit to be stored, sent and shown."""
    return plain_json(json.dumps(value, ensure_ascii=False, indent=indent))
