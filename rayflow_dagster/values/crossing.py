"""Between processes, without a second process: a value in, what another process would have out.

Actors get and give copies; whatever runs nodes in this process copies here, so that nodes share
nothing that they would not share on Ray.
"""

import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cloudpickle

from rayflow_dagster.errors import describe

_WHOLE = frozenset({type(None), bool, int, float, str, bytes})


@dataclass(frozen=True, slots=True)
class Sent:
    """A value on its way, as Ray keeps it: pickled, the bytes of arrays beside it and read-only."""

    pickled: bytes
    buffers: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, value: Any) -> "Sent":
        """The value as it is now.

        Raises:
            Exception: it cannot be pickled; of whatever class its author's code raises.
        """
        found: list[pickle.PickleBuffer] = []
        pickled = cloudpickle.dumps(value, protocol=5, buffer_callback=found.append)
        return cls(pickled, tuple(buffer.raw().tobytes() for buffer in found))

    def opened(self) -> Any:
        """A new copy of the value; its arrays are read-only.

        Raises:
            Exception: as ``of``, where it cannot be made again.
        """
        return pickle.loads(self.pickled, buffers=self.buffers)


def crossed(value: Any) -> Any:
    """A copy of ``value``, as another process would have it: its arrays are read-only.

    Raises:
        Exception: it cannot be pickled, or not be made again.
    """
    return value if type(value) in _WHOLE else Sent.of(value).opened()


def not_sent(names: Iterable[str], error: BaseException) -> str:
    """What to say when an output of a node cannot be pickled."""
    return (
        f"an output ({', '.join(names)}) could not be sent to other processes: {describe(error)}. "
        "Return a value that can be pickled"
    )


def not_read(names: Iterable[str], error: BaseException) -> str:
    """What to say when an input of a node cannot be made again from what was sent."""
    return (
        f"an input ({', '.join(names)}) could not be read from another process: {describe(error)}"
    )
