import io
from typing import Any

from rayflow_dagster.node import RayflowNode
from rayflow_dagster.reach import Reach


class ReadFileNode(RayflowNode):
    """Read a text file of one of the project's data folders. ENCODING says how it was written, and
    MAX_BYTES how long it may be.
    """

    icon = "fa-file-lines"
    category = "io"
    inputs = {"path": str}
    outputs = {"content": str}

    ENCODING = "utf-8"
    MAX_BYTES = 100_000_000

    def process(self, path: str) -> dict[str, Any]:
        reach = Reach.here()
        try:
            with reach.file(path).open("rb") as file:
                content = file.read(self.MAX_BYTES + 1)
        except FileNotFoundError:
            # The bare error does not say what a relative path was relative to.
            raise FileNotFoundError(f"there is no file {path!r} in {reach.folder}") from None
        if len(content) > self.MAX_BYTES:
            raise ValueError(f"{path!r} is longer than {self.MAX_BYTES:,} bytes (MAX_BYTES)")
        try:
            return {"content": io.TextIOWrapper(io.BytesIO(content), self.ENCODING).read()}
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path!r} is not text in {self.ENCODING} ({error}); set the constant ENCODING"
            ) from error
