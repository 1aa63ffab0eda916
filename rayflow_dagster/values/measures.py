"""What kind of value something is and how much of it there is, for people and for plots."""

from collections.abc import Mapping, Sequence, Set
from typing import Any


def measures(value: Any) -> dict[str, str | int]:
    """``type``, and what is known of: ``rows``, ``columns``, ``shape`` of arrays, frames and
    tables; ``size``, the number of items, of dicts, lists and the like. Never raises.

    ``bytes`` is what an array or table takes in memory.
    """
    found: dict[str, str | int] = {"type": type(value).__name__}
    try:
        found.update(_counts(value))
    except Exception:  # the value's own code may fail in any way
        found["type"] = f"{type(value).__name__} that cannot be measured"
    return found


def _counts(value: Any) -> dict[str, str | int]:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape and all(isinstance(part, int) for part in shape):
        found: dict[str, str | int] = {"rows": int(shape[0])}
        if len(shape) == 2:
            found["columns"] = int(shape[1])
        found["shape"] = " x ".join(str(part) for part in shape)
        size = getattr(value, "nbytes", None)
        if isinstance(size, int):
            found["bytes"] = size
        return found
    if isinstance(value, Mapping | Set) or (
        isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)
    ):
        return {"size": len(value)}
    return {}
