from typing import Any

from rayflow_dagster.node import RayflowNode
from rayflow_dagster.reach import Reach
from rayflow_dagster.values.stored import write_whole


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
        write_whole(target, encoded, for_users=True)
        return {"path": path}
