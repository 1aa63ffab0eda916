"""A short text of any value, for people: bounded in length and depth, whatever the value is."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from rayflow_dagster.encodable import encodable
from rayflow_dagster.port_types import value_type

LENGTH = 300
_ITEMS = 6
_DEPTH = 4
_CHARACTERS = 120
_BYTES = 40
_BITS = 400  # Python refuses to print an int of several thousand digits


def preview(value: Any, length: int = LENGTH) -> str:
    """At most ``length`` characters that say what ``value`` is. Never raises."""
    try:
        text = encodable(_shown(value, _DEPTH))
    except Exception as error:  # the value's own code may fail in any way
        text = f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
    return text if len(text) <= length else text[: length - 3] + "..."


def preview_typed(value: Any, length: int = LENGTH) -> str:
    """``'x', which is str``; of None, whose type says nothing more, the preview alone."""
    text = preview(value, length)
    return text if value is None else f"{text}, which is {value_type(value)}"


def _shown(value: Any, depth: int) -> str:
    kind = next((base for base in _SHOWS if isinstance(value, base)), None)
    if kind is None or isinstance(value, bool):
        return _shown_object(value)
    if depth <= 0 and kind in _OPEN:
        return "..."
    text = _SHOWS[kind](value, depth)
    return text if type(value) is kind else f"{type(value).__name__}({text})"


def _shown_text(value: str, _: int) -> str:
    return repr(value) if len(value) <= _CHARACTERS else f"{value[:_CHARACTERS]!r}..."


def _shown_bytes(value: bytes, _: int) -> str:
    return repr(value) if len(value) <= _BYTES else f"{value[:30]!r}... ({len(value):,} bytes)"


def _shown_int(value: int, _: int) -> str:
    bits = value.bit_length()
    return repr(int(value)) if bits <= _BITS else f"<an int of {bits:,} bits>"


def _shown_dict(value: dict[Any, Any], depth: int) -> str:
    entries = islice(value.items(), _ITEMS)
    shown = (f"{_shown(key, depth - 1)}: {_shown(item, depth - 1)}" for key, item in entries)
    return f"{{{_joined(shown, len(value))}}}"


def _shown_items(value: Any, depth: int) -> str:
    opening, closing = _OPEN[next(base for base in _OPEN if isinstance(value, base))]
    shown = (_shown(item, depth - 1) for item in islice(value, _ITEMS))
    comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
    return f"{opening}{_joined(shown, len(value))}{comma}{closing}"


def _joined(shown: Iterable[str], count: int) -> str:
    more = [f"... {count - _ITEMS:,} more"] if count > _ITEMS else []
    return ", ".join([*shown, *more])


_OPEN = {
    dict: ("{", "}"), list: ("[", "]"), tuple: ("(", ")"),
    set: ("{", "}"), frozenset: ("frozenset({", "})"),
}  # fmt: skip
_SHOWS: dict[type, Any] = {
    str: _shown_text, bytes: _shown_bytes, int: _shown_int, dict: _shown_dict,
    list: _shown_items, tuple: _shown_items, set: _shown_items, frozenset: _shown_items,
}  # fmt: skip


def _shown_object(value: Any) -> str:
    text = _described_table(value) or repr(value)
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 3] + "..."


def _described_table(value: Any) -> str | None:
    """Arrays, frames and tables by type and shape: printing one may be slow or huge."""
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not shape:
        return None
    kind = getattr(value, "dtype", None)
    size = " x ".join(str(part) for part in shape)
    return f"{type(value).__name__} {size}" + (f" of {kind}" if kind is not None else "")
