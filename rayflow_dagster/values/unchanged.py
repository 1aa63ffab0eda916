"""Which outputs are an input just as it came: such a value needs no second copy.

A node that checks a large array and passes it on would else write all of it to Ray's object store
again. Only of some types can be told that an object is still what it was.
"""

from collections.abc import Mapping
from typing import Any

_ARROW = frozenset({"Table", "RecordBatch", "Array", "ChunkedArray"})


def fingerprint(value: Any) -> Any:
    """What is equal as long as ``value`` has not changed; None if that cannot be told.

    Arrays that come from Ray's object store are read-only for good, but can be given another shape
    or dtype in place. Source: numpy's "The array interface protocol"; Arrow's tables are immutable.
    """
    kind = type(value)
    if kind is str or kind is bytes:
        return True
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        is_fixed = not value.flags.writeable and not value.dtype.hasobject
        return value.__array_interface__ if is_fixed else None
    return True if kind.__module__ == "pyarrow.lib" and kind.__name__ in _ARROW else None


def handed_on(
    outputs: Mapping[str, Any], inputs: Mapping[str, Any], fingerprints: Mapping[str, Any]
) -> dict[str, str]:
    """Output -> the input that it is, unchanged since its fingerprint was taken."""
    found: dict[str, str] = {}
    for output, value in outputs.items():
        for name, before in fingerprints.items():
            if inputs[name] is value and fingerprint(value) == before:
                found[output] = name
    return found
