"""Values on disk: how an output is stored for re-execution, and found again."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A value in a file, opened only where it is used."""

    path: str

    def load(self) -> Any:
        """The value.

        Raises:
            OSError: the file is gone.
        """
        with open(self.path, "rb") as file:
            return cloudpickle.load(file)


def store_value(folder: Path, name: str, value: Any) -> Path:
    """Write ``value`` as ``folder/name.pkl`` and return that path. It appears whole or not at all.

    Raises:
        OSError: the disk is full or not writable; nothing is left behind.
    """
    return write_whole(folder / f"{name}.pkl", cloudpickle.dumps(value, protocol=5))


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file under another name and rename it: a full disk leaves no partial file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path
