"""A short text of any value, for people: bounded in length and depth, whatever the value is."""

import reprlib
from typing import Any

LENGTH = 300
_ITEMS = 6
_DEPTH = 4


class _Preview(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = _DEPTH
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = _ITEMS
        self.maxstring = self.maxother = 120
        self.maxlong = 60

    def repr_bytes(self, value: bytes, level: int) -> str:
        return repr(value) if len(value) <= 40 else f"{value[:30]!r}... ({len(value):,} bytes)"

    def repr_instance(self, value: Any, level: int) -> str:
        described = _describe_table(value)
        return described if described else super().repr_instance(value, level)

    def repr_ndarray(self, value: Any, level: int) -> str:
        return _describe_table(value) or super().repr_instance(value, level)


def preview(value: Any, length: int = LENGTH) -> str:
    """At most ``length`` characters that say what ``value`` is."""
    text = _Preview().repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def _describe_table(value: Any) -> str | None:
    """Arrays, frames and tables by type and shape: printing one may be slow or huge."""
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not shape:
        return None
    kind = getattr(value, "dtype", None)
    size = " x ".join(str(part) for part in shape)
    return f"{type(value).__name__} {size}" + (f" of {kind}" if kind is not None else "")
