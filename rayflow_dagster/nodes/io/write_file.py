import os
from pathlib import Path
from typing import Any
from uuid import uuid4

from rayflow_dagster.node import RayflowNode
from rayflow_dagster.reach import Reach


class WriteFileNode(RayflowNode):
    """Write a text file in one of the project's data folders, replacing one that is there. Missing
    folders are made.

    The file appears whole or not at all. MAX_BYTES says how long it may be.
    """

    icon = "fa-floppy-disk"
    category = "io"
    inputs = {"path": str, "content": str}
    outputs = {"path": str}

    ENCODING = "utf-8"
    MAX_BYTES = 100_000_000

    def process(self, path: str, content: str) -> dict[str, Any]:
        target = Reach.here().file(path)  # a symbolic link stays one; the file behind it is written
        if target.is_dir():
            raise IsADirectoryError(f"cannot write to {path!r}: it is a folder")
        encoded = content.encode(self.ENCODING)
        if len(encoded) > self.MAX_BYTES:
            raise ValueError(f"{path!r} would be longer than {self.MAX_BYTES:,} bytes (MAX_BYTES)")
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(target, encoded)
        return {"path": path}


def _write_whole(target: Path, content: bytes) -> None:
    """Write under another name in the same folder, then rename.

    A full disk or a killed process leaves what was there before, never half a file.
    """
    unfinished = target.with_name(f".{uuid4().hex}.tmp")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            unfinished.chmod(target.stat().st_mode & 0o777)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
